-- Sweeps: every list is read whole by the clock. What no filter shows is found by them: records that are gone without a word, invoices
-- that the calendar alone made overdue, the invoices of contacts that were merged.

insert into tds.setting (name, value, description) values
    ('sweep_days', '7',
        'After how many days a list that is read through a filter is read whole: that finds what no filter shows, and what is gone. Lists '
        'without a filter are read whole each night.'),
    ('sweep_days_of', '{}',
        'The same for single entities, {"invoices": 1, "sales_orders": 30}: 1 is each night, 0 never. It stands before all else.'),
    ('sweep_nightly_pages', '2',
        'A list of so few pages of 200 is read whole each night, though it has a filter: it costs next to nothing.'),
    ('sweep_waits', '3',
        'How often in a row a sweep may wait for its next time because Zoho counts as many records as are here and nothing has moved.'),
    ('sweep_reserve_percent', '25',
        'Share of the minute''s and the day''s calls that sweeps leave to everything else.')
on conflict on constraint setting_pkey do nothing;

create or replace function tds.list_records(entity tds.entity, organization_id text) returns bigint
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_records bigint;
begin
    execute format('select count(*) from zoho.%I t where t.organization_id = $1 and t.deleted_at is null
                       and ($2 is null or t.zoho_metadata ->> ''contact_type'' = $2)', (list_records.entity).target)
       into v_records using list_records.organization_id, (list_records.entity).list_filter ->> 'contact_type';
    return v_records;
end
$$;
revoke all on function tds.list_records(tds.entity, text) from public;
comment on function tds.list_records(tds.entity, text) is 'How many living records of a list the mirror has.';

create or replace function tds.list_pages(entity tds.entity, records bigint) returns int
language sql immutable parallel safe
as $$ select case when ($1).paged then greatest(1, ceil($2 / 200.0))::int else 1 end $$;
comment on function tds.list_pages(tds.entity, bigint) is 'The calls that reading a list of so many records whole costs.';

create or replace function tds.sweep_period(entity tds.entity, organization_id text, pages int) returns int
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_own constant text := tds.setting_text('sweep_days_of')::jsonb ->> (sweep_period.entity).entity;
begin
    if v_own ~ '^\d{1,4}$' then
        return v_own::int;
    end if;
    return case when not tds.has_filter(sweep_period.entity, sweep_period.organization_id)
                     or sweep_period.pages <= tds.setting_int('sweep_nightly_pages') then 1
                else tds.setting_int('sweep_days') end;
end
$$;
revoke all on function tds.sweep_period(tds.entity, text, int) from public;
comment on function tds.sweep_period(tds.entity, text, int) is
'Every how many days a list of so many pages is read whole; 0: never. See the settings sweep_days, sweep_days_of, sweep_nightly_pages.';

create or replace function tds.last_sweep(
    entity text, organization_id text, out read_at timestamptz, out tried_at timestamptz, out waits int)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now constant timestamptz := tds.now();
begin
    last_sweep.read_at := (
        select max(r.listed_at) from tds.run r
         where r.organization_id = last_sweep.organization_id and r.entity = last_sweep.entity and r.listed_at is not null
           and r.is_pass and tds.is_whole(r)
           -- by a clock that was ahead, the list would not be read until then
           and not tds.is_ahead(r.listed_at, v_now));
    select greatest(last_sweep.read_at, max(r.finished_at)), count(*)::int into last_sweep.tried_at, last_sweep.waits
      from tds.run r
     where r.organization_id = last_sweep.organization_id and r.entity = last_sweep.entity and tds.was_put_off(r)
       and r.finished_at > coalesce(last_sweep.read_at, '-infinity') and not tds.is_ahead(r.finished_at, v_now);
end
$$;
revoke all on function tds.last_sweep(text, text) from public;
comment on function tds.last_sweep(text, text) is
'When a list was last read whole, when that was last due (and perhaps put off), and how often in a row it was put off since.';

create or replace function tds.was_put_off(run tds.run) returns boolean
language sql immutable parallel safe
as $$ select ($1).options ? 'sweep' and ($1).state = 'complete' and ($1).listed_at is null $$;
comment on function tds.was_put_off(tds.run) is 'Whether a run was a sweep that read nothing, as nothing spoke for it.';

create or replace function tds.has_lost_parents(entity tds.entity, organization_id text, since timestamptz) returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_link  tds.link;
    v_found boolean;
begin
    for v_link in select l.* from tds.link l where l.target = (has_lost_parents.entity).target and not l.follows order by l.column_name loop
        execute format($sql$
            select exists (select from zoho.%1$I p
                             join zoho.%2$I t on t.organization_id = p.organization_id and t.%3$I = p.%4$I
                            where p.organization_id = $1 and p.deleted_at > $2 and t.deleted_at is null
                              and coalesce(t.sync_read_at, '-infinity') <= p.deleted_at)$sql$,
            v_link.parent, v_link.target, v_link.key_column, v_link.parent_key)
           into v_found using has_lost_parents.organization_id, coalesce(has_lost_parents.since, '-infinity');
        if v_found then
            return true;
        end if;
    end loop;
    return false;
end
$$;
revoke all on function tds.has_lost_parents(tds.entity, text, timestamptz) from public;
comment on function tds.has_lost_parents(tds.entity, text, timestamptz) is
'Whether living records name one that has gone since then and have not been read after it: a contact that was merged into another takes '
'its invoices along, and none of them says so.';

create or replace function tds.why_sweep(entity tds.entity, organization_id text, records bigint, at timestamptz) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_last  record;
    v_known bigint;
    v_moved boolean;
begin
    select * into v_last from tds.last_sweep((why_sweep.entity).entity, why_sweep.organization_id);
    if v_last.read_at is null then
        return 'the list was never read whole';
    elsif v_last.waits >= tds.setting_int('sweep_waits') then
        return format('it was put off %s times', v_last.waits);
    elsif not tds.has_filter(why_sweep.entity, why_sweep.organization_id) then
        return 'nothing else shows what has changed in it';
    elsif coalesce(tds.last_pass((why_sweep.entity).entity, why_sweep.organization_id), '-infinity') < why_sweep.at - interval '1 day' then
        return 'no pull of what has changed was complete within a day';
    end if;
    execute format($sql$
        select count(*), bool_or(t.synced_at > $2) from zoho.%I t
         where t.organization_id = $1 and t.deleted_at is null and ($3 is null or t.zoho_metadata ->> 'contact_type' = $3)$sql$,
        (why_sweep.entity).target)
       into v_known, v_moved
      using why_sweep.organization_id, v_last.tried_at, (why_sweep.entity).list_filter ->> 'contact_type';
    if v_known is distinct from why_sweep.records then
        return format('Zoho counts %s records, and %s are here', coalesce(why_sweep.records::text, 'not its'), v_known);
    elsif v_moved then
        return 'records were written since';
    elsif tds.has_lost_parents(why_sweep.entity, why_sweep.organization_id, v_last.read_at) then
        return 'records name one that is gone';
    elsif tds.has_come_due(why_sweep.entity, why_sweep.organization_id, v_last.read_at, why_sweep.at) then
        return 'documents have come due';
    end if;
    return null;
end
$$;
revoke all on function tds.why_sweep(tds.entity, text, bigint, timestamptz) from public;
comment on function tds.why_sweep(tds.entity, text, bigint, timestamptz) is
'Why a list of which Zoho counts so many records (null: it does not say) is to be read whole now; null: it may wait for its next time.';

create or replace function tds.has_come_due(entity tds.entity, organization_id text, since timestamptz, at timestamptz) returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_zone  constant text := tds.time_zone_of(has_come_due.organization_id);
    v_found boolean;
begin
    if (select count(*) from pg_attribute a
         where a.attrelid = to_regclass(format('zoho.%I', (has_come_due.entity).target)) and a.attname in ('due_date', 'status', 'balance')
           and not a.attisdropped) < 3 then
        return false;
    end if;
    execute format($sql$
        select exists (select from zoho.%I t
                        where t.organization_id = $1 and t.deleted_at is null and t.balance > 0
                          and t.due_date >= $2 and t.due_date < $3 and t.status not in ('overdue', 'paid', 'void', 'draft'))$sql$,
        (has_come_due.entity).target)
       into v_found
      using has_come_due.organization_id, (has_come_due.since at time zone v_zone)::date, (has_come_due.at at time zone v_zone)::date;
    return v_found;
end
$$;
revoke all on function tds.has_come_due(tds.entity, text, timestamptz, timestamptz) from public;
comment on function tds.has_come_due(tds.entity, text, timestamptz, timestamptz) is
'Whether documents that are still to be paid have come due between these moments and are not shown as overdue: only the calendar moved, '
'and no last_modified_time.';

create or replace function tds.put_off(run_id bigint) returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now    constant timestamptz := tds.now();
    v_run    constant tds.run := tds.run_of(put_off.run_id, for_update => true);
    v_entity constant tds.entity := tds.entity_named(tds.pulled_entity(v_run.entity), of_the_api => true);
    v_why    text;
begin
    if v_run.state <> 'running' or not v_run.options ? 'sweep' or v_run.pages > 0 then
        return false;
    end if;
    v_why := tds.why_sweep(v_entity, v_run.organization_id, nullif(v_run.counted, -1), v_now);
    if v_why is not null then
        return false;
    end if;
    update tds.run r
       set state = 'complete', finished_at = v_now, is_pass = false,
           error = format('not read: Zoho counts %s records, as many as are here, and nothing has moved', v_run.counted)
     where r.run_id = v_run.run_id;
    return true;
end
$$;
revoke all on function tds.put_off(bigint) from public;
comment on function tds.put_off(bigint) is
'Ends a sweep whose list Zoho has just counted, unread, if nothing speaks for reading it; whether it did. Raises ZB012.';
grant execute on function tds.put_off(bigint) to tds_poller, tds_operator;

create or replace function tds.pause_sweep(run_id bigint, error text) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    update tds.run r
       set state = 'queued', session = null, error = left(pause_sweep.error, 1000)
     where r.run_id = pause_sweep.run_id and r.state = 'running' and r.message_id is not null;
end
$$;
revoke all on function tds.pause_sweep(bigint, text) from public;
comment on function tds.pause_sweep(bigint, text) is
'Puts a requested run that may not go on now back among those that wait, with the pages that it has: it keeps no other pull of its list '
'waiting.';
grant execute on function tds.pause_sweep(bigint, text) to tds_poller, tds_operator;

create or replace function tds.is_live_wanted(organization_id text) returns boolean
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now    constant timestamptz := tds.now();
    v_living constant int[] := tds.living_sessions();
begin
    return exists (select from tds.wanted_detail w
                    where w.organization_id = is_live_wanted.organization_id and w.run_id is null and tds.is_free(w, v_living, v_now));
end
$$;
revoke all on function tds.is_live_wanted(text) from public;
comment on function tds.is_live_wanted(text) is
'Whether details may be taken that no pull wants but a webhook, a hint or an operator: they go before the next page of a sweep.';
grant execute on function tds.is_live_wanted(text) to tds_poller, tds_operator;

create or replace function tds.lists_to_sweep(at timestamptz) returns table (organization_id text, entity text, options jsonb)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    with lists as materialized (
        select f.organization_id, n.entity, s.read_at, s.tried_at, p.period, h.is_filtered,
               (coalesce(s.tried_at, tds.migrated_since(f)) at time zone 'UTC')::date as tried_on,
               p.period > 1 and tds.has_lost_parents(n, f.organization_id, s.read_at) as is_urgent
          from tds.full_pull f
         cross join tds.entity n
         cross join lateral (select tds.has_filter(n, f.organization_id) as is_filtered) h
         cross join lateral (select tds.list_pages(n, tds.list_records(n, f.organization_id)) as pages) g
         cross join lateral (select tds.sweep_period(n, f.organization_id, g.pages) as period) p
         cross join lateral tds.last_sweep(n.entity, f.organization_id) s
         where tds.is_kept_in_step(f) and n.api_path <> '' and p.period > 0),
    due as (
        select l.*, (lists_to_sweep.at at time zone 'UTC')::date - l.tried_on as days
          from lists l
         where l.is_urgent or l.period = 1 and not l.is_filtered
            or l.tried_on + l.period <= (lists_to_sweep.at at time zone 'UTC')::date)
    select d.organization_id, d.entity, case when d.is_filtered then '{"sweep": true}' else '{}'::jsonb end
      from (select u.*, row_number() over (partition by u.organization_id, u.period = 1 order by u.tried_at nulls first, u.entity) as n
              from due u) d
     -- of those that cost something one a night, so that their calls are spread; unless they are late
     where d.period = 1 or d.n = 1 or d.is_urgent or d.days >= 2 * d.period
     order by d.organization_id, d.entity;
end
$$;
revoke all on function tds.lists_to_sweep(timestamptz) from public;
comment on function tds.lists_to_sweep(timestamptz) is
'The lists that are to be read whole in this night: those without a filter and the small ones, and of the others one of each organisation, '
'the one that has gone longest without; besides those that are late, or whose records name one that is gone.';
