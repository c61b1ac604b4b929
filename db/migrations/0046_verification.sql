-- depends: 0041_looked_at
-- The mirror as a witness of itself: what a hook writes beside a record is known to the catalogue, comparisons are kept with what they
-- found, and a detail that is wanted may be wanted whatever the stored hash says.

create table tds.beside (
    entity    text not null,
    target    text not null,
    id_column text not null,
    row_key   text not null,
    told      text not null,
    writer    text not null,
    kept_if   text not null,
    constraint beside_pkey primary key (entity, target)
);
comment on table  tds.beside is
'Tables of schema zoho whose rows a hook makes of an entity''s documents (tds.entity.complete); see tds.write_beside().';
comment on column tds.beside.entity is 'The entity.';
comment on column tds.beside.target is 'The table.';
comment on column tds.beside.id_column is 'Its column that holds the record''s id of Zoho''s.';
comment on column tds.beside.row_key is 'SQL over x, a row of it: what tells it from the record''s others.';
comment on column tds.beside.told is
'The function that says which rows there should be: tds.<told>(organization_id, zoho_ids, at); the hook writes what it returns.';
comment on column tds.beside.writer is 'SQL: the call that writes them, of $1 (organization_id), $2 (zoho_ids) and $3 (at).';
comment on column tds.beside.kept_if is 'SQL over s and own: the document says nothing of these rows, so that they stay as they are.';

create sequence tds.verification_id_seq;
create table tds.verification (
    verification_id bigint not null default nextval('tds.verification_id_seq'),
    depth           text not null constraint depth_is_known check (depth in ('inside', 'lists', 'details')),
    organization_id text,
    entities        text[] not null,
    sample          int,
    seed            text,
    zoho_ids        text[],
    state           text not null constraint state_is_known check (state in ('asked', 'running', 'done', 'failed', 'lost')),
    asked_by        text not null,
    asked_at        timestamptz not null,
    started_at      timestamptz,
    finished_at     timestamptz,
    todo            jsonb not null default '[]',
    place           int not null default 1,
    after           text not null default '',
    checked         bigint not null default 0,
    differing       bigint not null default 0,
    calls           bigint not null default 0,
    told            jsonb not null default '{}',
    error           text,
    constraint verification_pkey primary key (verification_id)
);
alter sequence tds.verification_id_seq owned by tds.verification.verification_id;
create index verification_open_idx on tds.verification (verification_id) where state in ('asked', 'running');
comment on table  tds.verification is
'Comparisons of the mirror with itself or with Zoho, and how each ended; see tds_differences for what they found.';
comment on column tds.verification.verification_id is 'Its number.';
comment on column tds.verification.depth is
'inside: rows against the stored documents, without a call; lists: against Zoho''s lists; details: a sample against Zoho''s details.';
comment on column tds.verification.organization_id is 'Whose records; null: of all organisations.';
comment on column tds.verification.entities is 'The entities compared.';
comment on column tds.verification.sample is 'details: how many records of each entity.';
comment on column tds.verification.seed is 'details: what the sample is drawn by; the same seed draws the same records.';
comment on column tds.verification.zoho_ids is 'details: these records and no sample.';
comment on column tds.verification.state is 'asked, running, done, failed, or lost: whoever did it is gone.';
comment on column tds.verification.asked_by is 'Who asked for it.';
comment on column tds.verification.asked_at is 'When.';
comment on column tds.verification.started_at is 'When it began.';
comment on column tds.verification.finished_at is 'When it ended.';
comment on column tds.verification.todo is
'inside: the parts, [entity, organisation] each; without an organisation: rows that no record has.';
comment on column tds.verification.place is 'inside: the part it is at.';
comment on column tds.verification.after is 'inside: the id it has come to within that part.';
comment on column tds.verification.checked is 'Records compared.';
comment on column tds.verification.differing is 'Records that differ.';
comment on column tds.verification.calls is 'Calls of Zoho''s API it took.';
comment on column tds.verification.told is 'lists: what tds.verify() told of each entity, without the differences.';
comment on column tds.verification.error is 'What it failed of.';

create sequence tds.difference_id_seq;
create table tds.verification_difference (
    difference_id   bigint not null default nextval('tds.difference_id_seq'),
    verification_id bigint not null,
    organization_id text not null,
    entity          text not null,
    zoho_id         text not null,
    table_name      text not null,
    row_key         text not null default '',
    column_name     text not null default '',
    what            text not null,
    ours            jsonb,
    should_be       jsonb,
    since           timestamptz not null,
    mend            text not null constraint mend_is_known check (mend in ('rebuild', 'repair')),
    closed_at       timestamptz,
    constraint verification_difference_pkey primary key (difference_id)
);
alter sequence tds.difference_id_seq owned by tds.verification_difference.difference_id;
create index verification_difference_record_idx on tds.verification_difference (organization_id, entity, zoho_id);
create index verification_difference_of_idx on tds.verification_difference (verification_id);
create index verification_difference_open_idx on tds.verification_difference (entity, organization_id, zoho_id) where closed_at is null;
comment on table  tds.verification_difference is 'What comparisons found: a row a column, or a row that is missing or too many.';
comment on column tds.verification_difference.difference_id is 'Its number.';
comment on column tds.verification_difference.verification_id is 'The comparison.';
comment on column tds.verification_difference.organization_id is 'Zoho organisation.';
comment on column tds.verification_difference.entity is 'The entity.';
comment on column tds.verification_difference.zoho_id is 'Zoho''s id of the record.';
comment on column tds.verification_difference.table_name is 'Table of schema zoho.';
comment on column tds.verification_difference.row_key is
'Which of the record''s rows there: a line''s place, a warehouse, …; empty: the record''s own.';
comment on column tds.verification_difference.column_name is 'The column; of a document: zoho_metadata and the key; empty: the whole row.';
comment on column tds.verification_difference.what is
'differs; missing, extra (a row); orphan (a row whose record is not there); stray (of an organisation nobody knows); twin (a contact in '
'both tables); document (not what Zoho told); tombstone; unreadable (no value can be made of the document).';
comment on column tds.verification_difference.ours is 'What the mirror has.';
comment on column tds.verification_difference.should_be is 'What it should have: as the document, or Zoho, tells.';
comment on column tds.verification_difference.since is 'When a comparison first found it so.';
comment on column tds.verification_difference.mend is 'rebuild: the document is right, the row is made anew of it; repair: Zoho is asked.';
comment on column tds.verification_difference.closed_at is 'When it was mended, or a later comparison found it right; null: it stands.';

alter table tds.wanted_detail add column forced_by text;
comment on column tds.wanted_detail.forced_by is
'Who asked that the answer be written whatever is stored (tds.repair()); null: it is written if it says something new.';

create type tds.difference as (
    zoho_id     text,
    table_name  text,
    row_key     text,
    column_name text,
    what        text,
    ours        jsonb,
    should_be   jsonb,
    mend        text
);
comment on type tds.difference is 'A difference that a comparison found; see tds.verification_difference.';
