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
        update tds.drift_observed o set baseline_at = (select min(f.finished_at) from tds.full_pull f where f.finished_at is not null);
    end if;
    v_until := tds.all_finished_before(v_now);
    select array_agg(e.inbox_id) as inbox_ids, array_agg(e.received_at) as received_ats, array_agg(e.finished_at) as finished_ats
      into v_events
      from (select d.inbox_id, d.received_at, d.finished_at
              from tds.inbox_outcome d
             where d.finished_at >= v_mark.finished_at
               and (d.finished_at, d.inbox_id) > (v_mark.finished_at, v_mark.inbox_id)
               and d.finished_at < v_until
             order by d.finished_at, d.inbox_id
             limit observe_drift.max_events) e;
    if v_events.inbox_ids is null then
        return 0;
    end if;
    with recursive document as materialized (
        select i.inbox_id, i.received_at, i.entity,
               (select b.records from tds.body_records(i.body, n.list_key, n.record_key, n.id_key) b) as records
          from unnest(v_events.inbox_ids, v_events.received_ats) e(inbox_id, received_at)
          join tds.inbox i on i.received_at = e.received_at and i.inbox_id = e.inbox_id
          join tds.entity n on n.entity = i.entity
         where i.body is not null and case when i.refusal is null then tds.document_problem(i.body) is null end
    ), node(inbox_id, received_at, entity, path, value) as (
        select d.inbox_id, d.received_at, d.entity, '', r.doc
          from document d
         cross join lateral jsonb_array_elements(d.records) r(doc)
        union all
        select o.inbox_id, o.received_at, o.entity, case when o.path = '' or c.step = '[]' then o.path || c.step else o.path || '.'
            || c.step end, c.value
          from node o
         cross join lateral (
               select k.key as step, k.value from jsonb_each(case when jsonb_typeof(o.value) = 'object' then o.value end) k
                union all
               select '[]', a.value from jsonb_array_elements(case when jsonb_typeof(o.value) = 'array' then o.value end) a) c
    )
    insert into tds.drift as t (entity, path, json_type, first_seen_at, last_seen_at, seen, first_inbox_id, sample, known)
    select o.entity, o.path, y.json_type, min(o.received_at), max(o.received_at), count(*), min(o.inbox_id),
           (array_agg(left(o.value::text, 200) order by o.inbox_id))[1],
           exists (select from tds.field f
                    where f.entity = o.entity and o.path = case when f.list_key = '' then f.key else f.list_key || '[].' || f.key end)
      from node o
     cross join lateral (select case when o.value in ('null', '""') then 'empty' else jsonb_typeof(o.value) end) y(json_type)
     where o.path <> ''
     group by o.entity, o.path, y.json_type
     order by o.entity, o.path, y.json_type
    on conflict on constraint drift_pkey do update
       set last_seen_at = greatest(t.last_seen_at, excluded.last_seen_at), seen = t.seen + excluded.seen, known = excluded.known;
    update tds.drift_observed o
       set finished_at = v_events.finished_ats[cardinality(v_events.inbox_ids)],
           inbox_id = v_events.inbox_ids[cardinality(v_events.inbox_ids)];
    return cardinality(v_events.inbox_ids);
end
$$;
revoke all on function tds.observe_drift(int) from public;
comment on function tds.observe_drift(int) is
'Reads the next finished events, at most so many, and enters their paths and types into tds.drift; returns how many it read. An event that '
'is committed late is read late, never skipped. Nothing of the sync waits for it: call it from time to time (cron, pg_cron: select '
'tds.observe_drift()), again while it returns max_events.';

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
