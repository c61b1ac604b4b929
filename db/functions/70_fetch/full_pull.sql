create or replace function tds.begin_full_pull(organization_id text, restart boolean default false) returns timestamptz
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now   constant timestamptz := tds.now();
    v_began timestamptz;
begin
    insert into tds.full_pull as f (organization_id, began_at)
    values (begin_full_pull.organization_id, v_now)
    on conflict on constraint full_pull_pkey do update
       set began_at = case when f.finished_at is null and not begin_full_pull.restart then f.began_at else excluded.began_at end,
           details_asked_at = case when f.finished_at is null and not begin_full_pull.restart then f.details_asked_at end,
           finished_at = null
    returning f.began_at into v_began;
    return v_began;
end
$$;
revoke all on function tds.begin_full_pull(text, boolean) from public;
comment on function tds.begin_full_pull(text, boolean) is
'Begins a migration of everything, or goes on with the one that was stopped (restart: begins anew). Returns when it began.';

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

grant execute on function tds.begin_full_pull(text, boolean), tds.pulled_since(text, text, timestamptz), tds.want_volatile(text),
    tds.finish_full_pull(text) to tds_poller, tds_operator;
grant select on tds.full_pull to tds_reader, tds_operator;
