-- The way in: inbox, what became of each event, dead letters, runs, wanted details, settings, registry.

create schema zoho;
comment on schema zoho is 'The mirror of Zoho Books: one table an entity, every row written by tds.process_batch().';

-- nobody may call a function of ours unless a grant says so
alter default privileges revoke execute on functions from public;

create table tds.setting (
    name        text primary key,
    value       jsonb not null,
    description text not null
);
comment on table  tds.setting is 'Tunables, one a row; read by tds.setting_text() and its kin.';
comment on column tds.setting.name is 'The setting''s name.';
comment on column tds.setting.value is 'Its value as JSON.';
comment on column tds.setting.description is 'What it does, and its unit.';

create table tds.entity (
    entity       text primary key check (entity ~ '^[a-z][a-z_]{1,40}$'),
    queue        text not null check (queue ~ '^[a-z][a-z_]{1,40}$'),
    priority     int not null,
    api_path     text not null,
    list_key     text not null,
    record_key   text not null,
    id_key       text not null,
    target       text not null,
    target_key   text not null,
    writer       text not null,
    linker       text not null,
    list_filter  jsonb not null default '{}',
    paged        boolean not null default true,
    has_modified_filter boolean not null default false,
    detail_key   text,
    bulk_detail_path text
);
comment on table  tds.entity is 'Registry of what the mirror knows: one row an entity, written by its file in functions/40_entities.';
comment on column tds.entity.entity is 'The name tds.receive() takes.';
comment on column tds.entity.queue is 'The queue its events wait in (pgmq queue tds_<queue>); entities of one Zoho endpoint share one.';
comment on column tds.entity.priority is 'Lower is drained first.';
comment on column tds.entity.api_path is 'Path of the list below /books/v3; a detail is <api_path>/<id>.';
comment on column tds.entity.list_key is 'Key of the array in a list answer.';
comment on column tds.entity.record_key is 'Key of the object in a detail answer or a webhook body.';
comment on column tds.entity.id_key is 'Key of Zoho''s id inside a record.';
comment on column tds.entity.target is 'The table of schema zoho its records are written to.';
comment on column tds.entity.target_key is 'The column of that table that holds Zoho''s id.';
comment on column tds.entity.writer is 'The function that writes a set of resolved records: tds.<writer>(organization_id, tds.record_state[], at), returning the ids written.';
comment on column tds.entity.linker is 'The function that links its records with those that came before them: tds.<linker>(organization_id, zoho_ids).';
comment on column tds.entity.list_filter is 'Query parameters every list call needs, as an object.';
comment on column tds.entity.paged is 'Whether the list has page_context (organizations has none).';
comment on column tds.entity.has_modified_filter is 'Whether the API honours last_modified_time on the list.';
comment on column tds.entity.detail_key is 'A key that only details carry; a record whose value of it is missing or older than the record is a wanted detail. Null: lists say all.';
comment on column tds.entity.bulk_detail_path is 'Path that answers many details a call (?<id_key>s=a,b,c); null: one call a detail.';

create table tds.field (
    entity      text not null,
    parent      text not null default '',
    key         text not null,
    reader      text not null check (reader in ('id', 'text', 'number', 'boolean', 'date', 'time', 'object', 'array')),
    column_name text,
    required    boolean not null default false,
    max_length  int,
    primary key (entity, parent, key)
);
comment on table  tds.field is 'Mapping: which key of a record fills which column, through which strict reader.';
comment on column tds.field.entity is 'The entity.';
comment on column tds.field.parent is 'Key of the array the field sits in, or empty for the record itself.';
comment on column tds.field.key is 'Key in Zoho''s JSON.';
comment on column tds.field.reader is 'Strict reader: id, text, number, boolean, date, time; object and array are only checked for their kind.';
comment on column tds.field.column_name is 'Column it fills; null where it only takes part in a rule.';
comment on column tds.field.required is 'Whether a record without it is refused.';
comment on column tds.field.max_length is 'Longest text in characters, null: unbounded. The column carries the same bound as a check.';

create sequence tds.inbox_id_seq;

create table tds.inbox (
    inbox_id        bigint not null default nextval('tds.inbox_id_seq'),
    received_at     timestamptz not null,
    organization_id text,
    entity          text not null,
    source          text not null,
    shape           text not null,
    event           text not null,
    record_id       text,
    observed_at     timestamptz not null,
    run_id          bigint,
    headers         jsonb,
    body            text,
    body_raw        bytea,
    refusal         text,
    constraint inbox_pkey primary key (received_at, inbox_id),
    constraint body_is_text_or_raw check ((body is null) <> (body_raw is null)),
    constraint shape_is_known check (shape in ('webhook', 'list', 'detail')),
    constraint event_is_known check (event in ('upsert', 'delete')),
    constraint nothing_is_observed_after_it_came check (observed_at <= received_at)
) partition by range (received_at);
alter sequence tds.inbox_id_seq owned by tds.inbox.inbox_id;
create index inbox_record_idx on tds.inbox (organization_id, entity, record_id, received_at) where record_id is not null;
create index inbox_page_idx on tds.inbox (organization_id, entity, received_at) where shape = 'list';
comment on table  tds.inbox is 'Every body as it came, insert-only, partitioned by day (UTC). The truth: queues and tables can be rebuilt from it.';
comment on column tds.inbox.inbox_id is 'The event''s number.';
comment on column tds.inbox.received_at is 'When it was stored; names the partition.';
comment on column tds.inbox.organization_id is 'Zoho organisation, null when neither the caller nor the setting named one.';
comment on column tds.inbox.entity is 'What it is about; see tds.entity.';
comment on column tds.inbox.source is 'Who brought it: webhook, poller, replay, retry.';
comment on column tds.inbox.shape is 'webhook, list (an API page) or detail.';
comment on column tds.inbox.event is 'upsert or delete.';
comment on column tds.inbox.record_id is 'Zoho''s id of the record where the body holds exactly one; null for pages.';
comment on column tds.inbox.observed_at is 'When the API request was sent; for a webhook, when it came. Settles what last_modified_time leaves open.';
comment on column tds.inbox.run_id is 'The run that fetched it.';
comment on column tds.inbox.headers is 'HTTP headers worth keeping, without secrets.';
comment on column tds.inbox.body is 'The body, when it is text.';
comment on column tds.inbox.body_raw is 'The body, when it cannot be text (a 0x00 byte, not UTF-8).';
comment on column tds.inbox.refusal is 'Why it was set aside at once (it has a dead letter); null: it was queued.';

create table tds.inbox_open (
    inbox_id    bigint primary key,
    received_at timestamptz not null,
    queue       text not null,
    entity      text not null,
    attempts    int not null default 0,
    crashes     int not null default 0,
    retry_at    timestamptz,
    error_code  text,
    error       text
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000,
        autovacuum_vacuum_insert_scale_factor = 0.2, autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
create index inbox_open_retry_idx on tds.inbox_open (retry_at) where retry_at is not null;
comment on table  tds.inbox_open is 'Events not finished yet: a small hot table, the row goes when the outcome is written.';
comment on column tds.inbox_open.inbox_id is 'The event.';
comment on column tds.inbox_open.received_at is 'Its partition.';
comment on column tds.inbox_open.queue is 'The queue it belongs to.';
comment on column tds.inbox_open.entity is 'Its entity.';
comment on column tds.inbox_open.attempts is 'Failures attributed to this event; at the setting max_attempts it becomes a dead letter.';
comment on column tds.inbox_open.crashes is 'Times its worker vanished; from the setting crashes_before_solo on it runs alone.';
comment on column tds.inbox_open.retry_at is 'Parked until then (it has no message meanwhile); null: its message is in the queue.';
comment on column tds.inbox_open.error_code is 'SQLSTATE of the last failure.';
comment on column tds.inbox_open.error is 'Message of the last failure.';

create table tds.inbox_outcome (
    inbox_id    bigint not null,
    received_at timestamptz not null,
    entity      text not null,
    status      text not null,
    applied     int not null default 0,
    unchanged   int not null default 0,
    stale       int not null default 0,
    retried     int not null default 0,
    dead        int not null default 0,
    finished_at timestamptz not null,
    constraint inbox_outcome_pkey primary key (received_at, inbox_id),
    constraint outcome_is_final check (status in ('completed', 'dead_letter'))
) partition by range (received_at);
comment on table  tds.inbox_outcome is 'What became of each finished event, one row an event, insert-only, partitioned like the inbox.';
comment on column tds.inbox_outcome.inbox_id is 'The event.';
comment on column tds.inbox_outcome.received_at is 'Its partition.';
comment on column tds.inbox_outcome.entity is 'Its entity.';
comment on column tds.inbox_outcome.status is 'completed, or dead_letter when none of its records could be used.';
comment on column tds.inbox_outcome.applied is 'Records whose row this event changed.';
comment on column tds.inbox_outcome.unchanged is 'Records that said nothing new.';
comment on column tds.inbox_outcome.stale is 'Records that were older than what is known.';
comment on column tds.inbox_outcome.retried is 'Records that failed and go on alone as an event of their own.';
comment on column tds.inbox_outcome.dead is 'Records that became dead letters.';
comment on column tds.inbox_outcome.finished_at is 'When.';

create table tds.outcome_counter (
    entity text not null,
    day    date not null,
    status text not null,
    slot   int not null,
    events bigint not null,
    constraint outcome_counter_pkey primary key (entity, day, status, slot)
) with (fillfactor = 50);
comment on table  tds.outcome_counter is 'Finished events counted as they finish, so that counts cost nothing later; slots keep workers apart.';
comment on column tds.outcome_counter.entity is 'Entity of the events.';
comment on column tds.outcome_counter.day is 'Day (UTC) they were received.';
comment on column tds.outcome_counter.status is 'completed or dead_letter.';
comment on column tds.outcome_counter.slot is 'Backend pid modulo 16.';
comment on column tds.outcome_counter.events is 'How many.';

create table tds.claim (
    claim_id      bigint generated always as identity primary key,
    queue         text not null,
    worker        text not null,
    backend_pid   int not null,
    claimed_at    timestamptz not null,
    msg_ids       bigint[] not null,
    inbox_ids     bigint[] not null,
    received_ats  timestamptz[] not null,
    redelivered   boolean not null
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_cost_delay = 0);
comment on table  tds.claim is 'Batches in work. Its worker holds the advisory lock (tds.lock_class(), claim_id) while it lives; a claim whose lock is free is a crash.';
comment on column tds.claim.claim_id is 'The claim.';
comment on column tds.claim.queue is 'Queue it was read from.';
comment on column tds.claim.worker is 'application_name of the worker.';
comment on column tds.claim.backend_pid is 'Its backend.';
comment on column tds.claim.claimed_at is 'When.';
comment on column tds.claim.msg_ids is 'pgmq messages read.';
comment on column tds.claim.inbox_ids is 'The events they name.';
comment on column tds.claim.received_ats is 'Partition of each event.';
comment on column tds.claim.redelivered is 'Whether any message had been read before.';

create table tds.dead_letter (
    dead_letter_id  bigint generated always as identity primary key,
    inbox_id        bigint not null,
    received_at     timestamptz not null,
    position        int,
    entity          text not null,
    organization_id text,
    zoho_id         text,
    modified_at     timestamptz,
    observed_at     timestamptz not null,
    path            text,
    value           text,
    reason          text not null,
    error_code      text not null,
    attempts        int not null,
    record          text,
    dead_at         timestamptz not null,
    resolved_at     timestamptz,
    resolution      text,
    constraint resolution_says_how check ((resolved_at is null) = (resolution is null))
);
create index dead_letter_event_idx on tds.dead_letter (inbox_id);
create index dead_letter_record_idx on tds.dead_letter (organization_id, entity, zoho_id) where resolved_at is null;
comment on table  tds.dead_letter is 'Records and events that could not be applied, with the reason and the way back.';
comment on column tds.dead_letter.dead_letter_id is 'The number tds.replay() takes.';
comment on column tds.dead_letter.inbox_id is 'The event it came in.';
comment on column tds.dead_letter.received_at is 'That event''s partition.';
comment on column tds.dead_letter.position is 'Place of the record in the event''s body, from 1; null: the whole event.';
comment on column tds.dead_letter.entity is 'The entity.';
comment on column tds.dead_letter.organization_id is 'Zoho organisation.';
comment on column tds.dead_letter.zoho_id is 'Zoho''s id, where it could be read.';
comment on column tds.dead_letter.modified_at is 'The record''s last_modified_time, where it could be read.';
comment on column tds.dead_letter.observed_at is 'When the event was observed.';
comment on column tds.dead_letter.path is 'JSON path of the bad value.';
comment on column tds.dead_letter.value is 'The bad value, cut at 200 characters.';
comment on column tds.dead_letter.reason is 'What is wrong with it.';
comment on column tds.dead_letter.error_code is 'SQLSTATE.';
comment on column tds.dead_letter.attempts is 'Tries it had.';
comment on column tds.dead_letter.record is 'The record as JSON; null: read the event''s body.';
comment on column tds.dead_letter.dead_at is 'When it was given up.';
comment on column tds.dead_letter.resolved_at is 'When it was replayed or overtaken; null: still dead.';
comment on column tds.dead_letter.resolution is 'How it was resolved.';

create table tds.run (
    run_id          bigint generated always as identity primary key,
    organization_id text not null,
    entity          text not null,
    state           text not null default 'running',
    options         jsonb not null default '{}',
    next_page       int not null default 1 check (next_page >= 1),
    pages           int not null default 0,
    records         int not null default 0,
    cursor_from     timestamptz,
    started_at      timestamptz not null,
    heartbeat_at    timestamptz not null,
    finished_at     timestamptz,
    error           text,
    constraint state_is_known check (state in ('running', 'complete', 'partial', 'failed', 'cancelled')),
    constraint finished_runs_say_when check ((state = 'running') = (finished_at is null)),
    constraint one_run_at_a_time exclude using btree (organization_id with =, entity with =) where (state = 'running')
);
comment on table  tds.run is 'Pulls of a list, page by page; the cursor moves in the transaction that stores the page.';
comment on column tds.run.run_id is 'The run.';
comment on column tds.run.organization_id is 'Zoho organisation.';
comment on column tds.run.entity is 'What is pulled.';
comment on column tds.run.state is 'running, complete, partial (some pages failed), failed, cancelled.';
comment on column tds.run.options is 'What was asked for.';
comment on column tds.run.next_page is 'First page not stored yet: where it goes on after any stop.';
comment on column tds.run.pages is 'Pages stored.';
comment on column tds.run.records is 'Records in those pages.';
comment on column tds.run.cursor_from is 'Request time of this run''s first page: the next incremental pull starts there, less an overlap.';
comment on column tds.run.started_at is 'When it began.';
comment on column tds.run.heartbeat_at is 'When it last stored a page.';
comment on column tds.run.finished_at is 'When it ended.';
comment on column tds.run.error is 'Why it did not complete.';

create table tds.wanted_detail (
    organization_id text not null,
    entity          text not null,
    zoho_id         text not null,
    reason          text not null,
    wanted_at       timestamptz not null,
    leased_until    timestamptz,
    tries           int not null default 0,
    error           text,
    constraint wanted_detail_pkey primary key (organization_id, entity, zoho_id)
);
create index wanted_detail_next_idx on tds.wanted_detail (organization_id, entity, wanted_at desc);
comment on table  tds.wanted_detail is 'Records whose detail must be read from the API; a set, so asking twice costs one call.';
comment on column tds.wanted_detail.organization_id is 'Zoho organisation.';
comment on column tds.wanted_detail.entity is 'The entity.';
comment on column tds.wanted_detail.zoho_id is 'Zoho''s id.';
comment on column tds.wanted_detail.reason is 'Why it is wanted.';
comment on column tds.wanted_detail.wanted_at is 'A detail whose request was sent after this settles the want.';
comment on column tds.wanted_detail.leased_until is 'A fetcher has it until then.';
comment on column tds.wanted_detail.tries is 'Times it was fetched in vain.';
comment on column tds.wanted_detail.error is 'What the last of those answered.';

create type tds.record as (
    ord         int,
    inbox_id    bigint,
    received_at timestamptz,
    position    int,
    alone       boolean,
    zoho_id     text,
    modified_at timestamptz,
    observed_at timestamptz,
    rank        smallint,
    is_delete   boolean,
    hash        bigint,
    doc         jsonb
);
comment on type tds.record is
'A record on its way through: the ord-th of its batch, the position-th of its event (alone: the only one), with its '
'version (modified_at: Zoho''s last_modified_time; observed_at: when the request was sent or the webhook came; '
'rank: 1 list, 2 webhook, 3 detail).';

create type tds.record_state as (
    zoho_id     text,
    doc         jsonb,
    version     int,
    hash        bigint,
    modified_at timestamptz,
    observed_at timestamptz,
    rank        smallint,
    read_at     timestamptz,
    deleted_at  timestamptz,
    layers      jsonb
);
comment on type tds.record_state is
'What a mirror row knows of its record: doc, the merged newest document (zoho_metadata); version, how often the row '
'was written (sync_version); modified_at, observed_at and rank, the version of the keys of doc (sync_…); layers, the '
'keys that have another version: [{"m": modified_at, "o": observed_at, "r": rank, "keys": [shown in doc], '
'"hidden": {key: value behind a later observation}}]; read_at, the last API read that had the record; deleted_at, the '
'proof of deletion, if no read came after it; hash, that of the last body whose every value is in doc.';

create type tds.meeting as (
    kind     text,
    incoming tds.record,
    known    tds.record_state
);
comment on type tds.meeting is 'A record beside what its row knows of it, and how plain the case is; see tds.meet().';

create type tds.verdict as (
    ord       int,
    outcome   text,
    zoho_id   text,
    wanted    text,
    wanted_at timestamptz,
    unsettled boolean
);
comment on type tds.verdict is
'What became of a record: applied, unchanged, stale, retried, parked or dead; why its detail is wanted, if it is, and '
'from when; unsettled: last_modified_time could not decide, so later reads of the record are looked at once more.';

create type tds.touch as (
    entity          text,
    organization_id text,
    zoho_ids        text[],
    unsettled_ids   text[],
    unsettled_since timestamptz
);
comment on type tds.touch is 'The records of a claim, by entity and organisation, as finish_claim() needs them.';
