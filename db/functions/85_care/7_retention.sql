-- What is forgotten, and when. One more table is one call of tds.register_retention().

create or replace function tds.register_retention(
    what text, relation text, days int, description text,
    time_column text default null, condition text default null, function_name text default null, reason text default null) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    insert into tds.retention_rule as r (what, relation, time_column, condition, function_name, reason, description)
    values (register_retention.what, register_retention.relation, register_retention.time_column, register_retention.condition,
            case when register_retention.function_name is not null
                 then to_regprocedure(format('tds.%I(timestamptz, timestamptz)', register_retention.function_name))::text end,
                     register_retention.reason,
            register_retention.description)
    on conflict on constraint retention_rule_pkey do update
       set relation = excluded.relation, time_column = excluded.time_column, condition = excluded.condition,
           function_name = excluded.function_name,
           reason = excluded.reason, description = excluded.description;
    if register_retention.days is not null then
        insert into tds.setting (name, value, description)
        values (format('keep_%s_days', register_retention.what), to_jsonb(register_retention.days),
                format('Days. %s', register_retention.description))
        on conflict on constraint setting_pkey do update set description = excluded.description;
    end if;
end
$$;
revoke all on function tds.register_retention(text, text, int, text, text, text, text, text) from public;
comment on function tds.register_retention(text, text, int, text, text, text, text, text) is
'Enters what is forgotten of a table: rows whose time_column is older than the setting keep_<what>_days, where the condition (over t) '
'holds; or what tds.<function_name>(at, before) does; or the reason why nothing has to be. days: the setting''s value where there is none '
'yet.';

create or replace function tds.forget_rows(rule tds.retention_rule, before timestamptz, at_most int) returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_rows bigint;
begin
    perform set_config('lock_timeout', '1s', true);
    execute format('delete from %1$s d where d.ctid = any (array(select t.ctid from %1$s t where t.%2$I < $1 and (%3$s) limit $2 for '
                   'update skip locked))',
                   (forget_rows.rule).relation::regclass, (forget_rows.rule).time_column, coalesce((forget_rows.rule).condition, 'true'))
      using forget_rows.before, forget_rows.at_most;
    get diagnostics v_rows = row_count;
    return v_rows;
end
$$;
revoke all on function tds.forget_rows(tds.retention_rule, timestamptz, int) from public;
comment on function tds.forget_rows(tds.retention_rule, timestamptz, int) is
'Deletes what a rule says, at most so many rows; what somebody has locked is left for the next time.';

create or replace function tds.oldest_day(parent text) returns timestamptz
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return (select min(to_date(right(c.relname, 8), 'YYYYMMDD'))::timestamp at time zone 'UTC'
              from pg_inherits h join pg_class c on c.oid = h.inhrelid
             where h.inhparent = ('tds.' || oldest_day.parent)::regclass and c.relname ~ '_\d{8}$');
end
$$;
revoke all on function tds.oldest_day(text) from public;
comment on function tds.oldest_day(text) is
'The beginning of the oldest day (UTC) of tds.inbox or tds.inbox_outcome that has its partition.';

create or replace function tds.oldest_of(rule tds.retention_rule) returns timestamptz
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_oldest timestamptz;
begin
    if (oldest_of.rule).relation in ('tds.inbox', 'tds.inbox_outcome') then
        return tds.oldest_day(split_part((oldest_of.rule).relation, '.', 2));
    elsif (oldest_of.rule).time_column is not null then
        execute format('select min(t.%I)::timestamptz from %s t', (oldest_of.rule).time_column,
                       (oldest_of.rule).relation::regclass) into v_oldest;
    elsif (oldest_of.rule).relation = 'tds.stock_day' then
        v_oldest := (select min(s.day)::timestamp at time zone 'UTC' from tds.stock_day s);
    elsif (oldest_of.rule).relation = 'tds.image_file' then
        v_oldest := (select min(f.stored_at) from tds.image_file f);
    elsif (oldest_of.rule).relation = 'tds.outcome_counter' then
        v_oldest := (select min(c.day)::timestamp at time zone 'UTC' from tds.outcome_counter c);
    end if;
    return v_oldest;
end
$$;
revoke all on function tds.oldest_of(tds.retention_rule) from public;
comment on function tds.oldest_of(tds.retention_rule) is 'The age of the oldest row that a rule is about.';

create or replace function tds.retain(at_most int default 100000) returns table (what text, removed bigint, error text)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '1s'
as $$
declare
    v_now    constant timestamptz := tds.now();
    v_rule   tds.retention_rule;
    v_before timestamptz;
    v_oldest timestamptz;
begin
    for v_rule in select r.* from tds.retention_rule r where r.reason is null order by r.what loop
        what := v_rule.what;
        removed := 0;
        error := null;
        v_oldest := null;
        begin
            v_before := v_now - make_interval(days => greatest(1, tds.setting_int(format('keep_%s_days', v_rule.what))));
            if v_rule.function_name is null then
                removed := tds.forget_rows(v_rule, v_before, retain.at_most);
            else
                execute format('select %s($1, $2)', v_rule.function_name::regprocedure::regproc) into removed using v_now, v_before;
            end if;
            v_oldest := tds.oldest_of(v_rule);
        exception when query_canceled or assert_failure or others then
            -- the others are forgotten all the same
            error := sqlstate || ' ' || sqlerrm;
            removed := 0;
        end;
        insert into tds.retention_state as s (what, ran_at, removed, oldest, error)
        values (retain.what, v_now, coalesce(retain.removed, 0), v_oldest, retain.error)
        on conflict on constraint retention_state_pkey do update
           set ran_at = excluded.ran_at, removed = s.removed + excluded.removed, error = excluded.error,
               oldest = case when excluded.error is null then excluded.oldest else s.oldest end;
        return next;
    end loop;
end
$$;
revoke all on function tds.retain(int) from public;
comment on function tds.retain(int) is
'Forgets what is older than its period, at most so many rows of each table; returns what came of each rule (public.tds_retention shows '
'them). One that fails says so in error, and costs no other.';

create or replace function tds.kept_of_day(parent text, day date) returns bigint[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_from constant timestamptz := kept_of_day.day::timestamp at time zone 'UTC';
    v_kept bigint[];
begin
    v_kept := array(select d.inbox_id from tds.dead_letter d
                     where d.resolved_at is null and d.received_at >= v_from and d.received_at < v_from + interval '1 day');
    if kept_of_day.parent = 'inbox' then
        v_kept := v_kept || array(select o.inbox_id from tds.inbox_open o where o.received_at >= v_from
                                  and o.received_at < v_from + interval '1 day')
            -- a body of which nothing is written, and nobody knows why, is not thrown away either
            || array(select i.inbox_id from tds.inbox i
                      where i.received_at >= v_from and i.received_at < v_from + interval '1 day' and i.refusal is null
                        and not exists (select from tds.inbox_outcome d where d.received_at = i.received_at and d.inbox_id = i.inbox_id));
    end if;
    return v_kept;
end
$$;
revoke all on function tds.kept_of_day(text, date) from public;
comment on function tds.kept_of_day(text, date) is 'The events of a day that outlive it: not finished, or dead and not resolved.';

create or replace function tds.forget_day(parent text, day date) returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_kept constant bigint[] := tds.kept_of_day(forget_day.parent, forget_day.day);
    v_part constant text := forget_day.parent || '_' || to_char(forget_day.day, 'YYYYMMDD');
    v_rows bigint;
    v_moved bigint;
begin
    -- What is not finished, or dead, outlives its day in one partition of all the days before those that have their own, under its own
    -- number, so that every reader finds it where it was. All in one step, and a short one: few rows are moved.
    perform set_config('lock_timeout', '1s', true);
    execute format('lock table tds.%I in access exclusive mode', forget_day.parent);
    execute format('select count(*) from tds.%I', v_part) into v_rows;
    execute format('alter table tds.%I detach partition tds.%I', forget_day.parent, v_part);
    if tds.kept_until(forget_day.parent) is not null then
        execute format('alter table tds.%I detach partition tds.%I', forget_day.parent, forget_day.parent || '_kept');
    else
        execute format('create table tds.%I (like tds.%I including all)', forget_day.parent || '_kept', forget_day.parent);
    end if;
    execute format('insert into tds.%1$I select * from tds.%2$I t where t.inbox_id = any ($1) order by t.received_at, t.inbox_id on '
                   'conflict do nothing',
                   forget_day.parent || '_kept', v_part)
      using v_kept;
    get diagnostics v_moved = row_count;
    execute format('alter table tds.%1$I attach partition tds.%2$I for values from (minvalue) to (%3$L)', forget_day.parent,
                   forget_day.parent || '_kept',
                   (forget_day.day + 1)::timestamp at time zone 'UTC');
    execute format('drop table tds.%I', v_part);
    return v_rows - v_moved;
end
$$;
revoke all on function tds.forget_day(text, date) from public;
comment on function tds.forget_day(text, date) is
'Drops a day''s partition of tds.inbox or tds.inbox_outcome, the oldest, after moving into the kept one what outlives it; returns the rows '
'forgotten. Takes an access exclusive lock, for as long as that takes. Raises 55P03 where it is not to be had.';

create or replace function tds.forget_days(parent text, before timestamptz, at_most int default 10) returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_day  date;
    v_rows bigint := 0::bigint;
begin
    foreach v_day in array array(
        select to_date(right(c.relname, 8), 'YYYYMMDD')
          from pg_inherits h join pg_class c on c.oid = h.inhrelid
         where h.inhparent = ('tds.' || forget_days.parent)::regclass and c.relname ~ '_\d{8}$'
           and to_date(right(c.relname, 8), 'YYYYMMDD') < (forget_days.before at time zone 'UTC')::date
         order by 1 limit forget_days.at_most)
    loop
        -- who reads or writes it just then is not made to wait for longer than a second, and then is left in peace for three
        for v_try in 1 .. 4 loop
            begin
                v_rows := v_rows + tds.forget_day(forget_days.parent, v_day);
                exit;
            exception when lock_not_available or deadlock_detected then
                if v_try = 4 then
                    raise;
                end if;
            end;
            perform pg_sleep(3);
        end loop;
    end loop;
    return v_rows;
end
$$;
revoke all on function tds.forget_days(text, timestamptz, int) from public;
comment on function tds.forget_days(text, timestamptz, int) is
'Drops the partitions of days that are over by then, the oldest first and at most so many: a clock that is wrong for an hour does little '
'harm. Returns the rows forgotten.';

create or replace function tds.forget_inbox(at timestamptz, before timestamptz) returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_rows bigint;
begin
    delete from tds.inbox k
     where k.received_at < least(forget_inbox.before, tds.kept_until('inbox'))
       and (k.received_at, k.inbox_id) in (
           select i.received_at, i.inbox_id from tds.inbox i
            where i.received_at < least(forget_inbox.before, forget_inbox.at, tds.kept_until('inbox')) and tds.kept_until('inbox')
                is not null
              and not exists (select from tds.inbox_open o where o.inbox_id = i.inbox_id)
              and not exists (select from tds.dead_letter d where d.inbox_id = i.inbox_id and d.resolved_at is null)
              and (i.refusal is not null
                   or exists (select from tds.inbox_outcome d where d.received_at = i.received_at and d.inbox_id = i.inbox_id)
                   or exists (select from tds.dead_letter d where d.inbox_id = i.inbox_id))
            limit 20000);
    get diagnostics v_rows = row_count;
    return v_rows + tds.forget_days('inbox', forget_inbox.before);
end
$$;
revoke all on function tds.forget_inbox(timestamptz, timestamptz) from public;
comment on function tds.forget_inbox(timestamptz, timestamptz) is
'Forgets bodies: days with their partitions, and of those that outlived theirs what is finished by now.';

create or replace function tds.forget_outcomes(at timestamptz, before timestamptz) returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_kept_until constant timestamptz := tds.kept_until('inbox_outcome');
    v_rows       bigint;
    v_kept       bigint;
begin
    delete from tds.inbox_outcome k
     where k.received_at < least(forget_outcomes.before, forget_outcomes.at, v_kept_until) and v_kept_until is not null
       and not exists (select from tds.dead_letter d where d.inbox_id = k.inbox_id and d.resolved_at is null)
       and not exists (select from tds.inbox i where i.received_at = k.received_at and i.inbox_id = k.inbox_id);
    get diagnostics v_kept = row_count;
    -- what became of a body is known for as long as the body is there
    v_rows := tds.forget_days('inbox_outcome', least(forget_outcomes.before, tds.oldest_day('inbox')));
    -- the counters say what the outcomes say: those of the days that are gone count what is kept
    -- what they lose, tds.outcome_past gains, so that the sum of both only grows
    with gone as (
        delete from tds.outcome_counter c
         where c.day < (tds.oldest_day('inbox_outcome') at time zone 'UTC')::date
        returning c.entity, c.status, c.events
    )
    insert into tds.outcome_past as p (entity, status, events)
    select g.entity, g.status, sum(g.events) from gone g group by g.entity, g.status order by g.entity, g.status
    on conflict on constraint outcome_past_pkey do update set events = p.events + excluded.events;
    with kept as (
        insert into tds.outcome_counter (entity, day, status, slot, events)
        select k.entity, (k.received_at at time zone 'UTC')::date, k.status, -1, count(*)
          from tds.inbox_outcome k
         where k.received_at < tds.kept_until('inbox_outcome')
         group by 1, 2, 3
         order by 1, 2, 3
        on conflict on constraint outcome_counter_pkey do update set events = excluded.events
        returning entity, status, events
    )
    insert into tds.outcome_past as p (entity, status, events)
    select k.entity, k.status, -sum(k.events) from kept k group by k.entity, k.status order by k.entity, k.status
    on conflict on constraint outcome_past_pkey do update set events = p.events + excluded.events;
    return v_rows + v_kept;
end
$$;
revoke all on function tds.forget_outcomes(timestamptz, timestamptz) from public;
comment on function tds.forget_outcomes(timestamptz, timestamptz) is
'Forgets outcomes, days with their partitions, and their counters with them.';

create or replace function tds.fold_stock(at timestamptz, before timestamptz) returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_rows   bigint;
    v_thin   bigint;
    v_change bigint;
begin
    -- for this transaction, and only as the owner: the trigger that keeps the history as it was lets it pass
    perform set_config('tds.folds_history', 'on', true);
    insert into tds.stock_day as s (organization_id, day, zoho_warehouse_id, recorded_at, zoho_item_ids, quantities)
    select h.organization_id, h.day, coalesce(h.zoho_warehouse_id, ''), max(h.recorded_at),
           array_agg(h.zoho_item_id order by h.zoho_item_id), array_agg(h.quantity order by h.zoho_item_id)
      from zoho.stock_history h
     where h.kind = 'snapshot' and h.recorded_at < fold_stock.at - interval '30 hours'
     group by h.organization_id, h.day, coalesce(h.zoho_warehouse_id, '')
     order by 1, 2, 3
    -- what came to be known later that day, and was not old enough with the rest of it
    on conflict on constraint stock_day_pkey do update
       set (zoho_item_ids, quantities) = (
           select array_agg(u.item order by u.item), array_agg(u.quantity order by u.item)
             from unnest(s.zoho_item_ids || excluded.zoho_item_ids, s.quantities || excluded.quantities) u(item, quantity));
    delete from zoho.stock_history h
     where h.kind = 'snapshot' and h.recorded_at < fold_stock.at - interval '30 hours'
       and exists (select from tds.stock_day s
                    where s.organization_id = h.organization_id and s.day = h.day
                      and s.zoho_warehouse_id = coalesce(h.zoho_warehouse_id, ''));
    get diagnostics v_rows = row_count;
    delete from zoho.stock_history h
     where h.ctid = any (array(select c.ctid from zoho.stock_history c
                                where c.kind = 'change'
                                  and c.recorded_at < fold_stock.at - make_interval(days => tds.setting_int('keep_stock_changes_days'))
                                limit 100000));
    get diagnostics v_change = row_count;
    perform set_config('tds.folds_history', '', true);
    delete from tds.stock_day s
     where s.day < (fold_stock.before at time zone 'UTC')::date
       and s.day <> (select min(f.day) from tds.stock_day f
                      where f.organization_id = s.organization_id and f.zoho_warehouse_id = s.zoho_warehouse_id
                        and f.day >= date_trunc('month', s.day)::date and f.day < (date_trunc('month', s.day) + interval '1 month')::date);
    get diagnostics v_thin = row_count;
    return v_rows + v_change + v_thin;
end
$$;
revoke all on function tds.fold_stock(timestamptz, timestamptz) from public;
comment on function tds.fold_stock(timestamptz, timestamptz) is
'Puts snapshots of the stock that are over a day old into their small form (tds.stock_day), thins those to months after their period, and '
'forgets changes after theirs.';

create or replace function tds.forget_wants(at timestamptz, before timestamptz) returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_entity tds.entity;
    v_rows   bigint;
    v_all    bigint := 0::bigint;
begin
    perform set_config('lock_timeout', '1s', true);
    for v_entity in select n.* from tds.entity n order by n.entity loop
        execute format($sql$
            delete from tds.wanted_detail w
             where w.entity = $1 and w.wanted_at < $2 and w.wanted_at <= $3 and w.error is not null
               and exists (select from zoho.%1$I t where t.organization_id = w.organization_id and t.%2$I = w.zoho_id
                           and t.deleted_at < $2)$sql$,
            v_entity.target, v_entity.target_key)
          using v_entity.entity, forget_wants.before, forget_wants.at;
        get diagnostics v_rows = row_count;
        v_all := v_all + v_rows;
    end loop;
    return v_all;
end
$$;
revoke all on function tds.forget_wants(timestamptz, timestamptz) from public;
comment on function tds.forget_wants(timestamptz, timestamptz) is
'Forgets wanted details of records that have been deleted for as long, and that Zoho does not give.';

create or replace function tds.forget_images(at timestamptz, before timestamptz) returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_rows bigint;
begin
    delete from tds.image i
     where i.changed_at < forget_images.before and i.changed_at <= forget_images.at
       and not exists (select from zoho.products p
                        where p.organization_id = i.organization_id and p.zoho_item_id = i.zoho_item_id
                          and (p.deleted_at is null or p.deleted_at >= forget_images.before) and p.image_document_id is not null);
    get diagnostics v_rows = row_count;
    return v_rows;
end
$$;
revoke all on function tds.forget_images(timestamptz, timestamptz) from public;
comment on function tds.forget_images(timestamptz, timestamptz) is
'Forgets pictures of products that have been deleted, or have shown none, for as long.';

create or replace function tds.forget_image_files(at timestamptz, before timestamptz) returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    update tds.image_file f
       set unneeded_at = case when n.needed then null else forget_image_files.at end
      from (select k.sha256, exists (select from tds.image i where i.sha256 = k.sha256) as needed from tds.image_file k) n
     where n.sha256 = f.sha256 and n.needed = (f.unneeded_at is not null)
       -- one that is stored just now has nobody yet who shows it
       and (n.needed or f.stored_at < greatest(forget_image_files.before, forget_image_files.at - interval '1 hour'));
    -- files are removed by who reaches them, and counted then
    return 0::bigint;
end
$$;
revoke all on function tds.forget_image_files(timestamptz, timestamptz) from public;
comment on function tds.forget_image_files(timestamptz, timestamptz) is
'Marks files of pictures that nothing shows any more; tds poll, or tds images --prune, removes them after their period.';

create or replace function tds.retention()
returns table (what text, relation text, rows bigint, bytes bigint, oldest timestamptz, days int, next timestamptz, removed bigint,
               error text, description text)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now constant timestamptz := tds.now();
begin
    return query
    select r.what, r.relation, s.rows, s.bytes, t.oldest, (k.value #>> '{}')::int, case when r.reason is null then j.due_at end, t.removed,
        t.error,
           coalesce(r.reason, r.description)
      from tds.retention_rule r
      left join tds.retention_state t on t.what = r.what
      left join tds.setting k on k.name = format('keep_%s_days', r.what)
      left join (select tds.cron_next(g.schedule, greatest(v_now, g.since), tds.job_time_zone()) as due_at
                   from tds.job g where g.job = 'retention') j on true
      left join (
           -- by name: whoever may not look into a schema may not resolve a name in it
           select n.nspname || '.' || p.relname as relation, sum(greatest(c.reltuples, 0))::bigint as rows,
                  sum(pg_total_relation_size(c.oid))::bigint as bytes
             from pg_class c
             left join pg_inherits i on i.inhrelid = c.oid
             join pg_class p on p.oid = coalesce(i.inhparent, c.oid)
             join pg_namespace n on n.oid = p.relnamespace
            where c.relkind = 'r' and n.nspname in ('tds', 'zoho', 'cron')
            group by 1) s on s.relation = r.relation
     order by s.bytes desc nulls last, r.what;
end
$$;
revoke all on function tds.retention() from public;
comment on function tds.retention() is 'What is kept how long: what public.tds_retention shows.';

create or replace view public.tds_retention as select * from tds.retention();
comment on view public.tds_retention is
'What is kept how long, the largest first. A period is the setting keep_<what>_days; what has none says why it does not grow.';
comment on column public.tds_retention.what is 'Name of the rule.';
comment on column public.tds_retention.relation is 'The table.';
comment on column public.tds_retention.rows is 'Its rows, as estimated when it was analysed last.';
comment on column public.tds_retention.bytes is 'Its size with its indexes.';
comment on column public.tds_retention.oldest is 'The oldest row that was left, when the job ran last.';
comment on column public.tds_retention.days is 'The period in days.';
comment on column public.tds_retention.next is 'When the job runs next.';
comment on column public.tds_retention.removed is 'Rows forgotten so far.';
comment on column public.tds_retention.error is 'Why the job could not, when it ran last.';
comment on column public.tds_retention.description is 'What is kept and what is forgotten, or why nothing has to be.';

create or replace function tds.check_retention(at timestamptz) returns tds.finding
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_bad record;
begin
    select count(*) as rules, string_agg(format('%s: %s', r.what,
                                                coalesce(s.error, 'not done since ' || coalesce(s.ran_at::text, j.since::text))), '; '
                                                    order by r.what) as told
      into v_bad
      from tds.retention_rule r
      left join tds.retention_state s on s.what = r.what
     cross join (select min(g.since) as since from tds.job g where g.job = 'retention') j
     where r.reason is null
       and (s.error is not null or coalesce(s.ran_at, j.since) < check_retention.at - interval '50 hours'
            or s.ran_at > check_retention.at + interval '1 minute');
    return row(v_bad.rules, coalesce(v_bad.told, 'all is forgotten in time'), null)::tds.finding;
end
$$;
revoke all on function tds.check_retention(timestamptz) from public;
comment on function tds.check_retention(timestamptz) is 'Check: what the job retention could not forget.';
select tds.register_check('retention', 'jobs', 'rules', 1, 5, 60,
    'Rules of retention that failed when they last ran, or that have not run for two days.',
    'select * from tds_retention where error is not null; call tds.run_job(''retention''). 55P03: a transaction holds the inbox; see '
    'oldest_transaction');

create or replace function tds.heal_retention(at timestamptz, dry_run boolean) returns setof tds.healed
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_state record;
begin
    -- what was locked in the night is tried again, for a second, until it is not
    for v_state in
        select s.what, s.error from tds.retention_state s
         where s.error like '55P03%' and s.what in ('inbox', 'outcomes') and s.ran_at > heal_retention.at - interval '23 hours'
         order by s.what
    loop
        if not heal_retention.dry_run then
            perform tds.forget_days(
                case v_state.what when 'inbox' then 'inbox' else 'inbox_outcome' end,
                least(heal_retention.at - make_interval(days => tds.setting_int(format('keep_%s_days', v_state.what))),
                      case when v_state.what = 'outcomes' then tds.oldest_day('inbox') end));
            update tds.retention_state s set error = null where s.what = v_state.what;
        end if;
        return next row('retention of ' || v_state.what, 'forgot what was locked in the night', true, v_state.error)::tds.healed;
    end loop;
end
$$;
revoke all on function tds.heal_retention(timestamptz, boolean) from public;
comment on function tds.heal_retention(timestamptz, boolean) is 'Step: drops partitions that were locked when the job retention ran.';
select tds.register_heal('retention', 100, 'Drops the partitions that somebody had locked when the job retention wanted to.');

grant execute on function tds.retain(int), tds.heal_retention(timestamptz, boolean) to tds_worker, tds_operator;
grant execute on function tds.retention() to tds_worker, tds_operator, tds_reader;
grant select on tds.retention_rule, tds.retention_state, tds.stock_day to tds_reader, tds_operator;

insert into tds.job (job, schedule, command, description) values
    ('retention', '40 2 * * *', 'select * from tds.retain()', 'Forgets what is older than its period: tds_retention.')
on conflict on constraint job_pkey do update
   set command = excluded.command, description = excluded.description
 where (tds.job.command, tds.job.description) is distinct from (excluded.command, excluded.description);
