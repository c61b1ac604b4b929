create or replace function tds.record_events(entity text, zoho_id text, organization_id text)
returns table (inbox_id bigint, received_at timestamptz, event tds.inbox, pos int, doc jsonb)
-- few, so that what became of them is looked up and not read through
language plpgsql stable rows 20
set search_path = pg_catalog, pg_temp
as $$
declare
    v_names  constant text[] := tds.namesakes(record_events.entity);
    v_id_key constant text := (select n.id_key from tds.entity n where n.entity = record_events.entity);
    -- named, so that the index of the records is used: the organisation leads it
    v_organizations text[] := array[record_events.organization_id];
begin
    if record_events.organization_id is null then
        v_organizations := array(
            with recursive known as (
                (select i.organization_id from tds.inbox i
                  where i.organization_id is not null and i.record_id is not null order by i.organization_id limit 1)
                 union all
                select (select i.organization_id from tds.inbox i
                         where i.organization_id > k.organization_id and i.record_id is not null order by i.organization_id limit 1)
                  from known k where k.organization_id is not null)
            select k.organization_id from known k where k.organization_id is not null);
    end if;
    return query
        with found as (
            select i from tds.inbox i
             where i.organization_id = any (v_organizations) and i.entity = any (v_names) and i.record_id = record_events.zoho_id
             union all
            select i from tds.inbox i
             where record_events.organization_id is null and i.organization_id is null and i.entity = any (v_names)
               and i.record_id = record_events.zoho_id
             union all
            select i from tds.inbox i
             where (record_events.organization_id is null or i.organization_id = record_events.organization_id)
               and i.entity = any (v_names) and i.record_id is null and strpos(i.body, record_events.zoho_id) > 0
        ), told as materialized (
            select f.i as e, (f.i).refusal is null and tds.document_problem((f.i).body) is null as readable from found f
        )
        select (t.e).inbox_id, (t.e).received_at, t.e, p.n::int, p.doc
          from told t
          join tds.entity n on n.entity = (t.e).entity
          left join lateral jsonb_array_elements(
                        case when t.readable
                             then (select b.records from tds.body_records((t.e).body, n.list_key, n.record_key, n.id_key) b) end)
                        with ordinality p(doc, n)
            on p.doc ->> v_id_key = record_events.zoho_id
         where p.n is not null or (t.e).record_id = record_events.zoho_id or not t.readable;
end
$$;
comment on function tds.record_events(text, text, text) is
'The events whose body tells of a record, where in it, and what: by the event''s own id, or found in the body.';

create or replace function tds.explain_record(entity text, zoho_id text, organization_id text default null)
returns table (
    inbox_id bigint, received_at timestamptz, source text, shape text, event text, observed_at timestamptz, last_modified_time text,
    run_id bigint, page int, "position" int, outcome text, why text, finished_at timestamptz)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform tds.entity_named(explain_record.entity);
    return query
    with recursive told as materialized (
        select t.inbox_id, t.received_at, t.event as e, t.pos, t.doc, t.doc ->> 'last_modified_time' as modified,
               case when tds.is_time(t.doc ->> 'last_modified_time') then (t.doc ->> 'last_modified_time')::timestamptz
                    -- a detail without one has that of what asked for it
                    when coalesce(t.doc ->> 'last_modified_time', '') = '' and (t.event).shape = 'detail'
                        then ((t.event).headers ->> 'modified_at')::timestamptz end as m,
               d.finished_at,
               case when d.inbox_id is null then
                        case when o.retry_at is not null then 'parked'
                             when exists (select from tds.claim c where t.inbox_id = any (c.inbox_ids)) then 'processing'
                             else 'pending' end
                    when d.outcomes is not null then
                        case substr(d.outcomes, t.pos, 1) when 'a' then 'applied' when 'u' then 'unchanged' when 's' then 'stale'
                                                          when 'r' then 'retried' when 'd' then 'dead' end
                    when d.applied + d.unchanged + d.stale + d.retried + d.dead = d.applied and d.applied > 0 then 'applied'
                    when d.applied + d.stale + d.retried + d.dead = 0 then 'unchanged'
                    when d.applied + d.unchanged + d.retried + d.dead = 0 then 'stale'
                    when d.applied + d.unchanged + d.stale + d.dead = 0 then 'retried'
                    when d.applied + d.unchanged + d.stale + d.retried = 0 then 'dead' end as became,
               o.retry_at, o.error, o.error_code, split_part(o.error_context, E'\n', 1) as failed_in
          from tds.record_events(explain_record.entity, explain_record.zoho_id, explain_record.organization_id) t
          left join tds.inbox_outcome d on d.received_at = t.received_at and d.inbox_id = t.inbox_id
          left join tds.inbox_open o on o.inbox_id = t.inbox_id
    ), origin as (
        -- a retry or replay comes from the page of the event it goes back to
        select distinct t.inbox_id, (t.e).headers as headers from told t
         union
        select o.inbox_id, (t.e).headers
          from origin o
          join told t on t.inbox_id = (o.headers ->> 'of_event')::bigint
    ), page as (
        select o.inbox_id, max((o.headers ->> 'page')::int) as page from origin o group by o.inbox_id
    )
    select t.inbox_id, t.received_at, (t.e).source, (t.e).shape, (t.e).event, (t.e).observed_at, t.modified,
           (t.e).run_id, p.page,
           coalesce(((t.e).headers ->> 'position')::int, t.pos), t.became,
           case t.became
               when 'stale' then coalesce(
                   (select format('older than event %s (last_modified_time %s, observed %s)', w.inbox_id, coalesce(w.modified, 'none'),
                                  (w.e).observed_at)
                      from told w
                     where w.became in ('applied', 'unchanged') and w.inbox_id <> t.inbox_id and w.finished_at <= t.finished_at
                       and (w.e).organization_id = (t.e).organization_id
                       and case when w.m <> t.m then w.m > t.m else (w.e).observed_at >= (t.e).observed_at end
                     order by (w.m is null) = (t.m is null) desc, w.m desc nulls last, (w.e).observed_at desc, w.inbox_id desc
                     limit 1), 'older than what is known')
               when 'unchanged' then coalesce('written by a repair that was asked for by ' || ((t.e).headers ->> 'asked_by'),
                                              'says nothing new')
               when 'dead' then (select concat_ws('; ', concat_ws(': ', l.path, l.reason), 'value ' || l.value,
                                                  split_part(l.error_context, E'\n', 1), l.resolution)
                                   from tds.dead_letter l
                                  where l.inbox_id = t.inbox_id and (l.position is null or l.position = t.pos)
                                  order by l.dead_letter_id limit 1)
               when 'retried' then (select format('goes on as event %s', r.inbox_id) from told r
                                     where (r.e).source = 'retry' and (r.e).headers ->> 'of_event' = t.inbox_id::text
                                       and (r.e).headers ->> 'position' = t.pos::text limit 1)
               when 'parked' then concat_ws('; ', format('tried again at %s after %s: %s', t.retry_at, t.error_code, t.error), t.failed_in)
               else case when t.error is not null then concat_ws('; ', format('put back after %s: %s', t.error_code, t.error), t.failed_in)
                         when t.became is null then 'records of this page fared differently, and it finished before that was kept a record'
                         when (t.e).source = 'retry' then format('retry of event %s', (t.e).headers ->> 'of_event')
                         when (t.e).source = 'replay' then format('replay of event %s', (t.e).headers ->> 'of_event')
                         when (t.e).headers ->> 'asked_by' is not null
                         then format('repair, asked for by %s', (t.e).headers ->> 'asked_by') end
           end,
           t.finished_at
      from told t
      join page p on p.inbox_id = t.inbox_id
     order by t.inbox_id, t.pos;
end
$$;
revoke all on function tds.explain_record(text, text, text) from public;
comment on function tds.explain_record(text, text, text) is
'Every event that told of a record, under each name of its entity, in order of coming, and what became of it: applied, unchanged, stale, '
'retried, dead, or pending, processing, parked; why; the run and page that brought it. organization_id null: any. Reads every page that '
'holds the id.';
