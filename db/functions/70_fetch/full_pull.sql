create or replace function tds.migrated_since(migration tds.full_pull) returns timestamptz
language sql immutable parallel safe
as $$ select coalesce(($1).first_ended_at, ($1).finished_at) $$;
comment on function tds.migrated_since(tds.full_pull) is
'When the first migration of an organisation had ended, or had all but what Zoho refuses, however it stands with a later one: the clock '
'asks for it since then; null: none has.';

create or replace function tds.is_kept_in_step(migration tds.full_pull) returns boolean
language sql stable
as $$ select tds.migrated_since($1) is not null and tds.is_served(($1).organization_id) $$;
revoke all on function tds.is_kept_in_step(tds.full_pull) from public;
comment on function tds.is_kept_in_step(tds.full_pull) is
'Whether the clock asks for an organisation: its first migration has ended, as tds.migrated_since() has it, and it is served.';

create or replace function tds.begin_full_pull(organization_id text, restart boolean default false) returns timestamptz
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now   constant timestamptz := tds.now();
    v_began timestamptz;
begin
    insert into tds.full_pull as f (organization_id, began_at, spent_before)
    values (begin_full_pull.organization_id, v_now, tds.spent_on_migrations(begin_full_pull.organization_id))
    on conflict on constraint full_pull_pkey do update
       set began_at = case when f.finished_at is null and not begin_full_pull.restart then f.began_at else excluded.began_at end,
           details_asked_at = case when f.finished_at is null and not begin_full_pull.restart then f.details_asked_at end,
           spent_before = case when f.finished_at is null and not begin_full_pull.restart then f.spent_before
                               else excluded.spent_before end,
           details = case when f.finished_at is null and not begin_full_pull.restart then f.details else '{}' end,
           first_ended_at = tds.migrated_since(f),
           finished_at = null
    returning f.began_at into v_began;
    return v_began;
end
$$;
revoke all on function tds.begin_full_pull(text, boolean) from public;
comment on function tds.begin_full_pull(text, boolean) is
'Begins a migration of everything, or goes on with the one that was stopped (restart: begins anew). Returns when it began.';

create or replace function tds.spent_on_migrations(organization_id text) returns bigint
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return (select coalesce(sum(s.calls), 0)::bigint from tds.api_spending s
             where s.organization_id = spent_on_migrations.organization_id and s.purpose = 'migration');
end
$$;
revoke all on function tds.spent_on_migrations(text) from public;
comment on function tds.spent_on_migrations(text) is 'Calls that were made for migrations of an organisation, ever.';

create or replace function tds.migrated(organization_id text, entity text) returns int
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return (select coalesce(max((f.details ->> migrated.entity)::int), 0) from tds.full_pull f
             where f.organization_id = migrated.organization_id and f.finished_at is null);
end
$$;
revoke all on function tds.migrated(text, text) from public;
comment on function tds.migrated(text, text) is
'Details of an entity that the migration under way has fetched, those before a stop included.';
grant execute on function tds.migrated(text, text) to tds_poller, tds_operator;

create or replace function tds.calls_expected(organization_id text) returns table (entity text, calls bigint, singles bigint)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    with known as (
        select e.entity, e.paged, tds.calls_to_count(e, coalesce(b.records, 0), u.counted) as to_count,
               e.detail_key, e.bulk_detail_path, u.next_page, u.listed_at,
               e.volatile_details and f.details_asked_at is null as asks_all,
               -- pages that are not processed yet name records that are wanted then
               u.listed_at is null or exists (select from tds.inbox_open o where o.entity = e.entity and o.retry_at is null) as unread,
               case when u.listed_at is null then greatest(u.counted, u.records, b.records, 0) else u.records end as records,
               coalesce(b.records, 0) as before,
               coalesce((f.details ->> e.entity)::bigint, 0) + w.wanted as named
          from tds.full_pull f
         cross join tds.entity e
          left join lateral (
               select r.next_page, r.records, r.counted,
                      coalesce(r.listed_at, case when r.state = 'complete' then r.finished_at end) as listed_at
                 from tds.run r
                where r.organization_id = f.organization_id and r.entity = e.entity and r.started_at >= f.began_at
                order by r.run_id desc limit 1) u on true
          left join lateral (
               select r.records from tds.run r
                where r.organization_id = f.organization_id and r.entity = e.entity and r.started_at < f.began_at
                  and r.listed_at is not null and not r.filtered
                order by r.run_id desc limit 1) b on true
         cross join lateral (select count(*) as wanted from tds.wanted_detail d
                              where d.organization_id = f.organization_id and d.entity = e.entity) w
         where f.organization_id = calls_expected.organization_id and f.finished_at is null and e.api_path <> ''),
    costs as (
        select k.entity, k.bulk_detail_path is null as is_single,
               case when k.listed_at is not null then 0 when not k.paged then 1
                    else greatest(1, ceil(k.records / 200.0) - coalesce(k.next_page, 1) + 1)
                         + case when k.records > 200 then k.to_count else 0 end end::bigint as pages,
               case when k.detail_key is null then 0 when k.asks_all then greatest(0, k.records - k.named)
                    when k.unread then greatest(0, k.records - k.before - k.named) else 0 end::bigint as details
          from known k)
    select c.entity, c.pages + case when c.is_single then c.details else ceil(c.details / 100.0)::bigint end,
           case when c.is_single then c.details else 0 end
      from costs c order by c.entity;
end
$$;
revoke all on function tds.calls_expected(text) from public;
comment on function tds.calls_expected(text) is
'Calls that the migration under way needs besides those for details that are wanted already: pages not read yet, the call that counts '
'them, and details of records that the pages name, as far as lists are counted or were read before. singles: those of them that '
'are for one record each.';

create or replace function tds.pulled_since(entity text, organization_id text, since timestamptz) returns int
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    -- the organisation itself is a detail
    return (select max(greatest(r.records, r.details * (r.entity = 'organizations')::int)) from tds.run r
             where r.entity = pulled_since.entity and r.organization_id = pulled_since.organization_id
               and r.state in ('complete', 'settling') and r.started_at >= pulled_since.since and not tds.was_put_off(r)
               and not r.options ?| array['incremental', 'modified_since', 'update_only', 'pricelist_ids']);
end
$$;
revoke all on function tds.pulled_since(text, text, timestamptz) from public;
comment on function tds.pulled_since(text, text, timestamptz) is
'How many records the whole list had, if a pull of it was begun since then and is complete; null if none was.';

create or replace function tds.want_volatile(organization_id text) returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    update tds.full_pull f set details_asked_at = tds.now()
     where f.organization_id = want_volatile.organization_id and f.finished_at is null and f.details_asked_at is null;
    if not found then
        return 0::bigint;
    end if;
    return (select coalesce(sum(tds.want_again(n.entity, want_volatile.organization_id)), 0)::bigint
              from (select e.entity from tds.entity e where e.volatile_details order by e.entity) n);
end
$$;
revoke all on function tds.want_volatile(text) from public;
comment on function tds.want_volatile(text) is
'Asks, once in a migration of everything, for all details that change without a sign in the list: stock by place, prices. Returns how '
'many.';

create or replace function tds.start_clock(organization_id text) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    update tds.full_pull f
       set first_ended_at = coalesce(tds.migrated_since(f), tds.now())
     where f.organization_id = start_clock.organization_id;
end
$$;
revoke all on function tds.start_clock(text) from public;
comment on function tds.start_clock(text) is
'Has the clock ask for an organisation whose migration has brought all but what Zoho refuses: the rest is kept in step meanwhile, and the '
'checks tell of what is missing.';

create or replace function tds.finish_full_pull(organization_id text) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    update tds.full_pull f set finished_at = tds.now()
     where f.organization_id = finish_full_pull.organization_id and f.finished_at is null;
end
$$;
revoke all on function tds.finish_full_pull(text) from public;
comment on function tds.finish_full_pull(text) is 'Ends a migration of everything: the next one reads all lists anew.';

grant execute on function tds.calls_expected(text) to tds_operator, tds_reader;
grant execute on function tds.begin_full_pull(text, boolean), tds.pulled_since(text, text, timestamptz), tds.want_volatile(text),
    tds.finish_full_pull(text), tds.start_clock(text) to tds_poller, tds_operator;
grant select on tds.full_pull to tds_reader, tds_operator;
