create or replace function tds.own_organization(organization_id text) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_organization_id text := coalesce(own_organization.organization_id, nullif(tds.setting_text('organization_id'), 'default'));
begin
    if v_organization_id is null then
        -- the only one needs no name
        select min(o.id) into v_organization_id
          from (select z.zoho_organization_id from zoho.organizations z union select r.organization_id from tds.run r) o(id)
        having count(*) = 1;
    end if;
    if v_organization_id is null or not tds.is_id(v_organization_id) then
        raise exception using errcode = 'ZB013', message = 'organisation unknown', detail = coalesce(v_organization_id, ''),
            hint = 'name it, or: update tds.setting set value = ''"…"'' where name = ''organization_id''';
    end if;
    return v_organization_id;
end
$$;
comment on function tds.own_organization(text) is
'The organisation that is meant: the one named, the setting''s, or the only one that was ever pulled. Raises ZB013.';

create or replace function tds.own_organization() returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_told constant text := tds.setting_text('organization_id');
begin
    -- unset, the setting says default: where only one organisation is mirrored, that is the one meant
    return case when v_told <> 'default' then v_told
                else (select min(l.organization_id) from zoho.pricelists l having min(l.organization_id) = max(l.organization_id)) end;
end
$$;
comment on function tds.own_organization() is
'The organisation of a question that names none: the setting organization_id, or, unset, the only one with price lists; null if there are several.';

create or replace function tds.time_zone_of(organization_id text) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_zone constant text := (select o.time_zone from zoho.organizations o
                              where o.organization_id = time_zone_of.organization_id
                                and o.zoho_organization_id = time_zone_of.organization_id and o.deleted_at is null);
begin
    if v_zone is not null then
        -- asked of the server: the list of the names it knows is long, and takes long to read
        perform current_timestamp at time zone v_zone;
        return v_zone;
    end if;
    return 'UTC';
exception when invalid_parameter_value then
    return 'UTC';
end
$$;
comment on function tds.time_zone_of(text) is
'The time zone an organisation''s days are of, as it tells it; UTC while that is unknown, or where the server knows no such zone.';

create or replace function tds.day_of(organization_id text, at timestamptz) returns date
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return (day_of.at at time zone tds.time_zone_of(day_of.organization_id))::date;
end
$$;
comment on function tds.day_of(text, timestamptz) is 'The day it is for an organisation at a moment, in its time zone.';

create or replace function tds.organizations_of(entity text) returns text[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_target constant text := (tds.entity_named(organizations_of.entity)).target;
    v_ids    text[];
begin
    execute format('select array(select distinct t.organization_id from zoho.%I t order by 1)', v_target) into v_ids;
    return v_ids;
end
$$;
comment on function tds.organizations_of(text) is 'The organisations that have rows of an entity. Raises ZB002.';
