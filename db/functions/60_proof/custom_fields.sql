create or replace function tds.custom_field_rows(doc jsonb, older jsonb default '[]')
returns table (api_name text, label text, data_type text, value jsonb, value_text text)
language sql immutable parallel safe
as $$
    with told as (
        select e.f ->> 'api_name' as api_name, e.f ->> 'label' as label, e.f ->> 'data_type' as data_type, e.f -> 'value' as value,
               e.f ->> 'value_formatted' as shown, case when $2 ? 'custom_fields' then 4 else 1 end as place
          from jsonb_array_elements(case when jsonb_typeof($1 -> 'custom_fields') = 'array' then $1 -> 'custom_fields' end) e(f)
         where e.f ->> 'api_name' <> ''
        union all
        select k.key, null, null, coalesce(h.doc -> (k.key || '_unformatted'), k.value), k.value ->> 0,
               case when $2 ? 'custom_field_hash' then 5 else 2 end
          from (select $1 -> 'custom_field_hash') h(doc)
         cross join lateral jsonb_each(case when jsonb_typeof(h.doc) = 'object' then h.doc end) k
         where k.key not like '%\_unformatted'
        union all
        select k.key, null, null, coalesce($1 -> (k.key || '_unformatted'), k.value), k.value ->> 0, case when $2 ? k.key then 6 else 3 end
          from jsonb_each(case when jsonb_typeof($1) = 'object' then $1 end) k
         where k.key like 'cf\_%' and k.key not like '%\_unformatted'
    )
    select t.api_name, max(t.label), max(t.data_type), (array_agg(t.value order by t.place))[1],
           (array_agg(coalesce(t.shown, t.value ->> 0) order by t.place))[1]
      from told t
     group by t.api_name
     order by t.api_name
$$;
comment on function tds.custom_field_rows(jsonb, jsonb) is
'The custom fields of a document, a row each: from custom_fields[], custom_field_hash, or the cf_… keys of lists; value: unformatted where it '
'is known; value_text: as Zoho shows it. older: keys of the document that are not of its newest version, which the others go before.';

create or replace function tds.custom_fields(doc jsonb) returns jsonb
language sql immutable parallel safe
as $$ select coalesce(jsonb_object_agg(f.api_name, f.value), '{}') from tds.custom_field_rows($1) f $$;
comment on function tds.custom_fields(jsonb) is 'The custom fields of a document as {api_name: value}, in whichever of Zoho''s forms it has them.';

do $do$
begin
    execute 'create or replace view public.tds_custom_fields as ' || (
        select string_agg(format(
                   $sql$
select %1$s as entity, t.organization_id, t.%2$I as zoho_id, f.api_name, f.label, f.data_type, f.value, f.value_text
  from zoho.%3$I t
 cross join lateral tds.custom_field_rows(t.zoho_metadata, (select jsonb_agg(k.key) from jsonb_array_elements(t.sync_layers) l(layer)
                                                           cross join lateral jsonb_array_elements(l.layer -> 'keys') k(key))) f$sql$,
                   case when n.names > 1 then '(select c.relname::text from pg_catalog.pg_class c where c.oid = t.tableoid)' else format('%L::text', n.entity) end,
                   n.target_key, n.target), E'\n union all' order by n.target)
          from (select e.target, e.target_key, min(e.entity) as entity, count(*) as names from tds.entity e group by e.target, e.target_key) n);
end
$do$;
comment on view public.tds_custom_fields is 'Every custom field of every record of the mirror, a row each.';
comment on column public.tds_custom_fields.entity is 'The entity.';
comment on column public.tds_custom_fields.organization_id is 'Zoho organisation.';
comment on column public.tds_custom_fields.zoho_id is 'Zoho''s id of the record.';
comment on column public.tds_custom_fields.api_name is 'Zoho''s name of the field: cf_….';
comment on column public.tds_custom_fields.label is 'What people call it; null while only lists have told of it.';
comment on column public.tds_custom_fields.data_type is 'Zoho''s type of it; null while only lists have told of it.';
comment on column public.tds_custom_fields.value is 'Its value, unformatted where that is known.';
comment on column public.tds_custom_fields.value_text is 'Its value as Zoho shows it.';
