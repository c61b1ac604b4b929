-- depends: 0007_trust
-- Pulls that are asked for and done later: a run waits in a queue, says how far it is, and can be cancelled. Operators' keys.

alter table tds.run
    alter column started_at drop not null,
    alter column heartbeat_at drop not null,
    add column requested_at timestamptz,
    add column requested_by text,
    add column message_id   bigint,
    add column since        timestamptz,
    add column filtered     boolean not null default false,
    add column is_pass      boolean not null default true,
    add column listed_at    timestamptz,
    add column asked_at     timestamptz,
    add column calls        int not null default 0,
    add column details      int not null default 0;
alter table tds.run
    drop constraint state_is_known,
    drop constraint finished_runs_say_when;
-- a run that completed before had stored all its pages by then
update tds.run set listed_at = finished_at, calls = pages where state = 'complete';
alter table tds.run
    add constraint state_is_known check (state in ('queued', 'running', 'settling', 'complete', 'partial', 'failed', 'cancelled')),
    add constraint finished_runs_say_when check ((state in ('queued', 'running', 'settling')) = (finished_at is null)),
    add constraint begun_runs_say_when check (state in ('queued', 'cancelled') or started_at is not null);
create index run_pass_idx on tds.run (organization_id, entity, listed_at);
create index run_open_idx on tds.run (organization_id, entity) where finished_at is null;
comment on column tds.run.state is
'queued; running (pages are fetched); settling (all pages are stored; they are processed and the details they want are fetched); complete; '
'partial (some details could not be had); failed; cancelled.';
comment on column tds.run.options is 'What was asked for, defaults left out; see tds.request_pull().';
comment on column tds.run.started_at is 'When it began; null while it is queued.';
comment on column tds.run.requested_at is 'When tds.request_pull() was called for it; null: begun by a command that fetches it itself.';
comment on column tds.run.requested_by is 'Who asked.';
comment on column tds.run.message_id is 'Its message in the queue tds_pull; null: none was sent.';
comment on column tds.run.since is 'Records modified since then are asked for; null: all.';
comment on column tds.run.filtered is 'Whether the API is given since as a filter; false: the whole list is read.';
comment on column tds.run.is_pass is 'Whether it leaves no gap behind the pass before it, so that the next incremental pull may start from its cursor_from.';
comment on column tds.run.listed_at is 'When its last page was stored.';
comment on column tds.run.asked_at is 'When its pages were processed, and the details it is about were asked for.';
comment on column tds.run.calls is 'Calls it has cost so far, retries and details included.';
comment on column tds.run.details is 'Details fetched for it.';

alter table tds.wanted_detail add column run_id bigint;
comment on column tds.wanted_detail.run_id is 'The run whose page or options asked for it last; null: none did.';
create index wanted_detail_run_idx on tds.wanted_detail (run_id) where run_id is not null;

-- their results or arguments are others now
drop function if exists tds.take_details(text, text, int);
drop function if exists tds.store_page(bigint, int, bytea, timestamptz, boolean, int);
drop function if exists tds.note_wants(tds.entity, text, tds.verdict[]);

create table tds.api_key (
    api_key_id   bigint generated always as identity primary key,
    name         text not null constraint name_is_short check (name ~ '^[^[:cntrl:]]{1,100}$'),
    sha256       bytea not null constraint api_key_sha256_key unique check (octet_length(sha256) = 32),
    created_at   timestamptz not null,
    created_by   text not null,
    last_used_at timestamptz,
    revoked_at   timestamptz
);
create unique index api_key_name_key on tds.api_key (name) where revoked_at is null;
comment on table  tds.api_key is
'Keys of operators for the bulk-sync API. A key is 256 random bits: nobody can guess its plain SHA-256 back, so that the slow hashes that '
'passwords need would only slow down each call.';
comment on column tds.api_key.api_key_id is 'The number tds.revoke_api_key() takes.';
comment on column tds.api_key.name is 'Whose key it is; unique among those in force.';
comment on column tds.api_key.sha256 is 'SHA-256 of the key, which itself is stored nowhere.';
comment on column tds.api_key.created_at is 'When it was made.';
comment on column tds.api_key.created_by is 'The role that made it.';
comment on column tds.api_key.last_used_at is 'When it was used last, to the minute.';
comment on column tds.api_key.revoked_at is 'When it was revoked; null: it is in force.';
