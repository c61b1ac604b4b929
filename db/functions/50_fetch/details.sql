create or replace function tds.living_sessions() returns int[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return array(select l.objid::bigint::int from pg_locks l
                  where l.locktype = 'advisory' and l.granted and l.objsubid = 2 and l.classid::bigint = tds.api_lock_class()
                    and l.database = (select d.oid from pg_database d where d.datname = current_database()));
end
$$;
comment on function tds.living_sessions() is 'The sessions that ask Zoho and live: each holds a lock for as long (see tds.set_budget()).';

create or replace function tds.is_free(want tds.wanted_detail, living int[], at timestamptz) returns boolean
language sql immutable parallel safe
as $$ select ($1).leased_until is null or ($1).leased_until < $3 or ($1).wanted_at > ($1).leased_for
              or ($1).leased_by is not null and ($1).leased_by <> all ($2) $$;
comment on function tds.is_free(tds.wanted_detail, int[], timestamptz) is
'Whether a wanted detail may be taken: nobody has it, whoever had it has died or was too slow, or the need is newer than that.';

create or replace function tds.is_answered(want tds.wanted_detail) returns boolean
language sql immutable parallel safe
as $$ select ($1).leased_until is not null and ($1).leased_by is null and ($1).error is null $$;
comment on function tds.is_answered(tds.wanted_detail) is
'Whether the answer to a want is stored and being processed: nobody has to be asked, as far as is known.';

create or replace function tds.take_details(entity text, organization_id text, at_most int default 20, session int default null)
returns table (zoho_id text, wanted_at timestamptz, reason text, modified_at timestamptz, run_id bigint)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now    constant timestamptz := tds.now();
    v_living constant int[] := tds.living_sessions();
begin
    return query
    with taken as (
        select w.organization_id, w.entity, w.zoho_id
          from tds.wanted_detail w
         where w.organization_id = take_details.organization_id
           and w.entity = take_details.entity
           and tds.is_free(w, v_living, v_now)
         order by w.wanted_at desc, w.zoho_id
         limit take_details.at_most
           for update skip locked)
    update tds.wanted_detail w
       set leased_until = v_now + interval '2 minutes', leased_for = w.wanted_at, leased_by = take_details.session
      from taken t
     where (w.organization_id, w.entity, w.zoho_id) = (t.organization_id, t.entity, t.zoho_id)
    returning w.zoho_id, w.wanted_at, w.reason, w.modified_at, w.run_id;
end
$$;
revoke all on function tds.take_details(text, text, int, int) from public;
comment on function tds.take_details(text, text, int, int) is
'Leases wanted details to a fetcher for two minutes, the newest want first. What it stores with tds.store_detail() settles them once it is processed. '
'session: the fetcher''s, see tds.set_budget(); should it die, its leases die with it.';

create or replace function tds.details_to_take(organization_id text) returns table (entity text, at_most int)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now    constant timestamptz := tds.now();
    v_living constant int[] := tds.living_sessions();
begin
    return query
    select w.entity, least(100, min((r.options ->> 'batch_size')::int))::int
      from tds.wanted_detail w
      left join tds.run r on r.run_id = w.run_id and r.entity = 'stock'
     where w.organization_id = details_to_take.organization_id and tds.is_free(w, v_living, v_now)
     group by w.entity
     order by max(w.wanted_at) desc, w.entity;
end
$$;
revoke all on function tds.details_to_take(text) from public;
comment on function tds.details_to_take(text) is
'The entities of which details may be taken now, the newest need first, and how many at once: the smallest batch_size that a pull of stock '
'in work asks for, else 100.';

create or replace function tds.store_detail(
    entity text, organization_id text, zoho_ids text[], body bytea, observed_at timestamptz,
    event text default 'upsert', modified_at timestamptz default null) returns text
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now    constant timestamptz := tds.now();
    v_status text;
begin
    select e.status into v_status
      from tds.receive(store_detail.entity, store_detail.body, store_detail.organization_id, 'poller', 'detail', store_detail.event, store_detail.observed_at,
                       null, case when store_detail.modified_at is not null then jsonb_build_object('modified_at', store_detail.modified_at) end) e;
    -- it outlives the fetcher now: nobody need ask again while it is processed
    with answered as materialized (
        select w.zoho_id from tds.wanted_detail w
         where w.organization_id = store_detail.organization_id and w.entity = store_detail.entity
           and w.zoho_id = any (store_detail.zoho_ids) and w.leased_by is not null
         order by w.zoho_id
           for update)
    update tds.wanted_detail w
       set leased_by = null, leased_until = v_now + interval '2 minutes'
      from answered a
     where (w.organization_id, w.entity, w.zoho_id) = (store_detail.organization_id, store_detail.entity, a.zoho_id);
    return v_status;
end
$$;
revoke all on function tds.store_detail(text, text, text[], bytea, timestamptz, text, timestamptz) from public;
comment on function tds.store_detail(text, text, text[], bytea, timestamptz, text, timestamptz) is
'Stores the answer that holds the details of these records (event delete: the proof that there is none any more); returns the event''s status. '
'modified_at: what tds.take_details() gave, for details without a last_modified_time. Raises what tds.receive() does.';

create or replace function tds.want_detail(entity text, organization_id text, zoho_id text, reason text default 'asked for') returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now constant timestamptz := tds.now();
begin
    insert into tds.wanted_detail as w (organization_id, entity, zoho_id, reason, wanted_at)
    values (want_detail.organization_id, want_detail.entity, want_detail.zoho_id, want_detail.reason, v_now)
    on conflict on constraint wanted_detail_pkey do update
       set wanted_at = excluded.wanted_at, reason = excluded.reason, leased_until = null;
end
$$;
revoke all on function tds.want_detail(text, text, text, text) from public;
comment on function tds.want_detail(text, text, text, text) is 'Asks for a record''s detail to be read from the API.';

create or replace function tds.detail_failed(entity text, organization_id text, zoho_id text, error text) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now constant timestamptz := tds.now();
begin
    update tds.wanted_detail w
       set tries = w.tries + 1,
           error = left(detail_failed.error, 1000),
           leased_until = v_now + tds.back_off(w.tries), leased_for = w.wanted_at, leased_by = null
     where (w.organization_id, w.entity, w.zoho_id) = (detail_failed.organization_id, detail_failed.entity, detail_failed.zoho_id);
end
$$;
revoke all on function tds.detail_failed(text, text, text, text) from public;
comment on function tds.detail_failed(text, text, text, text) is 'Notes why a detail could not be read; it is wanted again after a pause.';

create or replace function tds.want_again(entity text, organization_id text) returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now    constant timestamptz := tds.now();
    v_entity tds.entity;
    v_rows   bigint;
begin
    select n.* into v_entity from tds.entity n where n.entity = want_again.entity;
    if v_entity.entity is null then
        raise exception using errcode = 'ZB002', message = 'unknown entity', detail = want_again.entity,
            hint = 'select entity from tds.entity';
    end if;
    execute format($sql$
        insert into tds.wanted_detail as w (organization_id, entity, zoho_id, reason, wanted_at, modified_at, run_id)
        select t.organization_id, $1, t.%1$I, 'read again', $3, t.sync_modified_at,
               (select max(r.run_id) from tds.run r where r.organization_id = $2 and r.entity = $1)
          from zoho.%2$I t
         where t.organization_id = $2 and t.deleted_at is null
         order by t.%1$I
        on conflict on constraint wanted_detail_pkey do update
           set wanted_at = excluded.wanted_at, reason = excluded.reason, modified_at = excluded.modified_at, run_id = excluded.run_id,
               leased_until = null$sql$,
        v_entity.target_key, v_entity.target)
    using want_again.entity, want_again.organization_id, v_now;
    get diagnostics v_rows = row_count;
    return v_rows;
end
$$;
revoke all on function tds.want_again(text, text) from public;
comment on function tds.want_again(text, text) is
'Asks for every record''s detail once more, on the account of the newest run of its list; returns how many. Raises ZB002.';
grant execute on function tds.want_again(text, text) to tds_poller, tds_operator;
