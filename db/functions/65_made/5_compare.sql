-- What tds.verify() compares: keys of Zoho's lists with the columns that hold them, both found in the mapping.

create or replace view tds.verified_field as
select distinct on (f.entity, f.key) f.entity, f.key, k.role, f.reader, f.max_length, f.column_name,
       coalesce(f.expression, format('tds.json_%s(d.%I)', f.reader, f.key)) as expression
  from (select k.*, f.entity as of, row_number() over (partition by f.entity, k.role order by k.rank) as place
          -- of several keys of a role the first that the entity maps has it; without a role: compared, neither counted nor summed
          from (values (1, null, 'status', 'status'),
                       (2, null, 'currency_code', 'currency'),
                       (3, null, 'date', 'day'),
                       (4, null, 'created_time', 'day'),
                       (5, 'vendors', 'outstanding_payable_amount', 'amount'),
                       (6, null, 'total', 'amount'),
                       (7, null, 'amount', 'amount'),
                       (8, null, 'rate', 'amount'),
                       (9, null, 'outstanding_receivable_amount', 'amount'),
                       (10, null, 'balance', null),
                       (11, null, 'unused_amount', null),
                       (12, null, 'stock_on_hand', null),
                       (13, null, 'outstanding_receivable_amount', null),
                       (14, null, 'outstanding_payable_amount', null),
                       (15, null, 'last_modified_time', null),
                       (16, null, 'write_off_amount', null),
                       (17, null, 'shipping_charge', null),
                       (18, null, 'adjustment', null),
                       (19, null, 'tax_amount_withheld', null),
                       (20, null, 'unused_credits_receivable_amount', null),
                       (21, null, 'unused_credits_payable_amount', null),
                       (22, null, 'available_stock', null),
                       (23, null, 'actual_available_stock', null),
                       (24, null, 'order_status', null),
                       (25, null, 'invoiced_status', null),
                       (26, null, 'paid_status', null),
                       (27, null, 'shipped_status', null),
                       (28, null, 'pricebook_id', null),
                       (29, null, 'credits_applied', null),
                       (30, null, 'vendor_credits_applied', null),
                       (31, null, 'payment_made', null),
                       (32, null, 'total_credits_used', null),
                       (33, null, 'total_refunded_amount', null),
                       (34, null, 'tds_amount', null),
                       (35, null, 'tcs_amount', null),
                       (36, null, 'discount_amount', null),
                       (37, null, 'committed_stock', null),
                       (38, null, 'actual_committed_stock', null),
                       (39, null, 'available_for_sale_stock', null),
                       (40, null, 'gst_no', null)) k(rank, entity, key, role)
          join tds.field f on f.list_key = '' and f.key = k.key and f.column_name is not null
                          and f.entity = coalesce(k.entity, f.entity)) k
  join tds.field f on f.entity = k.of and f.list_key = '' and f.key = k.key
 where k.role is null or k.place = 1
 order by f.entity, f.key, k.role nulls last;
comment on view tds.verified_field is 'What tds.verify() compares, by entity: keys of Zoho''s lists and the columns that hold them.';
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
    select coalesce(string_agg(tds.fill('{{key:L}}, case when p.{{key:I}} is null then to_jsonb({{expression}}) end',
                                        jsonb_build_object('key', f.key, 'expression', f.expression)),
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
         cross join lateral (select {{problems}} offset 0) p
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
                               'problems', v_parts.problems, 'fields', tds.fields_of(v_entity.entity, '', 'e.doc'),
                               'target_key', v_entity.target_key, 'kept', v_parts.kept, 'table', tds.verified_table(v_entity.entity))));
end
$$;
revoke all on function tds.make_comparison(text) from public;
comment on function tds.make_comparison(text) is
'Makes tds.compare_<entity>() from the mapping: the records of Zoho''s list beside the rows of the mirror.';
