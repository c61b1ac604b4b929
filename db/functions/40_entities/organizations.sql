create or replace function tds.write_organizations(organization_id text, states tds.record_state[], at timestamptz) returns text[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_written text[];
begin
    with written as (
        insert into zoho.organizations as t (
            organization_id, zoho_organization_id, name, currency, price_precision, time_zone, country, plan_name,
            zoho_metadata, zoho_created_at, zoho_modified_at, synced_at, deleted_at,
            sync_version, sync_hash, sync_modified_at, sync_observed_at, sync_rank, sync_read_at, sync_layers)
        select write_organizations.organization_id, s.zoho_id,
               tds.json_text(d.name), tds.json_text(d.currency_code), tds.json_number(d.price_precision),
               tds.json_text(d.time_zone), coalesce(tds.json_text(d.country_name), tds.json_text(d.country)), tds.json_text(d.plan_name),
               s.doc, tds.json_time(d.created_time), tds.json_time(d.last_modified_time), write_organizations.at, s.deleted_at,
               s.version, s.hash, s.modified_at, s.observed_at, s.rank, s.read_at, s.layers
          from unnest(write_organizations.states) s
         cross join lateral jsonb_to_record(s.doc) d(
               name jsonb, currency_code jsonb, price_precision jsonb, time_zone jsonb, country_name jsonb, country jsonb,
               plan_name jsonb, created_time jsonb, last_modified_time jsonb)
         order by s.zoho_id
        on conflict on constraint organizations_pkey do update
           set name = excluded.name, currency = excluded.currency, price_precision = excluded.price_precision,
               time_zone = excluded.time_zone, country = excluded.country, plan_name = excluded.plan_name,
               zoho_metadata = excluded.zoho_metadata, zoho_created_at = excluded.zoho_created_at,
               zoho_modified_at = excluded.zoho_modified_at, synced_at = excluded.synced_at,
               deleted_at = excluded.deleted_at, sync_version = excluded.sync_version, sync_hash = excluded.sync_hash,
               sync_modified_at = excluded.sync_modified_at, sync_observed_at = excluded.sync_observed_at,
               sync_rank = excluded.sync_rank, sync_read_at = excluded.sync_read_at,
               sync_layers = excluded.sync_layers
         where t.sync_version = excluded.sync_version - 1
        returning t.zoho_organization_id)
    select array_agg(w.zoho_organization_id) into v_written from written w;
    return coalesce(v_written, '{}');
end
$$;
revoke all on function tds.write_organizations(text, tds.record_state[], timestamptz) from public;
comment on function tds.write_organizations(text, tds.record_state[], timestamptz) is
'Writes organisations, in key order, each only over the version it was resolved from; returns the ids written.';

create or replace function tds.link_organizations(organization_id text, zoho_ids text[]) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    with stale as (
        select p.zoho_item_id, o.currency
          from zoho.organizations o
          join zoho.products p on p.organization_id = o.organization_id and p.currency is distinct from o.currency
         where o.organization_id = link_organizations.organization_id
           and o.zoho_organization_id = o.organization_id
           and o.zoho_organization_id = any (link_organizations.zoho_ids)
         order by p.zoho_item_id
           for update of p)
    update zoho.products p
       set currency = s.currency
      from stale s
     where p.organization_id = link_organizations.organization_id
       and p.zoho_item_id = s.zoho_item_id;
end
$$;
revoke all on function tds.link_organizations(text, text[]) from public;
comment on function tds.link_organizations(text, text[]) is 'Gives the products their organisation''s currency.';

select tds.register('{
    "entity": "organizations", "queue": "organizations", "priority": 10,
    "api_path": "/organizations", "list_key": "organizations", "record_key": "organization", "id_key": "organization_id",
    "paged": false,
    "target": "organizations", "target_key": "zoho_organization_id",
    "writer": "write_organizations", "linker": "link_organizations"}');

select tds.map_fields('organizations', '', $$
    organization_id    id      zoho_organization_id required
    name               text    name               500
    currency_code      text    currency           10
    price_precision    number  price_precision
    time_zone          text    time_zone          100
    country_name       text    country            100
    country            text    country            100
    plan_name          text    plan_name          100
    created_time       time    zoho_created_at
    last_modified_time time    zoho_modified_at
$$);
