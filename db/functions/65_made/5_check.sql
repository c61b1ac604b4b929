create or replace function tds.make_checker(entity text) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_name   constant text := 'check_' || make_checker.entity;
    v_entity tds.entity;
    v_checks record;
begin
    select n.* into strict v_entity from tds.entity n where n.entity = make_checker.entity;
    select string_agg(format('%s as %I', d.expression, d.column_name), E',\n               ' order by d.column_name) as named,
           string_agg(format('%I', d.column_name), ', ' order by d.column_name) as columns
      into v_checks
      from tds.derived d
     where d.entity = make_checker.entity and d.list_key = '' and d.column_name like '%\_differs';
    if v_checks.columns is null then
        return;
    end if;
    perform tds.make(v_name, 'organization_id text, zoho_currency_id text, codes text[]', 'void', 'volatile',
        tds.made_comment(format('Makes the arithmetic checks anew of those %s in a currency that do not tell their decimals themselves, '
                                'in key order.', make_checker.entity), 'make_checker', make_checker.entity),
        tds.fill($body$
begin
    with judged as materialized (
        select t.{{target_key:I}} as zoho_id,
               {{named}}
          from zoho.{{target:I}} t
         cross join lateral (select t.zoho_metadata as doc, t.sync_layers as layers, t.sync_modified_at as modified_at) s
         cross join lateral (select t.organization_id) own
         {{joins}}
         where t.organization_id = {{me:I}}.organization_id
           and (t.currency = any ({{me:I}}.codes) or t.zoho_metadata ->> 'currency_id' = {{me:I}}.zoho_currency_id)
           and (tds.amount_of(t.zoho_metadata -> 'price_precision') between 0 and 6) is not true
         order by t.{{target_key:I}}
           for update of t)
    update zoho.{{target:I}} t
       set ({{columns}}) = ({{judged}})
      from judged j
     where t.organization_id = {{me:I}}.organization_id and t.{{target_key:I}} = j.zoho_id
       and ({{kept}}) is distinct from ({{judged}});
end
$body$,
            jsonb_build_object('me', v_name, 'target', v_entity.target, 'target_key', v_entity.target_key,
                               'named', v_checks.named, 'columns', v_checks.columns, 'joins', v_entity.joins,
                               'judged', tds.qualified('j', v_checks.columns), 'kept', tds.qualified('t', v_checks.columns))));
end
$$;
revoke all on function tds.make_checker(text) from public;
comment on function tds.make_checker(text) is
'Makes tds.check_<entity>() for a document with arithmetic checks: what a currency that comes after its documents needs.';
