-- What tds.verify() compares: keys of Zoho's lists with the columns that hold them, both found in the mapping.

create or replace function tds.stamp_lags(
    doc jsonb, layers jsonb, observed_at timestamptz, detail_key text, shown timestamptz, told jsonb) returns boolean
language sql stable parallel safe
as $$
    -- read with its details since that edit, by an answer that had no last_modified_time: only the list's stamp is older
    select coalesce($1 ? $4 and v.detail_o > v.stamp_o and v.detail_o > ($6 ->> 0)::timestamptz
                    and $5 >= ($1 ->> 'last_modified_time')::timestamptz, false)
      from (select case when tds.is_layers($2) then $2 end as layers offset 0) k
     cross join lateral (
           select coalesce((select l.o from jsonb_to_recordset(k.layers) l(o timestamptz, keys jsonb) where l.keys ? $4), $3) as detail_o,
                  coalesce((select l.o from jsonb_to_recordset(k.layers) l(o timestamptz, keys jsonb) where l.keys ? 'last_modified_time'),
                           $3) as stamp_o) v
     where tds.is_time($6 ->> 0) and tds.is_time($1 ->> 'last_modified_time')
$$;
comment on function tds.stamp_lags(jsonb, jsonb, timestamptz, text, timestamptz, jsonb) is
'Whether a list''s last_modified_time is later than a row''s only because details of its kind have none: what the row shows was read after '
'that edit.';

create or replace view tds.verified_field as
select f.entity, f.key, k.role, f.reader, f.max_length, f.column_name,
       coalesce(f.expression, format('tds.json_%s(d.%I)', f.reader, f.key)) as expression
  from tds.field f
  join tds.entity n on n.entity = f.entity
  left join (
       -- of several keys of a role the first that the entity maps has it; without a role: compared, neither counted nor summed
       select distinct on (f.entity, k.role) f.entity, f.key, k.role
         from (values (1, null, 'status', 'status'),
                      (2, null, 'currency_code', 'currency'),
                      (3, null, 'date', 'day'),
                      (4, null, 'created_time', 'day'),
                      (5, 'vendors', 'outstanding_payable_amount', 'amount'),
                      (6, null, 'total', 'amount'),
                      (7, null, 'amount', 'amount'),
                      (8, null, 'rate', 'amount'),
                      (9, null, 'outstanding_receivable_amount', 'amount')) k(rank, entity, key, role)
         join tds.field f on f.list_key = '' and f.key = k.key and f.column_name is not null and f.entity = coalesce(k.entity, f.entity)
        order by f.entity, k.role, k.rank) k on k.entity = f.entity and k.key = f.key
 where f.list_key = '' and f.column_name is not null and f.key <> n.id_key
 order by f.entity, f.key;
comment on view tds.verified_field is
'What tds.verify() compares, by entity: every mapped key, where Zoho''s list carries it, and the column that holds it.';
comment on column tds.verified_field.entity is 'The entity.';
comment on column tds.verified_field.key is 'Key of Zoho''s list.';
comment on column tds.verified_field.role is
'status, currency, day (its month) group the counts, amount is summed; null: is only compared.';
comment on column tds.verified_field.reader is 'Its strict reader.';
comment on column tds.verified_field.max_length is 'The longest text.';
comment on column tds.verified_field.column_name is 'The column of the mirror that holds it.';
comment on column tds.verified_field.expression is 'How the column is read from it: SQL over d, the fields as jsonb by their keys.';

create or replace function tds.make_comparison(entity text) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_name   constant text := 'compare_' || make_comparison.entity;
    v_entity tds.entity;
    v_parts  record;
begin
    select n.* into strict v_entity from tds.entity n where n.entity = make_comparison.entity;
    select coalesce(string_agg(tds.fill('{{key:L}}, case when p.{{key:I}} is null and e.doc ? {{key:L}}{{unless}} then '
                                        'to_jsonb({{expression}}) end',
                                        jsonb_build_object('key', f.key, 'expression', f.expression, 'unless', case
                                            when f.key = 'last_modified_time' and v_entity.detail_key is not null then tds.fill(
                                                ' and not tds.stamp_lags(m.zoho_metadata, m.sync_layers, m.sync_observed_at, '
                                                '{{detail_key:L}}, m.zoho_modified_at, e.doc -> ''last_modified_time'')',
                                                jsonb_build_object('detail_key', v_entity.detail_key)) else '' end)),
                               E',\n                   ' order by f.key), '') as told,
           coalesce(string_agg(format('%L, to_jsonb(m.%I)', f.key, f.column_name), E',\n                   ' order by f.key), '') as kept,
           coalesce(string_agg(format('%L, p.%I', f.key, f.key), E',\n                   ' order by f.key), '') as problem,
           coalesce(string_agg(tds.fill('tds.problem({{reader:L}}, e.doc -> {{key:L}}, false, {{max_length:L}}) as {{key:I}}',
                                        jsonb_build_object('key', f.key, 'reader', f.reader, 'max_length', f.max_length)),
                               E',\n                   ' order by f.key), 'null') as problems
      into v_parts
      from tds.verified_field f
     where f.entity = make_comparison.entity;
    perform tds.make(
        v_name, 'organization_id text, pages jsonb[]', 'setof tds.compared', 'stable',
        tds.made_comment(format('Every one of %s that Zoho lists or the mirror has: what the pages tell of it, and what the mirror keeps.',
                                make_comparison.entity), 'make_comparison', make_comparison.entity),
        tds.fill($body$
begin
    return query
    with listed as (
        -- a list that moves while it is read shows a record twice: the later telling counts; what has no id is nobody's twin
        select distinct on (i.zoho_id, i.place) i.zoho_id, e.doc
          from unnest({{me:I}}.pages) with ordinality g(page, n)
         cross join lateral jsonb_array_elements(g.page) with ordinality e(doc, n)
         cross join lateral (select nullif(e.doc ->> {{id_key:L}}, '') as zoho_id,
                                    case when e.doc ->> {{id_key:L}} <> '' then null else array[g.n, e.n] end as place) i
         order by i.zoho_id, i.place, g.n desc, e.n desc
    ), told as (
        select e.zoho_id, jsonb_strip_nulls(jsonb_build_object({{told}})) as told,
               nullif(jsonb_strip_nulls(jsonb_build_object({{problem}})), '{}') as problem
          from listed e
          left join zoho.{{table:I}} m on m.organization_id = {{me:I}}.organization_id and m.{{target_key:I}} = e.zoho_id
         cross join lateral (select {{problems}} offset 0) p
         -- a column made of several keys is what the list's would make of what is known of the others
         cross join lateral (select case jsonb_typeof(m.zoho_metadata) when 'object' then m.zoho_metadata else '{}' end || e.doc as doc
                               offset 0) x
         cross join lateral {{fields}} d
    ), kept as (
        select m.{{target_key:I}} as zoho_id, jsonb_build_object({{kept}}) as kept, m.deleted_at, m.sync_observed_at
          from zoho.{{table:I}} m
         where m.organization_id = {{me:I}}.organization_id
    )
    select coalesce(t.zoho_id, k.zoho_id), t.told, k.kept, t.problem, k.deleted_at, k.sync_observed_at
      from told t
      full join kept k on k.zoho_id = t.zoho_id;
end
$body$,
            jsonb_build_object('me', v_name, 'id_key', v_entity.id_key, 'told', v_parts.told, 'problem', v_parts.problem,
                               'problems', v_parts.problems, 'fields', tds.fields_of(v_entity.entity, '', 'x.doc'),
                               'target_key', v_entity.target_key, 'kept', v_parts.kept, 'table', tds.verified_table(v_entity.entity))));
end
$$;
revoke all on function tds.make_comparison(text) from public;
comment on function tds.make_comparison(text) is
'Makes tds.compare_<entity>() from the mapping: the records of Zoho''s list beside the rows of the mirror.';
