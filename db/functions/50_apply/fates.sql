create or replace function tds.resolve_dead_letters(
    entity tds.entity, organization_id text, inbox_ids bigint[], received_ats timestamptz[], verdicts tds.verdict[], at timestamptz)
returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_ords bigint[];
begin
    if not exists (select from tds.dead_letter d
                    where d.organization_id = resolve_dead_letters.organization_id
                      and d.entity = (resolve_dead_letters.entity).entity and d.resolved_at is null) then
        return;
    end if;
    v_ords := array(
        select v.ord
          from unnest(resolve_dead_letters.verdicts) v
          join tds.dead_letter d on d.organization_id = resolve_dead_letters.organization_id
                                and d.entity = (resolve_dead_letters.entity).entity and d.zoho_id = v.zoho_id and d.resolved_at is null
         where v.outcome in ('applied', 'unchanged'));
    if v_ords = '{}' then
        return;
    end if;
    update tds.dead_letter d
       set resolved_at = resolve_dead_letters.at,
           resolution = format('overtaken by event %s', r.inbox_id)
      from unnest(tds.explode((resolve_dead_letters.entity).entity,
                              tds.read_events((resolve_dead_letters.entity).entity, resolve_dead_letters.inbox_ids,
                                              resolve_dead_letters.received_ats), v_ords)) r
     where d.organization_id = resolve_dead_letters.organization_id
       and d.entity = (resolve_dead_letters.entity).entity
       and d.zoho_id = r.zoho_id
       and d.resolved_at is null
       and d.inbox_id <> r.inbox_id
       -- by one that says anew what was wrong: the key the path begins with, or, without a path, all it said
       and case when d.path is null then r.doc ?& array(select jsonb_object_keys(d.record::jsonb))
                else r.doc ? substring(d.path from '^[^.\[]+') end
       and case when r.modified_at = d.modified_at or r.modified_at is null or d.modified_at is null
                then r.observed_at > d.observed_at else r.modified_at > d.modified_at end;
end
$$;
revoke all on function tds.resolve_dead_letters(tds.entity, text, bigint[], timestamptz[], tds.verdict[], timestamptz) from public;
comment on function tds.resolve_dead_letters(tds.entity, text, bigint[], timestamptz[], tds.verdict[], timestamptz) is
'Closes dead letters whose record has been told anew since.';

create or replace function tds.dead(culprit tds.record) returns tds.verdict
language sql immutable parallel safe
as $$ select row($1.ord, $1.inbox_id, $1.zoho_id, 'dead', $1.modified_at, $1.observed_at, $1.rank, null, null, false)::tds.verdict $$;
comment on function tds.dead(tds.record) is 'The verdict on a record that became a dead letter.';

create or replace function tds.bury_culprits(entity tds.entity, organization_id text, records tds.record[], at timestamptz)
returns tds.verdict[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_culprit  record;
    v_verdicts tds.verdict[] := array[]::tds.verdict[];
begin
    for v_culprit in
        select c.*, r as item
          from tds.culprits((bury_culprits.entity).entity, bury_culprits.records) c
          join unnest(bury_culprits.records) r on r.ord = c.ord
         order by c.ord
    loop
        perform tds.bury_record(v_culprit.item, bury_culprits.entity.entity, bury_culprits.organization_id, v_culprit.path,
                                v_culprit.value, v_culprit.reason, 'ZB001', null, 1, bury_culprits.at);
        v_verdicts := v_verdicts || tds.dead(v_culprit.item);
    end loop;
    return v_verdicts;
end
$$;
revoke all on function tds.bury_culprits(tds.entity, text, tds.record[], timestamptz) from public;
comment on function tds.bury_culprits(tds.entity, text, tds.record[], timestamptz) is
'Makes dead letters of the records that the strict readers refuse; returns the verdicts on them.';

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
                         from unnest(close_events.verdicts) r where r.inbox_id = o.inbox_id) end)::tds.inbox_outcome
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
    perform tds.count_outcomes(array_agg(c.entity), array_agg(c.received_at), array_agg(c.status))
       from unnest(v_closed) c
     having count(*) > 0;
end
$$;
revoke all on function tds.close_events(bigint[], text, tds.verdict[], timestamptz) from public;
comment on function tds.close_events(bigint[], text, tds.verdict[], timestamptz) is
'Writes the outcome of these events and takes them out of inbox_open; parked ones stay.';

create or replace function tds.bury_record(
    culprit tds.record, entity text, organization_id text, path text, value text, reason text, error_code text, error_context text,
    attempts int, at timestamptz) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_dead_letter_id bigint;
begin
    insert into tds.dead_letter (inbox_id, received_at, position, entity, organization_id, zoho_id, modified_at, observed_at,
                                 path, value, reason, error_code, error_context, attempts, record, dead_at)
    values ((bury_record.culprit).inbox_id, (bury_record.culprit).received_at, (bury_record.culprit).position,
            bury_record.entity, bury_record.organization_id, (bury_record.culprit).zoho_id, (bury_record.culprit).modified_at,
            (bury_record.culprit).observed_at, bury_record.path, left(bury_record.value, 200), left(bury_record.reason, 1000),
            bury_record.error_code, bury_record.error_context, bury_record.attempts, (bury_record.culprit).doc::text, bury_record.at)
    returning dead_letter_id into v_dead_letter_id;
    -- told again with every pull, it is still one thing for somebody to mend
    update tds.dead_letter d
       set resolved_at = bury_record.at, resolution = format('told again as dead letter %s', v_dead_letter_id)
     where d.entity = bury_record.entity
       and d.organization_id = bury_record.organization_id
       and d.resolved_at is null
       and d.dead_letter_id < v_dead_letter_id
       and d.path is not distinct from bury_record.path
       -- one without an id is known by all it says
       and case when (bury_record.culprit).zoho_id is null then d.record = (bury_record.culprit).doc::text else true end
       and d.zoho_id is not distinct from (bury_record.culprit).zoho_id;
end
$$;
revoke all on function tds.bury_record(tds.record, text, text, text, text, text, text, text, int, timestamptz) from public;
comment on function tds.bury_record(tds.record, text, text, text, text, text, text, text, int, timestamptz) is
'Makes one record a dead letter, in place of an open one for the same value of the same record; its neighbours are not touched.';
