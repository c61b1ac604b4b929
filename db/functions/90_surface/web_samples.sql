-- The series that the dashboard draws: a sample a minute, kept in three steps.

create or replace function tds.add_counts(one jsonb, other jsonb) returns jsonb
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
    select coalesce(jsonb_object_agg(s.key, s.events), '{}')
      from (select e.key, sum(e.value::bigint) as events
              from (select * from jsonb_each_text($1) union all select * from jsonb_each_text($2)) e
             group by e.key) s
$$;
revoke all on function tds.add_counts(jsonb, jsonb) from public;
comment on function tds.add_counts(jsonb, jsonb) is 'Two objects of counts, added key by key.';

create or replace function tds.growth(now jsonb, before jsonb) returns jsonb
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
    -- less than before: what was counted has been forgotten since
    select coalesce(jsonb_object_agg(n.key, n.value::bigint - coalesce($2 ->> n.key, '0')::bigint), '{}')
      from jsonb_each_text($1) n
     where n.value::bigint > coalesce($2 ->> n.key, '0')::bigint
$$;
revoke all on function tds.growth(jsonb, jsonb) from public;
comment on function tds.growth(jsonb, jsonb) is 'What counts have grown by, key by key; what has not is left out.';

create or replace function tds.totals(from_day date, calls_day date, out seen jsonb, out completed jsonb, out calls bigint)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    select coalesce(jsonb_object_agg(s.entity, s.events), '{}'),
           coalesce(jsonb_object_agg(s.entity, s.completed) filter (where s.completed > 0), '{}')
      into totals.seen, totals.completed
      from (select t.entity, sum(t.events)::bigint as events, sum(t.completed)::bigint as completed
              from (select c.entity, c.events, case when c.status = 'completed' then c.events else 0 end as completed
                      from tds.outcome_counter c where c.day >= totals.from_day
                     union all
                    select o.entity, o.events, 0 from public.tds_open_counts o) t
             group by t.entity) s;
    totals.calls := (select coalesce(sum(s.calls), 0)::bigint from tds.api_spending s where s.day >= totals.calls_day);
end
$$;
revoke all on function tds.totals(date, date) from public;
comment on function tds.totals(date, date) is
'Events by entity that have come since a day (UTC) and are known still, how many of them are completed, and calls of Zoho''s API since a '
'day.';

create or replace function tds.note_changes(at timestamptz, since timestamptz, out delay_seconds numeric, out delay_events bigint)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    with newest as materialized (
        select o.entity, o.received_at, o.finished_at, o.applied
          from tds.inbox_outcome o
         where o.received_at > note_changes.since - interval '10 minutes'
         order by o.received_at desc
         limit 2000
    ), changed as (
        insert into tds.mirror_count as c (entity, rows, estimated, counted_at, changed_at)
        select n.entity, 0, false, '-infinity', max(n.finished_at)
          from newest n where n.applied > 0 group by n.entity order by n.entity
        on conflict on constraint mirror_count_pkey do update set changed_at = greatest(c.changed_at, excluded.changed_at)
    )
    select coalesce(sum(extract(epoch from greatest(n.finished_at - n.received_at, interval '0'))), 0), count(*)
      into note_changes.delay_seconds, note_changes.delay_events
      from newest n
     where n.finished_at > note_changes.since and n.finished_at <= note_changes.at;
end
$$;
revoke all on function tds.note_changes(timestamptz, timestamptz) from public;
comment on function tds.note_changes(timestamptz, timestamptz) is
'Of the newest 2,000 events: notes when each entity''s rows last changed, and tells how long those took that were finished since.';

create or replace function tds.count_mirror(at timestamptz) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_most    constant int := tds.setting_int('count_rows_at_most');
    v_entity  record;
    v_rows    bigint;
    v_deleted bigint;
    v_changed timestamptz;
    v_guess   bigint;
begin
    for v_entity in
        select n.entity, coalesce(to_regclass('zoho.' || n.entity), to_regclass('zoho.' || n.target)) as target
          from tds.entity n order by n.entity
    loop
        v_guess := (select greatest(c.reltuples, 0)::bigint from pg_class c where c.oid = v_entity.target);
        v_rows := v_guess;
        v_deleted := null;
        v_changed := null;
        if v_guess <= v_most then
            execute format('select count(*), count(m.deleted_at), max(m.synced_at) from (select deleted_at, synced_at from %s limit %s) m',
                           v_entity.target, v_most + 1) into v_rows, v_deleted, v_changed;
        end if;
        insert into tds.mirror_count as c (entity, rows, deleted, estimated, counted_at, changed_at)
        values (v_entity.entity, v_rows, v_deleted, v_guess > v_most, count_mirror.at, v_changed)
        on conflict on constraint mirror_count_pkey do update
           set rows = excluded.rows, deleted = excluded.deleted, estimated = excluded.estimated, counted_at = excluded.counted_at,
               changed_at = greatest(c.changed_at, excluded.changed_at);
    end loop;
end
$$;
revoke all on function tds.count_mirror(timestamptz) from public;
comment on function tds.count_mirror(timestamptz) is
'Counts the mirror''s rows by entity into tds.mirror_count; of a table larger than the setting count_rows_at_most it takes the server''s '
'estimate.';

create or replace function tds.take_sample() returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now      constant timestamptz := tds.now();
    v_today    constant date := (v_now at time zone 'UTC')::date;
    v_from_day constant date := v_today - 20;
    v_mark     tds.sample_mark;
    v_totals   record;
    v_open     record;
    v_delays   record;
    v_dead     bigint;
begin
    select m.* into v_mark from tds.sample_mark m for update;
    if v_mark.sampled_at is null or v_mark.sampled_at > v_now then
        -- the first one, or the clock has been set back: what grows from now on is counted
        select v_now, t.seen, t.completed, t.calls into v_mark.sampled_at, v_mark.seen, v_mark.completed, v_mark.calls
          from tds.totals(v_from_day, v_today) t;
        v_mark.from_day := v_from_day;
        v_mark.calls_day := v_today;
    end if;
    select t.* into strict v_totals from tds.totals(v_mark.from_day, v_mark.calls_day) t;
    select coalesce(sum(o.events), 0)::bigint as events, coalesce(sum(o.parked), 0)::bigint as parked, min(o.oldest_waiting) as oldest
      into v_open from public.tds_open_counts o;
    -- what is being made now is committed a little later
    v_dead := (select count(*) from tds.dead_letter d
                where d.dead_at >= v_mark.sampled_at - interval '10 seconds' and d.dead_at < v_now - interval '10 seconds');
    select d.* into strict v_delays from tds.note_changes(v_now, v_mark.sampled_at) d;

    insert into tds.sample as s (span_seconds, at, received, completed, dead, parked, waiting, oldest_seconds, delay_seconds,
                                 delay_events, calls)
    select p.seconds, to_timestamp(floor(extract(epoch from v_now) / p.seconds) * p.seconds),
           tds.growth(v_totals.seen, v_mark.seen), tds.growth(v_totals.completed, v_mark.completed), v_dead, v_open.parked,
           v_open.events - v_open.parked, coalesce(greatest(0, extract(epoch from v_now - v_open.oldest)), 0), v_delays.delay_seconds,
           v_delays.delay_events, greatest(0, v_totals.calls - v_mark.calls)
      from (values (60), (900), (21600)) p(seconds)
     order by p.seconds
    on conflict on constraint sample_pkey do update
       set received = tds.add_counts(s.received, excluded.received), completed = tds.add_counts(s.completed, excluded.completed),
           dead = s.dead + excluded.dead, parked = greatest(s.parked, excluded.parked), waiting = greatest(s.waiting, excluded.waiting),
           oldest_seconds = greatest(s.oldest_seconds, excluded.oldest_seconds), delay_seconds = s.delay_seconds + excluded.delay_seconds,
           delay_events = s.delay_events + excluded.delay_events, calls = s.calls + excluded.calls;

    if (v_mark.from_day, v_mark.calls_day) is distinct from (v_from_day, v_today) then
        select t.* into strict v_totals from tds.totals(v_from_day, v_today) t;
    end if;
    insert into tds.sample_mark (only_row, sampled_at, from_day, seen, completed, calls_day, calls)
    values (true, v_now, v_from_day, v_totals.seen, v_totals.completed, v_today, v_totals.calls)
    on conflict on constraint sample_mark_pkey do update
       set sampled_at = excluded.sampled_at, from_day = excluded.from_day, seen = excluded.seen, completed = excluded.completed,
           calls_day = excluded.calls_day, calls = excluded.calls;
    if not exists (select from tds.mirror_count c where c.counted_at > v_now - interval '14 minutes 30 seconds' and c.counted_at <= v_now)
    then
        perform tds.count_mirror(v_now);
    end if;
end
$$;
revoke all on function tds.take_sample() from public;
comment on function tds.take_sample() is
'Enters what has come and become since the last call into tds.sample, in each of its steps, and counts the mirror''s rows every quarter '
'of an hour. The job sample calls it every minute; after a pause the first one counts what came meanwhile.';

create or replace function tds.forget_samples(at timestamptz, before timestamptz) returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_rows bigint;
begin
    delete from tds.sample s
     where s.at < forget_samples.before
        or s.span_seconds = 60 and s.at < forget_samples.at - interval '2 days'
        or s.span_seconds = 900 and s.at < forget_samples.at - interval '8 days';
    get diagnostics v_rows = row_count;
    return v_rows;
end
$$;
revoke all on function tds.forget_samples(timestamptz, timestamptz) from public;
comment on function tds.forget_samples(timestamptz, timestamptz) is
'Forgets samples: minutes after two days, quarters of an hour after eight, the rest before that time.';

grant execute on function tds.take_sample() to tds_worker, tds_operator;
grant select on tds.sample, tds.sample_mark, tds.mirror_count to tds_reader, tds_operator;

insert into tds.setting (name, value, description) values
    ('count_rows_at_most', '200000', 'Rows of a table of the mirror up to which they are counted; of a larger one the server''s estimate '
                                     'is shown.')
on conflict on constraint setting_pkey do nothing;

insert into tds.job (job, schedule, command, description) values
    ('sample', '* * * * *', 'select tds.take_sample()', 'Counts what came and what became of it: the charts of the dashboard.')
on conflict on constraint job_pkey do update
   set command = excluded.command, description = excluded.description
 where (tds.job.command, tds.job.description) is distinct from (excluded.command, excluded.description);

select tds.register_retention('samples', 'tds.sample', 90,
    'Samples of six hours; minutes stay for two days, quarters of an hour for eight.', function_name => 'forget_samples');
select tds.register_retention(r.what, r.relation, null, r.reason, reason => r.reason)
  from (values ('sample_mark', 'tds.sample_mark', 'one row'),
               ('mirror_counts', 'tds.mirror_count', 'a row an entity')) r(what, relation, reason)
 order by r.what;
