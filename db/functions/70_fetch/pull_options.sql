create or replace function tds.pull_option_names(entity text) returns text[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_entity constant tds.entity := tds.entity_named(pull_option_names.entity, of_the_api => true);
begin
    return array(
        select o.name
          from (values
                ('batch_size', v_entity.paged),
                ('update_only', v_entity.paged),
                ('sweep', v_entity.paged and pull_option_names.entity <> 'stock'),
                ('incremental', v_entity.paged and v_entity.queue <> 'settings'
                 and pull_option_names.entity not in ('stock', 'pricelists')),
                ('modified_since', v_entity.paged and v_entity.queue <> 'settings'
                 and pull_option_names.entity not in ('stock', 'pricelists')),
                ('include_addresses', v_entity.target = 'contacts'),
                ('include_line_items', v_entity.detail_key = 'line_items'),
                ('warehouses', pull_option_names.entity = 'stock'),
                ('pricelist_ids', pull_option_names.entity = 'pricelists'),
                ('include_item_prices', pull_option_names.entity = 'pricelists')) o(name, offered)
         where o.offered
         order by o.name);
end
$$;
revoke all on function tds.pull_option_names(text) from public;
comment on function tds.pull_option_names(text) is
'The options that a pull of an entity takes. Raises ZB002 for an entity that cannot be pulled.';

create or replace function tds.why_no_option(entity text, name text) returns text
language sql immutable parallel safe
as $$
    select case
        when $2 in ('incremental', 'modified_since') and $1 = 'stock' then
            'stock moves without a new last_modified_time: what has not moved cannot be told apart'
        when $2 in ('incremental', 'modified_since') and $1 = 'pricelists' then
            'a price list may change without a new last_modified_time: it is always read whole, name pricelist_ids for fewer'
        when $2 = 'sweep' and $1 = 'stock' then 'its list is that of products'
        when $2 in ('incremental', 'modified_since', 'batch_size', 'update_only', 'sweep') then 'it is a handful of rows, always read whole'
        when $2 = 'include_addresses' then 'only customers and vendors have addresses of their own'
        when $2 = 'include_line_items' then 'it has no line items'
        when $2 = 'warehouses' then 'only stock is kept by warehouse'
        when $2 in ('pricelist_ids', 'include_item_prices') then 'only for pricelists'
        else 'there is no such option' end
$$;
comment on function tds.why_no_option(text, text) is 'Why a pull of an entity does not take an option.';

create or replace function tds.option_moment(value text, organization_id text) returns timestamptz
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    if option_moment.value ~ '^\d{4}-\d\d-\d\d$' then
        return option_moment.value::date::timestamp at time zone tds.time_zone_of(option_moment.organization_id);
    elsif option_moment.value ~ '^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)$' then
        return option_moment.value::timestamptz;
    end if;
    return null;
exception when data_exception then
    return null;
end
$$;
comment on function tds.option_moment(text, text) is
'A time with its offset, or the beginning of a date where the organisation is (UTC where that is unknown); null for anything else.';

create or replace function tds.warehouses_meant(told jsonb, organization_id text, out ids jsonb, out unknown text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    with known as materialized (
        select w.zoho_warehouse_id as id, w.name from zoho.warehouses w
         where w.organization_id = warehouses_meant.organization_id and w.deleted_at is null
        union
        select s.zoho_warehouse_id, s.warehouse_name from zoho.stock_levels s where s.organization_id = warehouses_meant.organization_id
    )
    select jsonb_agg(distinct coalesce(m.id, t.named)),
           min(t.named) filter (where m.id is null and not (t.named ~ '^[0-9]+$' and not exists (select from known)))
      into warehouses_meant.ids, warehouses_meant.unknown
      from (select distinct btrim(e.named) as named from jsonb_array_elements_text(warehouses_meant.told) e(named)) t
      -- by its id, else by its name, which may be that of several
      left join lateral (select k.id from known k
                          where k.id = t.named
                             or lower(k.name) = lower(t.named) and not exists (select from known o where o.id = t.named)) m on true;
end
$$;
comment on function tds.warehouses_meant(jsonb, text) is
'The ids of the warehouses that are named by their ids or their names; unknown: one that is neither (an id is believed while none is '
'known).';

create or replace function tds.is_all(value jsonb) returns boolean
language sql immutable parallel safe
as $$
    select case when jsonb_typeof($1) <> 'array' then $1 = '"all"'
                else $1 = '[]' or exists (select from jsonb_array_elements_text($1) e(named) where lower(btrim(e.named)) = 'all') end
$$;
comment on function tds.is_all(jsonb) is 'Whether a list of what a pull is about says all of it: it is empty, or has the word.';

create or replace function tds.option_problem(entity text, name text, value jsonb, moment timestamptz, at timestamptz) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_kind constant text := jsonb_typeof(option_problem.value);
    v_most constant int := case option_problem.entity when 'stock' then 100 else 200 end;
begin
    case
        when option_problem.name = 'modified_since' then
            return case
                when option_problem.moment is null then 'must be a date (2026-01-31) or a time with its offset (2026-01-31T08:00:00+03:00)'
                when option_problem.moment > option_problem.at then 'is in the future'
                when option_problem.moment < '2000-01-01Z' then 'is before the year 2000: leave it out for a full pull' end;
        when option_problem.name = 'batch_size' then
            return case
                when v_kind <> 'number' or option_problem.value::numeric not between 1 and v_most
                     or option_problem.value::numeric <> trunc(option_problem.value::numeric)
                then format('must be a whole number from 1 to %s', v_most) end;
        when option_problem.name = 'warehouses' then
            return case
                when tds.is_all(option_problem.value) then null
                when v_kind <> 'array' or jsonb_array_length(option_problem.value) not between 1 and 200
                     or exists (select from jsonb_array_elements(option_problem.value) e(named)
                                 where jsonb_typeof(e.named) <> 'string' or char_length(e.named #>> '{}') not between 1 and 255)
                then 'must be an array of 1 to 200 ids of Zoho''s, as strings, or names; all: empty, or ["all"]' end;
        when option_problem.name = 'pricelist_ids' then
            return case
                when tds.is_all(option_problem.value) then null
                when v_kind <> 'array' or jsonb_array_length(option_problem.value) not between 1 and 200
                     or exists (select from jsonb_array_elements(option_problem.value) e(id)
                                 where jsonb_typeof(e.id) <> 'string' or not tds.is_id(e.id #>> '{}'))
                then 'must be an array of 1 to 200 ids of Zoho''s, as strings; all: empty, or ["all"]' end;
        else
            return case when v_kind <> 'boolean' then 'must be true or false' end;
    end case;
end
$$;
comment on function tds.option_problem(text, text, jsonb, timestamptz, timestamptz) is
'What is wrong with the value of an option, or null.';

create or replace function tds.pull_settings(entity text, options jsonb, organization_id text, at timestamptz) returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_names   constant text[] := tds.pull_option_names(pull_settings.entity);
    v_given   constant jsonb := coalesce(pull_settings.options, '{}');
    v_moment  timestamptz;
    v_places  record;
    v_key     text;
    v_problem text;
begin
    if jsonb_typeof(v_given) <> 'object' then
        raise exception using errcode = 'ZB010', message = 'option refused', detail = 'options: must be an object',
            hint = format('options of %s: %s', pull_settings.entity, array_to_string(v_names, ', '));
    end if;
    select null::jsonb as ids, null::text as unknown into v_places;
    v_moment := tds.option_moment(v_given ->> 'modified_since', pull_settings.organization_id);
    select o.key, p.problem into v_key, v_problem
      from jsonb_each(jsonb_strip_nulls(v_given)) o
     cross join lateral (select case
            when o.key <> all (v_names) then tds.why_no_option(pull_settings.entity, o.key)
            else tds.option_problem(pull_settings.entity, o.key, o.value, v_moment, pull_settings.at) end) p(problem)
     where p.problem is not null
     order by o.key
     limit 1;
    if v_key is null and v_moment is not null and v_given @> '{"incremental": false}' then
        v_key := 'modified_since';
        v_problem := 'asks for an incremental pull, and incremental is false';
    end if;
    if v_key is null and jsonb_typeof(v_given -> 'warehouses') = 'array' and not tds.is_all(v_given -> 'warehouses') then
        select m.ids, m.unknown into v_places from tds.warehouses_meant(v_given -> 'warehouses', pull_settings.organization_id) m;
        if v_places.unknown is not null then
            v_key := 'warehouses';
            v_problem := format('there is no warehouse %s; select zoho_warehouse_id, name from zoho.warehouses',
                                quote_literal(v_places.unknown));
        end if;
    end if;
    if v_key is not null then
        raise exception using errcode = 'ZB010', message = 'option refused',
            detail = format('%s: %s', v_key, v_problem),
            hint = format('options of %s: %s', pull_settings.entity,
                          coalesce(nullif(array_to_string(v_names, ', '), ''), 'none'));
    end if;
    -- one way to write one wish: defaults left out, times in UTC, ids in order
    return (
        select coalesce(jsonb_object_agg(o.key, case
                    when o.key = 'modified_since'
                    then to_jsonb(to_char(v_moment at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"'))
                    when o.key = 'warehouses' then v_places.ids
                    when o.key = 'pricelist_ids'
                    then (select jsonb_agg(i.id order by i.id) from (select distinct e.id from jsonb_array_elements_text(o.value) e(id)) i)
                    when o.key = 'batch_size' then to_jsonb(o.value::numeric::int)
                    else o.value end), '{}')
          from jsonb_each(jsonb_strip_nulls(v_given) || case when v_given ->> 'modified_since' is not null then '{"incremental": true}'
                          else '{}'::jsonb end) o
         where not (o.key in ('warehouses', 'pricelist_ids') and tds.is_all(o.value))
           and o.value <> case
                    when o.key like 'include\_%' then 'true'::jsonb
                    when o.key = 'batch_size' then to_jsonb(case pull_settings.entity when 'stock' then 100 else 200 end)
                    else 'false' end);
end
$$;
comment on function tds.pull_settings(text, jsonb, text, timestamptz) is
'The options of a pull, checked and in the one form that equal wishes have: defaults left out. Raises ZB010 with the path and the reason, '
'ZB002.';
