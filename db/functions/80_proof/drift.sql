create or replace function tds.all_finished_before(at timestamptz) returns timestamptz
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    -- an event finishes after its claim; whoever writes outcomes without one that can be seen may have begun at any time
    return (
        select least(all_finished_before.at, min(c.claimed_at))
          from tds.claim c
        having not exists (
               select from pg_locks l
                where l.database = (select d.oid from pg_database d where d.datname = current_database())
                  and l.relation in (select 'tds.claim'::regclass union all select t.relid from pg_partition_tree('tds.inbox_outcome') t)
                  and l.mode = 'RowExclusiveLock'
                  and l.pid is distinct from pg_backend_pid()
                  and (l.pid = any (array_agg(c.backend_pid))) is not true));
end
$$;
revoke all on function tds.all_finished_before(timestamptz) from public;
comment on function tds.all_finished_before(timestamptz) is
'The moment before which no event can finish any more that is not seen to have finished: the one given, read before the call, or the '
'oldest claim; null while a transaction is writing outcomes whose claim is not seen, for that may have begun at any time.';

create or replace function tds.drift_step(step text) returns text
language sql immutable parallel safe
as $$ select case when char_length($1) > 200 then left($1, 160) || '…' || md5($1) else $1 end $$;
comment on function tds.drift_step(text) is 'A key as it stands in a path: a long one is cut, and told apart by its MD5.';

create or replace function tds.note_drift(inbox_ids bigint[], received_ats timestamptz[]) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_most constant int := tds.setting_int('drift_paths');
begin
    with recursive document as materialized (
        select i.inbox_id, i.received_at, i.entity, b.records,
               coalesce(b.look_closer, i.look_closer, tds.has_long_number(i.body, true)) as look_closer
          from unnest(note_drift.inbox_ids, note_drift.received_ats) e(inbox_id, received_at)
          join tds.inbox i on i.received_at = e.received_at and i.inbox_id = e.inbox_id
          join tds.entity n on n.entity = i.entity
         cross join lateral tds.body_records(i.body, n.list_key, n.record_key, n.id_key, i.shape <> 'list') b
         where i.body is not null and case when i.refusal is null then tds.document_problem(i.body) is null end
    ), node(inbox_id, received_at, entity, path, value) as (
        select d.inbox_id, d.received_at, d.entity, '', r.doc
          from document d
         cross join lateral jsonb_array_elements(d.records) r(doc)
         -- a dead letter tells of it
         where not ((d.look_closer or tds.may_exceed(r.doc, false)) and (tds.excess(r.doc)).reason is not null)
        union all
        select o.inbox_id, o.received_at, o.entity, case when o.path = '' or c.step = '[]' then o.path || c.step else o.path || '.'
            || c.step end, c.value
          from node o
         cross join lateral (
               select tds.drift_step(k.key) as step, k.value from jsonb_each(case when jsonb_typeof(o.value) = 'object' then o.value end) k
                union all
               select '[]', a.value from jsonb_array_elements(case when jsonb_typeof(o.value) = 'array' then o.value end) a) c
    ), seen as materialized (
        select o.entity, p.path, y.json_type, min(o.received_at) as first_at, max(o.received_at) as last_at, count(*) as seen,
               min(o.inbox_id) as inbox_id, (array_agg(s.sample order by o.inbox_id))[1] as sample
          from node o
         cross join lateral (select case when o.value in ('null', '""') then 'empty' else jsonb_typeof(o.value) end) y(json_type)
         -- as many bytes as fit an index
         cross join lateral (select case when char_length(o.path) > 500 then left(o.path, 460) || '…' || md5(o.path)
                                         else o.path end) p(path)
         cross join lateral (select case when pg_column_size(o.value) < 2000 then left(o.value::text, 200)
                                         else tds.excess_value(o.value) end) s(sample)
         where o.path <> ''
         group by o.entity, p.path, y.json_type
    ), placed as (
        -- those that are there already first; of the others as many as an entity may still have, then one row for all that are left
        select s.*, t.path is null and count(*) filter (where t.path is null) over (partition by s.entity order by s.path, s.json_type)
                                       > v_most - (select count(*) from tds.drift d where d.entity = s.entity) as is_beyond
          from seen s
          left join tds.drift t on t.entity = s.entity and t.path = s.path and t.json_type = s.json_type
    ), counted as (
        select p.entity, p.path, p.json_type, p.first_at, p.last_at, p.seen, p.inbox_id, p.sample from placed p where not p.is_beyond
        union all
        select p.entity, '…', 'beyond', min(p.first_at), max(p.last_at), sum(p.seen), min(p.inbox_id),
               left(format('more paths than the setting drift_paths (%s), as %s', v_most, min(p.path)), 200)
          from placed p where p.is_beyond group by p.entity
    )
    insert into tds.drift as t (entity, path, json_type, first_seen_at, last_seen_at, seen, first_inbox_id, sample, known)
    select o.entity, o.path, o.json_type, o.first_at, o.last_at, o.seen, o.inbox_id, o.sample,
           exists (select from tds.field f
                    where f.entity = o.entity and o.path = case when f.list_key = '' then f.key else f.list_key || '[].' || f.key end)
      from counted o
     order by o.entity, o.path, o.json_type
    on conflict on constraint drift_pkey do update
       set last_seen_at = greatest(t.last_seen_at, excluded.last_seen_at), seen = t.seen + excluded.seen, known = excluded.known;
end
$$;
revoke all on function tds.note_drift(bigint[], timestamptz[]) from public;
comment on function tds.note_drift(bigint[], timestamptz[]) is
'Enters the paths and types of these events into tds.drift: long ones cut, and of one entity at most as many as the setting drift_paths '
'says; what is left over is counted in a row of its own (…).';

create or replace function tds.note_drift_apart(inbox_ids bigint[], received_ats timestamptz[], at timestamptz) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_half    constant int := cardinality(note_drift_apart.inbox_ids) / 2;
    v_code    text;
    v_error   text;
    v_context text;
begin
    begin
        perform tds.note_drift(note_drift_apart.inbox_ids, note_drift_apart.received_ats);
        return;
    exception when others then
        get stacked diagnostics v_code = returned_sqlstate, v_error = message_text, v_context = pg_exception_context;
        if tds.stops_all(v_code) then
            raise;
        end if;
    end;
    if v_half = 0 then
        perform tds.set_aside('observe_drift', format('event %s', note_drift_apart.inbox_ids[1]), v_code, v_error, v_context,
                              note_drift_apart.at);
        return;
    end if;
    perform tds.note_drift_apart(note_drift_apart.inbox_ids[:v_half], note_drift_apart.received_ats[:v_half], note_drift_apart.at);
    perform tds.note_drift_apart(note_drift_apart.inbox_ids[v_half + 1:], note_drift_apart.received_ats[v_half + 1:],
                                 note_drift_apart.at);
end
$$;
revoke all on function tds.note_drift_apart(bigint[], timestamptz[], timestamptz) from public;
comment on function tds.note_drift_apart(bigint[], timestamptz[], timestamptz) is
'tds.note_drift(), and where that fails in halves, until the guilty event stands alone: it is set aside by name.';

create or replace function tds.observe_drift(max_events int default 1000) returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    -- read before any snapshot of the statements below: what is claimed later finishes later
    v_now    constant timestamptz := tds.now();
    v_until  timestamptz;
    v_mark   tds.drift_observed;
    v_events record;
begin
    select o.* into strict v_mark from tds.drift_observed o for update;
    if v_mark.baseline_at is null then
        -- the first migration shows what there is; what is first seen after it is news
        update tds.drift_observed o set baseline_at = (select min(tds.migrated_since(f)) from tds.full_pull f);
    end if;
    if tds.is_ahead(v_mark.finished_at, v_now) then
        -- the clock has been set back: what has come since is newer by its number
        update tds.drift_observed o
           set inbox_id = 0,
               finished_at = coalesce((select min(d.finished_at) from tds.inbox_outcome d
                                        where d.finished_at <= v_now and d.inbox_id > v_mark.inbox_id), v_now)
        returning o.* into v_mark;
    end if;
    v_until := tds.all_finished_before(v_now);
    -- as many as are asked for, or as fit 64 MiB, but one in any case
    select array_agg(l.inbox_id order by l.n) as inbox_ids, array_agg(l.received_at order by l.n) as received_ats,
           array_agg(l.finished_at order by l.n) as finished_ats
      into v_events
      from (select e.*, sum(coalesce(octet_length(i.body), 0)) over (order by e.n) as bytes
              from (select d.inbox_id, d.received_at, d.finished_at, row_number() over (order by d.finished_at, d.inbox_id) as n
                      from tds.inbox_outcome d
                     where d.finished_at >= v_mark.finished_at
                       and (d.finished_at, d.inbox_id) > (v_mark.finished_at, v_mark.inbox_id)
                       and d.finished_at < v_until
                     order by d.finished_at, d.inbox_id
                     limit observe_drift.max_events) e
              left join tds.inbox i on i.received_at = e.received_at and i.inbox_id = e.inbox_id) l
     where l.n = 1 or l.bytes <= 67108864;
    if v_events.inbox_ids is null then
        return 0;
    end if;
    perform tds.limit_temporary_files();
    perform tds.note_drift_apart(v_events.inbox_ids, v_events.received_ats, v_now);
    update tds.drift_observed o
       set finished_at = v_events.finished_ats[cardinality(v_events.inbox_ids)],
           inbox_id = v_events.inbox_ids[cardinality(v_events.inbox_ids)];
    return cardinality(v_events.inbox_ids);
end
$$;
revoke all on function tds.observe_drift(int) from public;
comment on function tds.observe_drift(int) is
'Reads the next finished events, at most so many or 64 MiB of them, and enters their paths and types into tds.drift; returns how many it '
'read, 0 where there are no more. An event that is committed late is read late, never skipped; one that cannot be read is set aside '
'(tds.set_aside). Nothing of the sync waits for it: call it from time to time (cron, pg_cron: select tds.observe_drift()), again until it '
'returns 0.';

insert into tds.setting (name, value, description) values
    ('drift_paths', '5000', 'Paths of one entity that tds.drift may hold; more are counted in one row.')
on conflict on constraint setting_pkey do nothing;

create or replace view tds.drift_learned as
select case when exists (select from tds.full_pull f) or o.baseline_at is not null then coalesce(o.baseline_at, 'infinity')
    else '-infinity' end as learned_at
  from tds.drift_observed o;
comment on view tds.drift_learned is
'Up to when what is seen is learned and no drift: never before the first migration begins, always while it goes on, its end after it.';
comment on column tds.drift_learned.learned_at is 'Up to when.';

create or replace function tds.accept_drift() returns timestamptz
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now constant timestamptz := tds.now();
begin
    update tds.drift_observed o set baseline_at = v_now;
    return v_now;
end
$$;
revoke all on function tds.accept_drift() from public;
comment on function tds.accept_drift() is
'Takes all that is in tds_schema_drift for known: from now on it shows what is first seen later. Returns the moment.';
grant execute on function tds.accept_drift() to tds_operator;

create or replace view public.tds_schema_drift as
select d.entity, d.path, d.json_type,
       case when o.types > 1 then 'type differs' else 'not mapped' end as what,
       d.known, d.seen, d.first_seen_at, d.last_seen_at, d.first_inbox_id, d.sample
  from tds.drift d
 cross join lateral (select count(*) as types, max(s.first_seen_at) as newest_at from tds.drift s
                      where s.entity = d.entity and s.path = d.path and s.json_type <> 'empty') o
 cross join tds.drift_learned b
 where (d.json_type <> 'empty' and o.types > 1 and o.newest_at > b.learned_at
        or not d.known and (d.json_type <> 'empty' or o.types = 0) and d.first_seen_at > b.learned_at)
   -- an entity that came later is learned in its first day
   and (b.learned_at = '-infinity'
        or o.newest_at > (select min(e.first_seen_at) from tds.drift e where e.entity = d.entity) + interval '1 day'
        or d.first_seen_at > (select min(e.first_seen_at) from tds.drift e where e.entity = d.entity) + interval '1 day');
comment on view public.tds_schema_drift is
'What Zoho''s records have had that they had not in the first migration, while which nothing is news: paths that the mapping does not '
'read, and paths that came with another type; the newest by first_seen_at. Filled by tds.observe_drift(); emptied by tds.accept_drift(). '
'All that was ever seen: tds.drift.';
comment on column public.tds_schema_drift.entity is 'The entity.';
comment on column public.tds_schema_drift.path is 'Path in a record; an array''s elements are [].';
comment on column public.tds_schema_drift.json_type is 'JSON type of the values; empty: only null and the empty string so far.';
comment on column public.tds_schema_drift.what is
'type differs: there is another row of this path with another type; not mapped: no column is read from it.';
comment on column public.tds_schema_drift.known is 'Whether the mapping reads it.';
comment on column public.tds_schema_drift.seen is 'How often it was seen.';
comment on column public.tds_schema_drift.first_seen_at is 'When it first came.';
comment on column public.tds_schema_drift.last_seen_at is 'When it last came.';
comment on column public.tds_schema_drift.first_inbox_id is 'The first event that had it.';
comment on column public.tds_schema_drift.sample is 'A value, cut at 200 characters.';
