-- What Zoho is asked for a reconciliation, and the same figures from the mirror.

create or replace function tds.ours_count(asked tds.asked) returns setof tds.figure
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_entity constant tds.entity := tds.entity_named((ours_count.asked).entity);
    v_status constant text := (ours_count.asked).status;
begin
    return query execute format($sql$
        select %L::text, 'count'::text, null::text, count(*)::numeric, true, 0
          from zoho.%I t
         where t.organization_id = $1 and t.deleted_at is null and ($2 is null or t.%I = $2)$sql$,
        v_entity.entity, tds.verified_table(v_entity.entity),
        coalesce((select f.column_name from tds.verified_field f where f.entity = v_entity.entity and f.role = 'status' and v_status
                  is not null),
                 v_entity.target_key))
      using (ours_count.asked).organization_id, v_status;
end
$$;
comment on function tds.ours_count(tds.asked) is 'How many records of a list the mirror has.';

create or replace function tds.counted_status(report tds.report) returns text
language sql immutable parallel safe
as $$ select nullif(lower(split_part(($1).parameters ->> 'filter_by', '.', 2)), 'all') where ($1).ours = 'ours_count' $$;
comment on function tds.counted_status(tds.report) is 'The status that a list is counted by; null: every one.';

create or replace function tds.ours_ageing(asked tds.asked) returns setof tds.figure
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    with documents as (
        select d.customer_id as party_id, d.currency, d.rate, d.due_date, d.owed
          from tds.receivable_documents((ours_ageing.asked).organization_id, (ours_ageing.asked).day_to) d
         where (ours_ageing.asked).party_kind = 'customer'
         union all
        select d.vendor_id, d.currency, d.rate, d.due_date, d.owed
          from tds.payable_documents((ours_ageing.asked).organization_id, (ours_ageing.asked).day_to) d
         where (ours_ageing.asked).party_kind = 'vendor')
    select d.party_id, m.measure, m.currency, m.amount, d.is_exact, d.lacking
      from (select c.party_id, sum(round(c.owed * c.rate, b.decimals)) as total, sum(c.owed) as fcy, min(c.currency) as currency,
                   coalesce(sum(round(c.owed * c.rate, b.decimals)) filter (where c.due_date < (ours_ageing.asked).day_to), 0) as overdue,
                   count(distinct c.currency) as currencies, coalesce(bool_and(c.rate = 1), false) as is_exact,
                   (count(*) filter (where c.rate is null))::int as lacking
              from documents c
             cross join (select tds.base_decimals((ours_ageing.asked).organization_id)) b(decimals)
             group by c.party_id) d
     cross join lateral (values ('total', null, d.total), ('overdue', null, d.overdue),
                                ('fcy_total', d.currency, case when d.currencies = 1 then d.fcy end)) m(measure, currency, amount)
     where m.amount is not null;
end
$$;
comment on function tds.ours_ageing(tds.asked) is
'What each customer owed, or each vendor was owed, at the end of a day: in all, overdue, and in the currency of its documents.';

create or replace function tds.ours_balances(asked tds.asked) returns setof tds.figure
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    with parts as (
        select d.customer_id as party_id, d.rate, d.owed, 0::numeric as unused
          from tds.receivable_documents((ours_balances.asked).organization_id, (ours_balances.asked).day_to) d
         where (ours_balances.asked).party_kind = 'customer'
         union all
        select c.customer_id, c.rate, 0, c.unused
          from tds.customer_credits((ours_balances.asked).organization_id, (ours_balances.asked).day_to) c
         where (ours_balances.asked).party_kind = 'customer'
         union all
        select d.vendor_id, d.rate, d.owed, 0
          from tds.payable_documents((ours_balances.asked).organization_id, (ours_balances.asked).day_to) d
         where (ours_balances.asked).party_kind = 'vendor'
         union all
        select c.vendor_id, c.rate, 0, c.unused
          from tds.vendor_credits((ours_balances.asked).organization_id, (ours_balances.asked).day_to) c
         where (ours_balances.asked).party_kind = 'vendor')
    select p.party_id, 'closing_balance'::text, null::text, sum(round(p.owed * p.rate, b.decimals) - round(p.unused * p.rate, b.decimals)),
           coalesce(bool_and(p.rate = 1), false), (count(*) filter (where p.rate is null))::int
      from parts p
     cross join (select tds.base_decimals((ours_balances.asked).organization_id)) b(decimals)
     group by p.party_id;
end
$$;
comment on function tds.ours_balances(tds.asked) is
'What each customer owed, or each vendor was owed, at the end of a day, less what they could still be credited.';

create or replace function tds.ours_contacts(asked tds.asked) returns setof tds.figure
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    select p.party_id, p.measure, min(p.currency), sum(p.amount), true, (count(*) filter (where p.amount is null))::int
      from (select d.customer_id as party_id, 'outstanding_receivable' as measure, d.currency, d.owed as amount
              from tds.receivable_documents((ours_contacts.asked).organization_id, 'infinity') d
             where (ours_contacts.asked).party_kind = 'customer'
             union all
            select c.customer_id, 'unused_credits_receivable', c.currency, c.unused
              from tds.customer_credits((ours_contacts.asked).organization_id, 'infinity') c
             where (ours_contacts.asked).party_kind = 'customer'
             union all
            select d.vendor_id, 'outstanding_payable', d.currency, d.owed
              from tds.payable_documents((ours_contacts.asked).organization_id, 'infinity') d
             where (ours_contacts.asked).party_kind = 'vendor'
             union all
            select c.vendor_id, 'unused_credits_payable', c.currency, c.unused
              from tds.vendor_credits((ours_contacts.asked).organization_id, 'infinity') c
             where (ours_contacts.asked).party_kind = 'vendor') p
     group by p.party_id, p.measure;
end
$$;
comment on function tds.ours_contacts(tds.asked) is
'What each contact owes or is owed now, and what it may still be credited, in its own currency.';

create or replace function tds.ours_trade(asked tds.asked) returns setof tds.figure
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_is_sale constant boolean := (ours_trade.asked).report = 'salesbyitem';
begin
    return query
    with lines as (
        select l.item_id, l.quantity, l.base_amount, l.is_exact
          from tds.sales_lines((ours_trade.asked).organization_id, (ours_trade.asked).day_from, (ours_trade.asked).day_to) l where v_is_sale
         union all
        select l.item_id, l.quantity, l.base_amount, l.is_exact
          from tds.purchase_lines((ours_trade.asked).organization_id, (ours_trade.asked).day_from, (ours_trade.asked).day_to) l
         where not v_is_sale)
    select d.item_id, m.measure, null::text, m.amount, d.is_exact, d.lacking + n.lacking
      from (select l.item_id, sum(l.quantity) as quantity, sum(l.base_amount) as amount, coalesce(bool_and(l.is_exact), false) as is_exact,
                   (count(*) filter (where l.base_amount is null))::int as lacking
              from lines l where l.item_id is not null group by l.item_id
             union all
            select null, null, null, false, 0) d
     -- a document whose lines are not known may have any product
     cross join (select count(*)::int from lines l where l.item_id is null and l.quantity is null and l.base_amount is null) n(lacking)
     cross join lateral (values ('quantity', d.quantity), ('amount', d.amount)) m(measure, amount);
end
$$;
comment on function tds.ours_trade(tds.asked) is
'What was sold of each product, or bought, less what came back: quantity, and amount in the base currency without tax. Without a product: '
'how many documents there are whose lines are not known.';

create or replace function tds.ours_sales_by_customer(asked tds.asked)
returns setof tds.figure
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    select c.customer_id, m.measure, null::text, m.amount, c.is_exact, c.lacking
      from (select d.customer_id, (count(*) filter (where d.sign = 1))::numeric as documents,
            sum(d.sign * round(d.net * d.rate, b.decimals)) as sales,
                   sum(d.sign * round((d.net + d.tax) * d.rate, b.decimals)) as with_tax, coalesce(bool_and(d.rate = 1), false) as is_exact,
                   (count(*) filter (where d.net * d.rate is null))::int as lacking
              from tds.sales_documents((ours_sales_by_customer.asked).organization_id, (ours_sales_by_customer.asked).day_from,
                                       (ours_sales_by_customer.asked).day_to) d
             cross join (select tds.base_decimals((ours_sales_by_customer.asked).organization_id)) b(decimals)
             group by d.customer_id) c
     cross join lateral (values ('count', c.documents), ('sales', c.sales), ('sales_with_tax', c.with_tax)) m(measure, amount);
end
$$;
comment on function tds.ours_sales_by_customer(tds.asked) is
'What was sold to each customer less what was credited, in the base currency, without tax and with it; count is of invoices.';

create or replace function tds.ours_payments(asked tds.asked) returns setof tds.figure
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    select p.zoho_id, m.measure, case when m.measure in ('amount', 'unused_amount') then p.currency end, m.amount, p.rate = 1,
           (m.amount is null)::int
      from (select t.zoho_payment_id as zoho_id, t.amount, t.unused_amount, t.currency,
                   coalesce(t.exchange_rate,
                            case when t.currency = tds.base_currency((ours_payments.asked).organization_id) then 1 end) as rate
              from zoho.customer_payments t
             where (ours_payments.asked).party_kind = 'payment' and t.organization_id = (ours_payments.asked).organization_id
               and t.deleted_at is null and t.payment_date between (ours_payments.asked).day_from and (ours_payments.asked).day_to
               and tds.counts_for_sums(t.zoho_metadata ->> 'payment_status')
             union all
            select t.zoho_payment_id, t.amount, t.unused_amount, t.currency,
                   coalesce(t.exchange_rate, case when t.currency = tds.base_currency((ours_payments.asked).organization_id) then 1 end)
              from zoho.vendor_payments t
             where (ours_payments.asked).party_kind = 'vendor_payment' and t.organization_id = (ours_payments.asked).organization_id
               and t.deleted_at is null and t.payment_date between (ours_payments.asked).day_from and (ours_payments.asked).day_to
               and tds.counts_for_sums(t.status)) p
     cross join lateral (values ('amount', p.amount), ('unused_amount', p.unused_amount),
                                ('bcy_amount', round(p.amount * p.rate, tds.base_decimals((ours_payments.asked).organization_id))))
                                m(measure, amount);
end
$$;
comment on function tds.ours_payments(tds.asked) is 'The payments of these days, one by one.';

create or replace function tds.ours_stock(asked tds.asked) returns setof tds.figure
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    select p.zoho_item_id, 'quantity_available'::text, null::text, p.stock_quantity, true, 0
      from zoho.products p
     where p.organization_id = (ours_stock.asked).organization_id and p.deleted_at is null and p.stock_quantity is not null;
end
$$;
comment on function tds.ours_stock(tds.asked) is 'What is in stock of each product now.';

revoke all on function
    tds.ours_count(tds.asked), tds.ours_ageing(tds.asked),
    tds.ours_balances(tds.asked), tds.ours_contacts(tds.asked),
    tds.ours_trade(tds.asked), tds.ours_sales_by_customer(tds.asked),
    tds.ours_payments(tds.asked), tds.ours_stock(tds.asked)
    from public;

insert into tds.report as r (report, position, path, parameters, period, rows_paths, party_kind, id_keys, name_key, entities, ours,
                             description)
select d.report, d.position, d.path, d.parameters::jsonb, d.period, d.rows_paths, d.party_kind, d.id_keys, d.name_key, d.entities, d.ours,
       d.description
  from (
    select 'count:' || n.entity as report, 10 as position, n.api_path as path, n.list_filter::text as parameters, 'none' as period,
           array['$.' || n.list_key || '[*]'] as rows_paths, 'entity' as party_kind, array['id'] as id_keys, null as name_key,
           array[n.entity] as entities, 'ours_count' as ours, 'How many records the list has.' as description
      from tds.entity n where n.api_path <> '' and n.paged and n.entity not in ('organizations', 'taxes')
     union all
    select format('count:%s:%s', n.entity, lower(s.status)), 11, n.api_path, (n.list_filter || jsonb_build_object('filter_by', 'Status.'
           || s.status))::text, 'none', array['$.' || n.list_key || '[*]'], 'entity', array['id'], null, array[n.entity], 'ours_count',
           'How many of the list have that status.'
      from tds.entity n cross join (values ('Draft'), ('Void')) s(status) where n.entity in ('invoices', 'credit_notes')
     union all
    values
    ('contacts:customers', 20, '/contacts', '{"contact_type": "customer", "filter_by": "Status.All"}', 'none', array['$.contacts[*]'],
     'customer', array['contact_id'], 'contact_name', array['invoices', 'credit_notes', 'payments'], 'ours_contacts',
     'What customers owe and may still be credited, by the list of contacts.'),
    ('contacts:vendors', 21, '/contacts', '{"contact_type": "vendor", "filter_by": "Status.All"}', 'none', array['$.contacts[*]'],
     'vendor', array['contact_id'], 'contact_name', array['bills', 'vendor_credits', 'vendor_payments'], 'ours_contacts',
     'What vendors are owed and what may still be used of their credits, by the list of contacts.'),
    ('aragingsummary', 30, '/reports/aragingsummary', '{"filter_by": "InvoiceDueDate.CustomDate"}', 'day',
     array['$.invoice.group_list[*].group_list[*]', '$.invoice.group_list[*]'], 'customer', array['id', 'customer_id'], 'name',
     array['invoices', 'payments', 'credit_notes'], 'ours_ageing', 'What customers owe, by the ageing of invoices.'),
    ('apagingsummary', 31, '/reports/apagingsummary', '{"filter_by": "BillDueDate.CustomDate"}', 'day',
     array['$.bills.group_list[*].group_list[*]', '$.bills.group_list[*]'], 'vendor', array['id', 'vendor_id'], 'name',
     array['bills', 'vendor_payments', 'vendor_credits'], 'ours_ageing', 'What vendors are owed, by the ageing of bills.'),
    ('customerbalancesummary', 32, '/reports/customerbalancesummary', '{"filter_by": "TransactionDate.CustomDate"}', 'day',
     array['$.customerbalancesummary[*]', '$.customer_balance_summary[*]'], 'customer', array['customer_id'], 'customer_name',
     array['invoices', 'payments', 'credit_notes'], 'ours_balances', 'What customers owe, less what they may still be credited.'),
    ('vendorbalancesummary', 33, '/reports/vendorbalancesummary', '{"filter_by": "TransactionDate.CustomDate"}', 'day',
     array['$.vendorbalancesummary[*]', '$.vendor_balance_summary[*]'], 'vendor', array['vendor_id'], 'vendor_name',
     array['bills', 'vendor_payments', 'vendor_credits'], 'ours_balances', 'What vendors are owed, less what may still be used.'),
    ('inventorysummary', 34, '/reports/inventorysummary', '{"filter_by": "TransactionDate.CustomDate"}', 'day',
     array['$.inventory[*].item_details[*]'], 'product', array['item_id'], 'item_name', array['products'], 'ours_stock',
     'What is in stock.'),
    ('salesbyitem', 40, '/reports/salesbyitem', '{"filter_by": "TransactionDate.CustomDate"}', 'month', array['$.sales[*]'], 'product',
     array['item_id'], 'item_name', array['invoices', 'credit_notes'], 'ours_trade', 'What was sold of each product.'),
    ('salesbycustomer', 41, '/reports/salesbycustomer', '{"filter_by": "TransactionDate.CustomDate"}', 'month', array['$.sales[*]'],
     'customer', array['customer_id'], 'customer_name', array['invoices', 'credit_notes'], 'ours_sales_by_customer',
     'What was sold to each customer.'),
    ('purchasesbyitem', 42, '/reports/purchasesbyitem', '{"filter_by": "TransactionDate.CustomDate"}', 'month',
     array['$.purchases_by_item[*].purchase[*]', '$.purchases_by_item[*]'], 'product', array['item_id'], 'item_name',
     array['bills', 'vendor_credits'], 'ours_trade', 'What was bought of each product.'),
    ('customerpayments', 43, '/reports/customerpayments', '{"filter_by": "PaymentDate.CustomDate"}', 'month',
     array['$.customerpayments[*]'], 'payment', array['payment_id'], 'payment_number', array['payments'], 'ours_payments',
     'Payments of customers.'),
    ('vendorpayments', 44, '/reports/vendorpayments', '{"filter_by": "PaymentDate.CustomDate"}', 'month',
     array['$.vendor_payments[*].vendorpayments[*]', '$.payment_details[*]'], 'vendor_payment', array['payment_id'], 'payment_number',
     array['vendor_payments'], 'ours_payments', 'Payments to vendors.')) d
 order by d.report
on conflict on constraint report_pkey do update
   set position = excluded.position, path = excluded.path, parameters = excluded.parameters, period = excluded.period,
       rows_paths = excluded.rows_paths, party_kind = excluded.party_kind, id_keys = excluded.id_keys, name_key = excluded.name_key,
       entities = excluded.entities, ours = excluded.ours, description = excluded.description;

insert into tds.report_measure as m (report, measure, keys, unit)
select r.report, v.measure, v.keys, v.unit
  from (values
    ('count:%', 'count', array['total'], 'number'),
    ('contacts:customers', 'outstanding_receivable', array['outstanding_receivable_amount'], 'own'),
    ('contacts:customers', 'unused_credits_receivable', array['unused_credits_receivable_amount'], 'own'),
    ('contacts:vendors', 'outstanding_payable', array['outstanding_payable_amount'], 'own'),
    ('contacts:vendors', 'unused_credits_payable', array['unused_credits_payable_amount'], 'own'),
    ('a_agingsummary', 'total', array['total'], 'base'),
    ('a_agingsummary', 'overdue', array['overdue'], 'base'),
    ('a_agingsummary', 'fcy_total', array['fcy_total'], 'own'),
    ('%balancesummary', 'closing_balance', array['closing_balance'], 'base'),
    ('inventorysummary', 'quantity_available', array['quantity_available'], 'number'),
    ('salesbyitem', 'quantity', array['quantity_sold'], 'number'),
    ('salesbyitem', 'amount', array['amount'], 'base'),
    ('salesbycustomer', 'count', array['count'], 'number'),
    ('salesbycustomer', 'sales', array['sales'], 'base'),
    ('salesbycustomer', 'sales_with_tax', array['sales_with_tax'], 'base'),
    ('purchasesbyitem', 'quantity', array['quantity_purchased'], 'number'),
    ('purchasesbyitem', 'amount', array['amount'], 'base'),
    ('%rpayments', 'amount', array['amount'], 'own'),
    ('%rpayments', 'unused_amount', array['unused_amount'], 'own'),
    ('%rpayments', 'bcy_amount', array['bcy_amount'], 'base')) v(pattern, measure, keys, unit)
  join tds.report r on r.report like v.pattern
 order by r.report, v.measure
on conflict on constraint report_measure_pkey do update set keys = excluded.keys, unit = excluded.unit;
