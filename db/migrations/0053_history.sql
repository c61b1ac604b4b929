-- What records were: a history of their documents as reverse differences, and in each row the event that wrote it.
-- depends: 0041_looked_at

alter type tds.record_state add attribute inbox_id bigint;
comment on type tds.record_state is
'What a mirror row knows of its record: doc, the merged newest document (zoho_metadata); version, how often the row '
'was written (sync_version); modified_at, observed_at and rank, the version of the keys of doc (sync_…); layers, the '
'keys that have another version: [{"m": modified_at, "o": observed_at, "r": rank, "keys": [shown in doc], '
'"hidden": {key: value behind a later observation}}]; read_at, the last API read that had the record; deleted_at, the '
'proof of deletion, if no read came after it; hash, that of the last body whose every value is in doc; inbox_id, the '
'event that said the last news.';

do $$
declare
    v_target text;
begin
    for v_target in select distinct n.target from tds.entity n where to_regclass('zoho.' || n.target) is not null order by 1 loop
        execute format('alter table zoho.%I add column sync_event bigint', v_target);
    end loop;
    -- a database that is only being made has no entities yet
    for v_target in
        select c.relname from pg_class c
          join pg_attribute a on a.attrelid = c.oid and a.attname = 'sync_version'
         where c.relnamespace = 'zoho'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
           and not exists (select from pg_attribute e where e.attrelid = c.oid and e.attname = 'sync_event')
         order by 1
    loop
        execute format('alter table zoho.%I add column sync_event bigint', v_target);
    end loop;
end
$$;

create table tds.history_rule (
    target     text not null,
    is_kept    boolean not null,
    changed_at timestamptz,
    constraint history_rule_pkey primary key (target)
);
comment on table  tds.history_rule is 'Of which tables of the mirror the history is kept; tds.keep_history() changes it.';
comment on column tds.history_rule.target is 'The table in schema zoho; several entities may stand in one.';
comment on column tds.history_rule.is_kept is 'Whether each change of its documents is kept.';
comment on column tds.history_rule.changed_at is 'When an operator last changed that; null: as it came.';

create table tds.record_history (
    history_id      bigint generated always as identity,
    organization_id text not null,
    target          text not null,
    zoho_id         text not null,
    kind            text not null constraint kind_is_known check (kind in ('changed', 'completed', 'deleted', 'revived', 'undone')),
    changed_at      timestamptz,
    written_at      timestamptz not null,
    inbox_id        bigint,
    back            jsonb not null,
    was_version     int not null,
    was_hash        bigint,
    was_modified_at timestamptz,
    was_observed_at timestamptz not null,
    was_rank        smallint not null,
    was_read_at     timestamptz,
    was_layers      jsonb,
    was_deleted_at  timestamptz,
    was_synced_at   timestamptz not null,
    was_event       bigint,
    constraint record_history_pkey primary key (organization_id, target, zoho_id, history_id)
);
create index record_history_written_idx on tds.record_history (written_at);
comment on table  tds.record_history is
'A row a change of a record''s document: what must be put back to have the one before, and what its row said then. Read it by '
'tds.record_at() and tds.record_changes().';
comment on column tds.record_history.history_id is 'In the order of the changes.';
comment on column tds.record_history.organization_id is 'Zoho organisation.';
comment on column tds.record_history.target is 'The table in schema zoho.';
comment on column tds.record_history.zoho_id is 'Zoho''s id of the record.';
comment on column tds.record_history.kind is
'changed; completed: keys were told that were not known, and none said otherwise; deleted, revived; undone: tds.undo_run() put it back.';
comment on column tds.record_history.changed_at is
'Since when, in Zoho''s time, the record is what it became: its last_modified_time, where that rose; else when that was first seen; '
'null: since the version before.';
comment on column tds.record_history.written_at is 'When the mirror was told.';
comment on column tds.record_history.inbox_id is 'The event that told it; null: no event did.';
comment on column tds.record_history.back is
'What makes the older document of the newer: gone, keys to take away; set, keys with their values; rows, arrays by their length (n) and '
'the elements that were others, by place (at).';
comment on column tds.record_history.was_version is 'sync_version of the row before.';
comment on column tds.record_history.was_hash is 'Its sync_hash.';
comment on column tds.record_history.was_modified_at is 'Its sync_modified_at.';
comment on column tds.record_history.was_observed_at is 'Its sync_observed_at.';
comment on column tds.record_history.was_rank is 'Its sync_rank.';
comment on column tds.record_history.was_read_at is 'Its sync_read_at.';
comment on column tds.record_history.was_layers is 'Its sync_layers.';
comment on column tds.record_history.was_deleted_at is 'Its deleted_at.';
comment on column tds.record_history.was_synced_at is 'Its synced_at.';
comment on column tds.record_history.was_event is 'Its sync_event.';

create type tds.record_version as (
    organization text, number int, document jsonb, deleted_at timestamptz, since timestamptz, written_at timestamptz,
    inbox_id bigint, kind text);
comment on type tds.record_version is 'A version of a record; see tds.record_versions().';
create type tds.undo_step as (zoho_id text, action text, event bigint, note text, history_id bigint);
comment on type tds.undo_step is 'What becomes of a record that a run wrote; see tds.undo_entity().';
