create or replace function tds.is_newer(
    m timestamptz, o timestamptz, r smallint, than_m timestamptz, than_o timestamptz, than_r smallint) returns boolean
language sql immutable parallel safe
as $$ select coalesce(case when $1 <> $4 then $1 > $4 else ($2, $3) > ($5, $6) end, false) $$;
comment on function tds.is_newer(timestamptz, timestamptz, smallint, timestamptz, timestamptz, smallint) is
'Whether one version (last_modified_time, observed_at, rank) is newer than another; where a time is missing, what was observed later is.';

create or replace function tds.custom_fields_told(doc jsonb)
returns table (api_name text, label text, data_type text, value jsonb, shown text, place int, key text, other_key text, other_value jsonb)
language sql immutable parallel safe
as $$
    select e.f ->> 'api_name', e.f ->> 'label', e.f ->> 'data_type', e.f -> 'value', e.f ->> 'value_formatted', 1, 'custom_fields', null,
        null::jsonb
      from jsonb_array_elements(case when jsonb_typeof($1 -> 'custom_fields') = 'array' then $1 -> 'custom_fields' end) e(f)
     where e.f ->> 'api_name' <> ''
    union all
    select k.key, null, null, coalesce($1 -> 'custom_field_hash' -> (k.key || '_unformatted'), k.value), k.value ->> 0, 2,
        'custom_field_hash', null, null
      from jsonb_each(case when jsonb_typeof($1 -> 'custom_field_hash') = 'object' then $1 -> 'custom_field_hash' end) k
     where k.key not like '%\_unformatted'
    union all
    select k.key, null, null, k.value, k.value ->> 0, 3, k.key, k.key || '_unformatted', $1 -> (k.key || '_unformatted')
      from jsonb_each(case when jsonb_typeof($1) = 'object' then $1 end) k
     where k.key like 'cf\_%' and k.key not like '%\_unformatted'
$$;
comment on function tds.custom_fields_told(jsonb) is
'What a document says of its custom fields, in each of the forms it has: custom_fields[], custom_field_hash, the cf_… keys of lists; key: '
'of the document, by which it has its version; other_key: where the unformatted value stands that belongs to it.';

create or replace function tds.custom_field_rows(
    doc jsonb, layers jsonb, modified_at timestamptz, observed_at timestamptz, rank smallint)
returns table (api_name text, label text, data_type text, value jsonb, value_text text)
language sql stable parallel safe
as $$
    with told as materialized (
        select t.*, false as gone from tds.custom_fields_told($1) t
    ), candidate as materialized (
        select t.* from told t
        union all
        -- the array names all that have a value: what an older list told and it does not is gone
        select distinct t.api_name, null, null, null::jsonb, null, 9, 'custom_fields', null, null::jsonb, true
          from told t
         where jsonb_typeof($1 -> 'custom_fields') = 'array'
           and t.api_name not in (select a.api_name from told a where a.place = 1)
    ), layer as materialized (
        select l.* from jsonb_to_recordset($2) l(m timestamptz, o timestamptz, r smallint, keys jsonb)
    ), dated as materialized (
        select c.*, v.m, v.o, v.r, case when c.other_value is null or tds.is_newer(v.m, v.o, v.r, u.m, u.o, u.r) then c.value
                                        else c.other_value end as best
          from candidate c
         cross join lateral (select l.m, l.o, l.r from (select 1, l.m, l.o, l.r from layer l where l.keys ? c.key
                                                         union all
                                                        select 2, $3, $4, $5) l(n, m, o, r) order by l.n limit 1) v
         cross join lateral (select l.m, l.o, l.r from (select 1, l.m, l.o, l.r from layer l where l.keys ? c.other_key
                                                         union all
                                                        select 2, $3, $4, $5) l(n, m, o, r) order by l.n limit 1) u
    ), winner as (
        select distinct on (d.api_name) d.api_name, d.best, d.shown, d.gone
          from dated d
         order by d.api_name,
                  (select count(*) from dated n where n.api_name = d.api_name and tds.is_newer(n.m, n.o, n.r, d.m, d.o, d.r)), d.place
    )
    select w.api_name, (select max(t.label) from told t where t.api_name = w.api_name),
           (select max(t.data_type) from told t where t.api_name = w.api_name), w.best, coalesce(w.shown, w.best ->> 0)
      from winner w
     where not w.gone
     order by w.api_name
$$;
comment on function tds.custom_field_rows(jsonb, jsonb, timestamptz, timestamptz, smallint) is
'The custom fields of a merged document, a row each, from whichever form tells the newest of each: custom_fields[], custom_field_hash, or '
'the cf_… keys of lists; value: unformatted where it is known; value_text: as Zoho shows it. The rest is the document''s version and those '
'of its keys: the sync_ columns of its row, or null.';

create or replace function tds.custom_fields(doc jsonb) returns jsonb
language sql stable parallel safe
as $$ select coalesce(jsonb_object_agg(f.api_name, f.value), '{}') from tds.custom_field_rows($1, null, null, null, null) f $$;
comment on function tds.custom_fields(jsonb) is
'The custom fields of a document as {api_name: value}, in whichever of Zoho''s forms it has them, the array before the others; of a row of '
'the mirror, whose parts have versions, tds_custom_fields knows more.';

do $do$
begin
    execute 'create or replace view public.tds_custom_fields as
select r.entity, r.organization_id, r.zoho_id, f.api_name, f.label, f.data_type, f.value, f.value_text
  from (' || (
        select string_agg(format(
                   $sql$
select %1$s as entity, t.organization_id, t.%2$I as zoho_id, t.zoho_metadata, t.sync_layers, t.sync_modified_at, t.sync_observed_at,
       t.sync_rank
  from zoho.%3$I t$sql$,
                   case when n.names > 1 then '(select c.relname::text from pg_catalog.pg_class c where c.oid = t.tableoid)'
                       else format('%L::text', n.entity) end,
                   n.target_key, n.target), E'\n union all' order by n.target)
          from (select e.target, e.target_key, min(e.entity) as entity, count(*) as names from tds.entity e group by e.target,
                e.target_key) n) || ') r
 cross join lateral tds.custom_field_rows(r.zoho_metadata, r.sync_layers, r.sync_modified_at, r.sync_observed_at, r.sync_rank) f';
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
