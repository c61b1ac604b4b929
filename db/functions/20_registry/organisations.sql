create or replace function tds.known_organization(organization_id text, of_the_api boolean) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_told constant text := coalesce(known_organization.organization_id, nullif(tds.setting_text('organization_id'), 'default'));
begin
    if v_told is not null then
        return v_told;
    end if;
    -- default is that of webhooks which name none: it is meant where there is no other, and Zoho does not know it
    return (select case when count(*) filter (where k.id <> 'default') = 1 then min(k.id) filter (where k.id <> 'default')
                        when count(*) = 1 and not known_organization.of_the_api then min(k.id) end
              from (select case when known_organization.of_the_api and o.organization_id = 'default' then o.zoho_organization_id
                                else o.organization_id end from zoho.organizations o
                    union
                    select l.organization_id from zoho.pricelists l
                    union
                    select w.organization_id from tds.organization w where w.state <> 'removing'
                    union
                    -- the two ends of an index: there may be many
                    (select min(r.organization_id) from tds.run r)
                    union
                    (select max(r.organization_id) from tds.run r)) k(id)
             where k.id is not null);
end
$$;
comment on function tds.known_organization(text, boolean) is
'The organisation that is meant: the one named, else the setting organization_id, else the only one that the mirror knows; null where that '
'is none or several. of_the_api: by the id that Zoho knows it by.';

create or replace function tds.own_organization(organization_id text default null, of_the_api boolean default false) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_organization_id constant text := tds.known_organization(own_organization.organization_id, own_organization.of_the_api);
begin
    if v_organization_id is null or not tds.is_id(v_organization_id) then
        raise exception using errcode = 'ZB013', message = 'organisation unknown', detail = coalesce(v_organization_id, ''),
            hint = 'name it, or: update tds.setting set value = ''"…"'' where name = ''organization_id''';
    end if;
    return v_organization_id;
end
$$;
comment on function tds.own_organization(text, boolean) is 'tds.known_organization(). Raises ZB013 where there is none.';

create or replace function tds.time_zone_of(organization_id text) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_zone constant text := (select o.time_zone from zoho.organizations o
                              where o.organization_id = time_zone_of.organization_id
                                and o.zoho_organization_id = time_zone_of.organization_id and o.deleted_at is null);
begin
    if tds.is_time_zone(v_zone) then
        return v_zone;
    end if;
    return coalesce((select w.time_zone from tds.organization w where w.organization_id = time_zone_of.organization_id), 'UTC');
end
$$;
comment on function tds.time_zone_of(text) is
'The time zone an organisation''s days are of, as it tells it, or as its row says while it tells none that the server knows by name; else '
'UTC.';

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
    -- from one to the next by the index that the organisation leads, however many rows each has
    execute format($sql$
        with recursive g(id) as (
            (select t.organization_id from zoho.%1$I t order by t.organization_id limit 1)
             union all
            select (select t.organization_id from zoho.%1$I t where t.organization_id > g.id order by t.organization_id limit 1)
              from g where g.id is not null)
        select array(select g.id from g where g.id is not null order by g.id)$sql$, v_target) into v_ids;
    return v_ids;
end
$$;
comment on function tds.organizations_of(text) is 'The organisations that have rows of an entity. Raises ZB002.';

insert into tds.setting (name, value, description) values
    ('organization_ids', '[]',
     'Organisations whose bodies are taken though neither organization_id nor a pull names them: an array of their ids.')
on conflict on constraint setting_pkey do nothing;

create or replace function tds.is_own(organization_id text) returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return is_own.organization_id in (tds.setting_text('organization_id'), tds.default_organization())
        or exists (select from tds.organization w where w.organization_id = is_own.organization_id)
        or exists (select from tds.setting s where s.name = 'organization_ids' and s.value ? is_own.organization_id)
        or exists (select from tds.full_pull f where f.organization_id = is_own.organization_id)
        or exists (select from tds.run r where r.organization_id = is_own.organization_id)
        or exists (select from tds.inbox i where i.organization_id = is_own.organization_id);
end
$$;
revoke all on function tds.is_own(text) from public;
comment on function tds.is_own(text) is
'Whether an organisation is one of ours: a setting names it, a pull was of it, or something that came told of it.';

create or replace function tds.organization_named(organization_id text) returns text
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_known constant text[] := array(
        select k.id
          from (select w.organization_id from tds.organization w
                union select f.organization_id from tds.full_pull f
                union select b.organization_id from tds.api_budget b
                union select o.organization_id from zoho.organizations o
                union select tds.setting_text('organization_id')
                union select e.id from tds.setting s, jsonb_array_elements_text(s.value) e(id) where s.name = 'organization_ids') k(id)
         where k.id <> 'default' order by 1);
begin
    if not coalesce(organization_named.organization_id = any (v_known), false)
       and not exists (select from tds.run r where r.organization_id = organization_named.organization_id) then
        raise exception using errcode = 'ZB070', message = 'there is no such organisation',
            detail = coalesce(left(organization_named.organization_id, 100), ''),
            hint = 'there are ' || coalesce(nullif(array_to_string(v_known[1:20], ', '), ''), 'none so far') || '; tds org list';
    end if;
    return organization_named.organization_id;
end
$$;
revoke all on function tds.organization_named(text) from public;
grant execute on function tds.organization_named(text) to tds_reader, tds_operator;
comment on function tds.organization_named(text) is
'That organisation, if anything is known of it: a row, a setting, a pull or its own record. Raises ZB070 where nothing is.';

create or replace function tds.default_organization() returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_own constant text := nullif(current_setting('tds.organization_id', true), '');
    v_set text;
begin
    if v_own is not null then
        return v_own;
    end if;
    v_set := tds.setting_text('organization_id');
    if v_set <> 'default' then
        return v_set;
    end if;
    return coalesce((select min(o.organization_id) from tds.organization o where o.state <> 'removing' having count(*) = 1), v_set);
end
$$;
comment on function tds.default_organization() is
'Whose a body is that names no organisation: the session''s (tds.organization_id, which a receiver sets to its own), else the setting''s, '
'else the only one that is a row of tds.organization.';

create or replace function tds.organization_problem(organization_id text, default_id text) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    if organization_problem.organization_id = organization_problem.default_id then
        return null;
    elsif organization_problem.organization_id like '%, %' then
        return format('organization_id: several in one body (%s): send what is of each by itself',
                      left(organization_problem.organization_id, 100));
    elsif not tds.is_id(organization_problem.organization_id) then
        return format('organization_id: %L is not an id', left(organization_problem.organization_id, 100));
    elsif exists (select from tds.organization o where o.organization_id = organization_problem.organization_id
                                                    and (o.state = 'removing' or organization_problem.default_id <> 'default')) then
        return format('organization_id: %s has an address and secrets of its own: /api/zoho/%1$s/webhooks/…; '
                      'or it is being removed (tds org list)', organization_problem.organization_id);
    elsif exists (select from zoho.organizations o where o.zoho_organization_id = organization_problem.organization_id)
          or exists (select from tds.api_budget b where b.organization_id = organization_problem.organization_id)
          or exists (select from tds.setting s where s.name = 'organization_ids' and s.value ? organization_problem.organization_id)
          or exists (select from tds.run r where r.organization_id = organization_problem.organization_id)
          -- where none is configured there is none whose data another's could be taken for
          or organization_problem.default_id = 'default'
             and not exists (select from zoho.organizations) and not exists (select from tds.api_budget)
             and not exists (select from tds.run)
             and not exists (select from tds.setting s where s.name = 'organization_ids' and s.value <> '[]')
    then
        return null;
    end if;
    return format('organization_id: %s is not configured here; if it is yours, add it to the setting organization_ids and replay',
                  organization_problem.organization_id);
end
$$;
comment on function tds.organization_problem(text, text) is
'Why a body that names this organisation is not taken, null where it is: the default, one that is mirrored or pulled and no row of '
'tds.organization, one of the setting organization_ids, or any while none is configured.';

create or replace function tds.address_problem(organization_id text, told text) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    if address_problem.told = address_problem.organization_id
       or not exists (select from tds.organization o
                       where o.organization_id = any (array[address_problem.organization_id]
                                                      || string_to_array(address_problem.told, ', '))) then
        return null;
    end if;
    return format('organization_id: the body is of %s, and came to the address of %s, whose secret speaks for no other',
                  left(address_problem.told, 100), address_problem.organization_id);
end
$$;
comment on function tds.address_problem(text, text) is
'Why a webhook that came to an organisation''s address is not taken although its body names another; null where it is: neither is a row of '
'tds.organization.';
