create or replace function tds.resolve_dead_letters(
    entity tds.entity, owners text[], inbox_ids bigint[], received_ats timestamptz[], verdicts tds.verdict[], at timestamptz) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_ords bigint[];
begin
    if not exists (select from unnest(resolve_dead_letters.owners) o(id)
                     -- bounds and order that an index of what is open has: whatever was thought of the table when this was planned
                    cross join lateral (select from tds.dead_letter d
                                         where d.resolved_at is null
                                           and (d.organization_id, d.entity) >= (o.id, (resolve_dead_letters.entity).entity)
                                           and (d.organization_id, d.entity) <= (o.id, (resolve_dead_letters.entity).entity)
                                         order by d.organization_id, d.entity, d.zoho_id limit 1) d) then
        return;
    end if;
    v_ords := array(
        select v.ord
          from unnest(resolve_dead_letters.verdicts) v
         where v.outcome in ('applied', 'unchanged') and v.zoho_id is not null
           and exists (select from tds.dead_letter d
                        where d.organization_id = v.organization_id
                          and d.entity = (resolve_dead_letters.entity).entity
                          and d.resolved_at is null
                          -- as the index dead_letter_told_idx has it
                          and coalesce(d.zoho_id, md5(d.record)) = v.zoho_id
                          and d.zoho_id is not null
                        -- looked up by its key, each
                        offset 0));
    if v_ords = '{}' then
        return;
    end if;
    with overtaken as materialized (
        select o.dead_letter_id, max(r.inbox_id) as inbox_id
          from unnest(tds.explode((resolve_dead_letters.entity).entity,
                                  tds.read_events((resolve_dead_letters.entity).entity, resolve_dead_letters.inbox_ids,
                                                  resolve_dead_letters.received_ats), v_ords)) r
         -- offset 0: each looked up by its key, and not each compared with each
         cross join lateral (
                select d.* from tds.dead_letter d
                 where d.organization_id = r.organization_id
                   and d.entity = (resolve_dead_letters.entity).entity
                   and d.resolved_at is null
                   and coalesce(d.zoho_id, md5(d.record)) = r.zoho_id
                   and d.zoho_id = r.zoho_id
                offset 0) o
         where o.inbox_id <> r.inbox_id
           -- by one that says anew what was wrong: the key the path begins with, or, without a path, all it said
           and case when o.path is null or o.path = '$' and o.record is null then r.doc ?& array(select jsonb_object_keys(o.record::jsonb))
                    else r.doc ? substring(o.path from '^[^.\[]+') end
           and case when r.modified_at = o.modified_at or r.modified_at is null or o.modified_at is null
                    then r.observed_at > o.observed_at else r.modified_at > o.modified_at end
         group by o.dead_letter_id)
    update tds.dead_letter d
       set resolved_at = resolve_dead_letters.at,
           resolution = format('overtaken by event %s', o.inbox_id)
      from overtaken o
     where d.dead_letter_id = o.dead_letter_id;
end
$$;
revoke all on function tds.resolve_dead_letters(tds.entity, text[], bigint[], timestamptz[], tds.verdict[], timestamptz) from public;
comment on function tds.resolve_dead_letters(tds.entity, text[], bigint[], timestamptz[], tds.verdict[], timestamptz) is
'Closes dead letters whose record has been told anew since, by these events. owners: the organisations they are of, each once.';

create or replace function tds.dead(culprit tds.record) returns tds.verdict
language sql immutable parallel safe
as $$ select row($1.ord, $1.inbox_id, $1.zoho_id, 'dead', $1.modified_at, $1.observed_at, $1.rank, null, null, false,
                  $1.organization_id)::tds.verdict $$;
comment on function tds.dead(tds.record) is 'The verdict on a record that became a dead letter.';

create or replace function tds.is_hint(entity tds.entity, organization_id text, told tds.record) returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return (is_hint.told).rank < 3 and (is_hint.told).zoho_id is not null and (is_hint.entity).detail_key is not null
       -- a list tells the same with every pull: that is asked once
       and ((is_hint.told).rank = 2
            or not exists (select from tds.dead_letter d
                            where d.organization_id = is_hint.organization_id and d.entity = (is_hint.entity).entity
                              -- as the index dead_letter_told_idx has it
                              and coalesce(d.zoho_id, md5(d.record)) = (is_hint.told).zoho_id
                              and d.zoho_id = (is_hint.told).zoho_id and d.resolved_at is null));
end
$$;
comment on function tds.is_hint(tds.entity, text, tds.record) is
'Whether a record that cannot be used says all the same that its detail should be read: its id is known, and it is no detail itself.';

create or replace function tds.bury_culprits(entity tds.entity, organization_id text, records tds.record[], at timestamptz)
returns tds.verdict[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_found     record;
    v_exceeding tds.excess[];
begin
    -- before the readers, who may write out what they refuse
    v_exceeding := array(select row(u.ord, x.path, x.value, x.reason)::tds.excess
                           from unnest(bury_culprits.records) u
                          cross join lateral tds.excess(u.doc) x
                          where x.reason is not null);
    select array_agg(r.told order by c.ord) as items, array_agg(c.path order by c.ord) as paths, array_agg(c.value order by c.ord) as told,
           array_agg(c.reason order by c.ord) as reasons,
           array_agg(tds.is_hint(bury_culprits.entity, bury_culprits.organization_id, r.told) order by c.ord) as hints
      into v_found
      from (select x.ord, x.path, x.value, x.reason from unnest(v_exceeding) x
            union all
            select k.ord, k.path, k.value, k.reason
              from tds.culprits((bury_culprits.entity).entity,
                                array(select u from unnest(bury_culprits.records) u
                                       where u.ord not in (select x.ord from unnest(v_exceeding) x))) k) c
      -- what exceeds a bound is not written out: its event has it
      join (select u.ord, row(u.ord, u.inbox_id, u.received_at, u.position, u.alone, u.zoho_id, u.modified_at, u.observed_at, u.rank,
                              u.is_delete, u.hash,
                              case when u.ord not in (select x.ord from unnest(v_exceeding) x) then u.doc end,
                              u.organization_id)::tds.record as told
              from unnest(bury_culprits.records) u) r on r.ord = c.ord;
    if v_found.items is null then
        return array[]::tds.verdict[];
    end if;
    perform tds.bury_records(v_found.items, (bury_culprits.entity).entity, bury_culprits.organization_id, v_found.paths, v_found.told,
                             v_found.reasons, 'ZB001', null, 1, bury_culprits.at);
    return array(
        select row(d.ord, d.inbox_id, d.zoho_id, d.outcome, d.modified_at, d.observed_at, d.rank,
                   case when v_found.hints[r.n] then 'a hint that cannot be read' end, d.wanted_at, d.unsettled,
                   d.organization_id)::tds.verdict
          from generate_subscripts(v_found.items, 1) r(n)
         cross join lateral tds.dead(v_found.items[r.n]) d
         order by r.n);
end
$$;
revoke all on function tds.bury_culprits(tds.entity, text, tds.record[], timestamptz) from public;
comment on function tds.bury_culprits(tds.entity, text, tds.record[], timestamptz) is
'Makes dead letters of the records that exceed a bound or that the strict readers refuse; returns the verdicts on them.';

create or replace function tds.bury_unreadable(entity tds.entity, inbox_ids bigint[], received_ats timestamptz[], at timestamptz)
returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    perform tds.bury_event(i.inbox_id, i.received_at, i.entity, coalesce(w.problem, p.reason), 'ZB001', w.error_context, bury_unreadable.at)
       from unnest(bury_unreadable.inbox_ids, bury_unreadable.received_ats) e(inbox_id, received_at)
       join tds.inbox i on i.received_at = e.received_at and i.inbox_id = e.inbox_id
      cross join lateral tds.why_no_document(i.body) w
      cross join lateral (select
            case when w.problem is null
                      and (select b.records
                             from tds.body_records(i.body, (bury_unreadable.entity).list_key, (bury_unreadable.entity).record_key,
                                                   (bury_unreadable.entity).id_key) b) is null
                 then format('no record in it: neither "%s" nor "%s" nor "%s"', (bury_unreadable.entity).list_key,
                             (bury_unreadable.entity).record_key, (bury_unreadable.entity).id_key) end) p(reason)
      where w.problem is not null or p.reason is not null;
end
$$;
revoke all on function tds.bury_unreadable(tds.entity, bigint[], timestamptz[], timestamptz) from public;
comment on function tds.bury_unreadable(tds.entity, bigint[], timestamptz[], timestamptz) is
'Makes dead letters of those events whose body is not JSON or holds no record.';

create or replace function tds.close_events(inbox_ids bigint[], entity text, verdicts tds.verdict[], at timestamptz) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_closed tds.inbox_outcome[];
begin
    v_closed := array(
        select row(o.inbox_id, o.received_at, close_events.entity,
                   case when v.dead = v.records and v.records > 0 then 'dead_letter' else 'completed' end,
                   coalesce(v.applied, 0), coalesce(v.unchanged, 0), coalesce(v.stale, 0), coalesce(v.retried, 0), coalesce(v.dead, 0),
                   close_events.at,
                   case when greatest(v.applied, v.unchanged, v.stale, v.retried, v.dead) < v.records then (
                       select string_agg(left(r.outcome, 1), '' order by r.ord)
                         from unnest(close_events.verdicts) r where r.inbox_id = o.inbox_id) end,
                   o.organization_id)::tds.inbox_outcome
          from tds.inbox_open o
          left join (select v.inbox_id, count(*) as records,
                            count(*) filter (where v.outcome = 'applied') as applied,
                            count(*) filter (where v.outcome = 'unchanged') as unchanged,
                            count(*) filter (where v.outcome = 'stale') as stale, count(*) filter (where v.outcome = 'retried') as retried,
                            count(*) filter (where v.outcome = 'dead') as dead, count(*) filter (where v.outcome = 'parked') as parked
                       from unnest(close_events.verdicts) v group by v.inbox_id) v on v.inbox_id = o.inbox_id
         where o.inbox_id = any (close_events.inbox_ids)
           and coalesce(v.parked, 0) = 0);
    insert into tds.inbox_outcome select c.* from unnest(v_closed) c order by c.received_at, c.inbox_id;
    delete from tds.inbox_open o where o.inbox_id = any (array(select c.inbox_id from unnest(v_closed) c));
    if exists (select from unnest(v_closed) c where c.status = 'completed' and c.dead > 0) then
        -- planned anew each time: a plan made while there were few would go through all that are open
        execute 'update tds.dead_letter d set of_page = true
                  where d.inbox_id = any ($1) and d.resolved_at is null and d.position is not null'
          using array(select c.inbox_id from unnest(v_closed) c where c.status = 'completed' and c.dead > 0);
    end if;
    perform tds.count_outcomes(array_agg(c.entity), array_agg(c.received_at), array_agg(c.status))
       from unnest(v_closed) c
     having count(*) > 0;
end
$$;
revoke all on function tds.close_events(bigint[], text, tds.verdict[], timestamptz) from public;
comment on function tds.close_events(bigint[], text, tds.verdict[], timestamptz) is
'Writes the outcome of these events and takes them out of inbox_open; parked ones stay.';

create or replace function tds.bury_records(
    culprits tds.record[], entity text, organization_id text, paths text[], told text[], reasons text[], error_code text,
    error_context text, attempts int, at timestamptz) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
-- one record or a thousand, the plan is the same
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
begin
    with item as materialized (
        select b.n, b.path, left(b.told, 200) as value, left(b.reason, 1000) as reason, c.inbox_id, c.received_at, c.position, c.zoho_id,
               c.modified_at, c.observed_at, c.record, coalesce(c.zoho_id, md5(c.record)) as key,
               nextval(pg_get_serial_sequence('tds.dead_letter', 'dead_letter_id')) as dead_letter_id
          from unnest(bury_records.paths, bury_records.told, bury_records.reasons) with ordinality b(path, told, reason, n)
          join (select r.*, r.doc::text as record
                  from unnest(bury_records.culprits) with ordinality
                       r(ord, inbox_id, received_at, position, alone, zoho_id, modified_at, observed_at, rank, is_delete, hash, doc,
                         organization_id, n)) c
            on c.n = b.n
         order by b.n
    ), told as materialized (
        -- told again with every pull, it is still one thing for somebody to mend
        select i.*, lead(i.dead_letter_id) over (partition by i.key, i.zoho_id, i.path, case when i.zoho_id is null
            then i.record end order by i.n) as next_id,
               row_number() over (partition by i.key, i.zoho_id, i.path, case when i.zoho_id is null
                   then i.record end order by i.n) = 1 as is_first
          from item i
    ), buried as (
        insert into tds.dead_letter (dead_letter_id, inbox_id, received_at, position, entity, organization_id, zoho_id, modified_at,
            observed_at,
                                     path, value, reason, error_code, error_context, attempts, record, dead_at, resolved_at,
                                     resolution)
        overriding system value
        select t.dead_letter_id, t.inbox_id, t.received_at, t.position, bury_records.entity, bury_records.organization_id, t.zoho_id,
            t.modified_at,
               t.observed_at, t.path, t.value, t.reason, bury_records.error_code, bury_records.error_context, bury_records.attempts,
                   t.record, bury_records.at,
               case when t.next_id is not null then bury_records.at end, 'told again as dead letter ' || t.next_id
          from told t
         order by t.n
    )
    update tds.dead_letter d
       set resolved_at = bury_records.at, resolution = 'told again as dead letter ' || t.dead_letter_id
      from told t
     where t.is_first
       and d.entity = bury_records.entity
       and d.organization_id = bury_records.organization_id
       and d.resolved_at is null
       and d.path is not distinct from t.path
       -- one without an id is known by all it says; as the index dead_letter_told_idx has it
       and coalesce(d.zoho_id, md5(d.record)) = t.key
       and d.zoho_id is not distinct from t.zoho_id
       and (d.zoho_id is not null or d.record = t.record);
end
$$;
revoke all on function tds.bury_records(tds.record[], text, text, text[], text[], text[], text, text, int, timestamptz) from public;
comment on function tds.bury_records(tds.record[], text, text, text[], text[], text[], text, text, int, timestamptz) is
'Makes dead letters of records, each with its path, value and reason, in place of open ones for the same value of the same record; '
'their neighbours '
'are not touched.';

create or replace function tds.note_whose_outcomes(batch int) returns int
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_due  tds.outcome_to_note;
    v_last bigint;
begin
    select d.* into v_due from tds.outcome_to_note d for update skip locked;
    if not found then
        return 0;
    end if;
    with next as materialized (
        select o.received_at, o.inbox_id
          from tds.inbox_outcome o
         where o.inbox_id <= v_due.up_to
         order by o.inbox_id desc
         limit note_whose_outcomes.batch
    ), noted as (
        update tds.inbox_outcome o set organization_id = w.organization_id
          from next n
         -- "offset 0": looked up one by one, whatever the planner takes the days to hold
         cross join lateral (select i.organization_id from tds.inbox i
                              where i.received_at = n.received_at and i.inbox_id = n.inbox_id and i.organization_id is not null
                             offset 0) w
         where o.received_at = n.received_at and o.inbox_id = n.inbox_id and o.organization_id is null
    )
    select min(n.inbox_id) into v_last from next n having count(*) = note_whose_outcomes.batch;
    if v_last is null then
        delete from tds.outcome_to_note;
        return 0;
    end if;
    update tds.outcome_to_note d set up_to = v_last - 1;
    return 1;
end
$$;
revoke all on function tds.note_whose_outcomes(int) from public;
comment on function tds.note_whose_outcomes(int) is
'One step of noting whose the events are that were finished before that was noted: so many, the newest first. Returns 0 when all are done.';
