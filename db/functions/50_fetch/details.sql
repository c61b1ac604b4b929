create or replace function tds.take_details(entity text, organization_id text, at_most int default 20)
returns table (zoho_id text, wanted_at timestamptz, reason text, modified_at timestamptz, run_id bigint)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now constant timestamptz := tds.now();
begin
    return query
    with taken as (
        select w.organization_id, w.entity, w.zoho_id
          from tds.wanted_detail w
         where w.organization_id = take_details.organization_id
           and w.entity = take_details.entity
           and (w.leased_until is null or w.leased_until < v_now)
         order by w.wanted_at desc, w.zoho_id
         limit take_details.at_most
           for update skip locked)
    update tds.wanted_detail w
       set leased_until = v_now + interval '2 minutes'
      from taken t
     where (w.organization_id, w.entity, w.zoho_id) = (t.organization_id, t.entity, t.zoho_id)
    returning w.zoho_id, w.wanted_at, w.reason, w.modified_at, w.run_id;
end
$$;
revoke all on function tds.take_details(text, text, int) from public;
comment on function tds.take_details(text, text, int) is
'Leases wanted details to a fetcher for two minutes, the newest want first. What it stores with tds.receive(…, shape => ''detail'') settles them; it hands modified_at back in the headers, for '
'details without a last_modified_time.';

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
           leased_until = v_now + tds.back_off(w.tries)
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
        insert into tds.wanted_detail as w (organization_id, entity, zoho_id, reason, wanted_at, modified_at)
        select t.organization_id, $1, t.%1$I, 'read again', $3, t.sync_modified_at
          from zoho.%2$I t
         where t.organization_id = $2 and t.deleted_at is null
         order by t.%1$I
        on conflict on constraint wanted_detail_pkey do update
           set wanted_at = excluded.wanted_at, reason = excluded.reason, modified_at = excluded.modified_at, leased_until = null$sql$,
        v_entity.target_key, v_entity.target)
    using want_again.entity, want_again.organization_id, v_now;
    get diagnostics v_rows = row_count;
    return v_rows;
end
$$;
revoke all on function tds.want_again(text, text) from public;
comment on function tds.want_again(text, text) is
'Asks for every record''s detail once more, for entities whose details change without a sign (price lists); returns how many. Raises ZB002.';
grant execute on function tds.want_again(text, text) to tds_poller, tds_operator;
