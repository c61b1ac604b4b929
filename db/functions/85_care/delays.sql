-- How long webhooks take until their outcome is written, as a series by the hour: tds.delay.

create or replace function tds.delay_bounds() returns numeric[]
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$ select array[0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 20, 30, 45, 60, 120, 300, 600, 1800, 3600, 7200, 86400, 'Infinity']::numeric[] $$;
revoke all on function tds.delay_bounds() from public;
comment on function tds.delay_bounds() is 'Upper bounds of the buckets of tds.delay, in seconds.';

create or replace function tds.count_delays(at_most int default 50000) returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now    constant timestamptz := tds.now();
    v_bounds constant numeric[] := tds.delay_bounds();
    -- an outcome bears the time at which its batch was begun to be finished: what is in work may commit one of before now
    v_until  constant timestamptz := greatest(v_now - interval '10 minutes',
        least(v_now - interval '10 seconds', (select min(c.claimed_at) from tds.claim c)));
    v_mark   tds.delay_counted;
    v_last   record;
begin
    select o.* into strict v_mark from tds.delay_counted o for update;
    if v_mark.finished_at > v_until + interval '1 hour' then
        -- the clock has been set back: what is counted from now on begins now
        update tds.delay_counted o set finished_at = v_until, inbox_id = 0;
        return 0;
    end if;
    with next as materialized (
        select d.entity, d.received_at, d.finished_at, d.inbox_id,
               greatest(0, extract(epoch from d.finished_at - d.received_at)) as seconds
          from tds.inbox_outcome d
         where d.finished_at >= v_mark.finished_at and d.finished_at < v_until
           and (d.finished_at, d.inbox_id) > (v_mark.finished_at, v_mark.inbox_id)
         order by d.finished_at, d.inbox_id
         limit count_delays.at_most
    ), counted as (
        insert into tds.delay as k (hour, entity, under, events, seconds)
        select date_trunc('hour', n.finished_at), n.entity, v_bounds[width_bucket(n.seconds, v_bounds) + 1], count(*), sum(n.seconds)
          from next n
         -- "offset 0": looked up one by one, whatever the planner takes the days to hold
         cross join lateral (select from tds.inbox i
                              where i.received_at = n.received_at and i.inbox_id = n.inbox_id and i.source = 'webhook' offset 0) w
         where exists (select from tds.entity e where e.entity = n.entity)
         group by 1, 2, 3
         order by 1, 2, 3
        on conflict on constraint delay_pkey do update set events = k.events + excluded.events, seconds = k.seconds + excluded.seconds
    )
    select l.finished_at, l.inbox_id, count(*) over ()::int as events into v_last
      from next l order by l.finished_at desc, l.inbox_id desc limit 1;
    if not found then
        return 0;
    end if;
    update tds.delay_counted o set finished_at = v_last.finished_at, inbox_id = v_last.inbox_id;
    return v_last.events;
end
$$;
revoke all on function tds.count_delays(int) from public;
comment on function tds.count_delays(int) is
'Counts how long the webhooks took that were finished since the last call, at most so many events, into tds.delay; returns how many it has '
'read. The workers pay nothing for it.';

create or replace function tds.quantile_of(share numeric, unders numeric[], events numeric[]) returns numeric
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
    v_bounds constant numeric[] := tds.delay_bounds();
    v_found  record;
begin
    select c.under, c.events, c.so_far, c.total into v_found
      from (select u.under, u.events, sum(u.events) over (order by u.under) as so_far, sum(u.events) over () as total
              from (select b.under, sum(b.events) as events
                      from unnest(quantile_of.unders, quantile_of.events) b(under, events) group by b.under) u) c
     where c.so_far >= quantile_of.share * c.total
     order by c.under limit 1;
    -- within its bucket as if they lay evenly there; nobody knows how far the last one reaches
    return (select round(case when v_found.under = 'Infinity' then l.lower
                              else l.lower + (v_found.under - l.lower)
                                   * (quantile_of.share * v_found.total - (v_found.so_far - v_found.events)) / v_found.events end, 3)
              from (select coalesce(v_bounds[array_position(v_bounds, v_found.under) - 1], 0) as lower) l);
end
$$;
revoke all on function tds.quantile_of(numeric, numeric[], numeric[]) from public;
comment on function tds.quantile_of(numeric, numeric[], numeric[]) is
'How many seconds that share of events took at most, by their number in the buckets of tds.delay; a bucket may come more than once.';

create or replace function tds.delays_since(since timestamptz)
returns table (entity text, events bigint, average numeric, p99 numeric)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    select d.entity, sum(d.events)::bigint, round(sum(d.seconds) / sum(d.events), 3),
           tds.quantile_of(0.99, array_agg(d.under), array_agg(d.events::numeric))
      from tds.delay d
     where d.hour >= date_trunc('hour', delays_since.since)
     group by d.entity;
end
$$;
revoke all on function tds.delays_since(timestamptz) from public;
comment on function tds.delays_since(timestamptz) is
'How many webhooks were finished since the beginning of that hour, by entity, and how many seconds they took: on average, and 99 of 100 at '
'most.';
grant execute on function tds.count_delays(int) to tds_worker, tds_operator;
grant execute on function tds.delay_bounds(), tds.quantile_of(numeric, numeric[], numeric[]), tds.delays_since(timestamptz)
    to tds_reader, tds_operator;
grant select on tds.delay, tds.delay_counted, tds.outcome_past to tds_reader, tds_operator;
