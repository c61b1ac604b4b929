-- Reports that an ERP asks for, of what counts: neither deleted nor draft nor void. docs/reconcile.md shows them; Zoho's own reports are
-- compared with the same sums.

create or replace function tds.base_rate(organization_id text, currency text, rate numeric) returns numeric
language sql stable parallel safe
as $$ select coalesce($3, case when $2 = tds.base_currency($1) then 1 end) $$;
comment on function tds.base_rate(text, text, numeric) is
'Units of the base currency for one of another: what the document says; null: it does not.';

create or replace view public.tds_open_balances as
select d.organization_id, d.customer_id, c.name as customer_name, d.currency, sum(d.invoices) as invoices, sum(d.owed) as owed,
       -- with an amount of which no rate is known the sum is not known either
       case when count(*) = count(d.owed_base) then sum(d.owed_base) end as owed_base, sum(d.unused) as unused_credits,
       case when count(*) = count(d.unused_base) then sum(d.unused_base) end as unused_credits_base,
       case when count(*) = count(d.owed_base + d.unused_base) then sum(d.owed_base - d.unused_base) end as balance_base
  from (select i.organization_id, i.zoho_customer_id as customer_id, i.currency, 1 as invoices, i.balance as owed,
               round(i.balance * tds.base_rate(i.organization_id, i.currency, i.exchange_rate), b.decimals) as owed_base,
               0::numeric as unused, 0::numeric as unused_base
          from zoho.invoices i
         cross join lateral (select tds.base_decimals(i.organization_id) as decimals offset 0) b
         where i.deleted_at is null and i.balance <> 0 and i.status is distinct from 'draft' and i.status is distinct from 'void'
           and tds.counts_for_sums(i.status)
         union all
        select n.organization_id, n.zoho_customer_id, n.currency, 0, 0, 0, n.balance,
               round(n.balance * tds.base_rate(n.organization_id, n.currency, n.exchange_rate), b.decimals)
          from zoho.credit_notes n
         cross join lateral (select tds.base_decimals(n.organization_id) as decimals offset 0) b
         where n.deleted_at is null and n.balance <> 0 and tds.counts_for_sums(n.status)
         union all
        select p.organization_id, p.zoho_customer_id, p.currency, 0, 0, 0, p.unused_amount,
               round(p.unused_amount * tds.base_rate(p.organization_id, p.currency, p.exchange_rate), b.decimals)
          from zoho.customer_payments p
         cross join lateral (select tds.base_decimals(p.organization_id) as decimals offset 0) b
         where p.deleted_at is null and p.unused_amount <> 0 and tds.counts_for_sums(p.zoho_metadata ->> 'payment_status')) d
  left join zoho.contacts c on c.organization_id = d.organization_id and c.zoho_contact_id = d.customer_id
 group by d.organization_id, d.customer_id, c.name, d.currency;
comment on view public.tds_open_balances is 'What each customer owes, and may still be credited, by currency and in the base currency.';
comment on column public.tds_open_balances.organization_id is 'Zoho organisation.';
comment on column public.tds_open_balances.customer_id is 'Zoho''s id of the customer.';
comment on column public.tds_open_balances.customer_name is 'Its name.';
comment on column public.tds_open_balances.currency is 'Currency of the documents.';
comment on column public.tds_open_balances.invoices is 'How many invoices are open.';
comment on column public.tds_open_balances.owed is 'Their balance.';
comment on column public.tds_open_balances.owed_base is
'The same in the base currency, each at its own rate; null: one of them tells no rate.';
comment on column public.tds_open_balances.unused_credits is 'What is left of credit notes and payments.';
comment on column public.tds_open_balances.unused_credits_base is 'The same in the base currency; null: one of them tells no rate.';
comment on column public.tds_open_balances.balance_base is
'What is owed less what is left, in the base currency; null: not all of it is known.';

create or replace view public.tds_open_payables as
select d.organization_id, d.vendor_id, c.name as vendor_name, d.currency, sum(d.bills) as bills, sum(d.owed) as owed,
       -- with an amount of which no rate is known the sum is not known either
       case when count(*) = count(d.owed_base) then sum(d.owed_base) end as owed_base, sum(d.unused) as unused_credits,
       case when count(*) = count(d.unused_base) then sum(d.unused_base) end as unused_credits_base,
       case when count(*) = count(d.owed_base + d.unused_base) then sum(d.owed_base - d.unused_base) end as balance_base
  from (select i.organization_id, i.zoho_vendor_id as vendor_id, i.currency, 1 as bills, i.balance as owed,
               round(i.balance * tds.base_rate(i.organization_id, i.currency, i.exchange_rate), b.decimals) as owed_base,
               0::numeric as unused, 0::numeric as unused_base
          from zoho.bills i
         cross join lateral (select tds.base_decimals(i.organization_id) as decimals offset 0) b
         where i.deleted_at is null and i.balance <> 0 and tds.counts_for_sums(i.payment_status)
         union all
        select n.organization_id, n.zoho_vendor_id, n.currency, 0, 0, 0, n.balance,
               round(n.balance * tds.base_rate(n.organization_id, n.currency, n.exchange_rate), b.decimals)
          from zoho.vendor_credits n
         cross join lateral (select tds.base_decimals(n.organization_id) as decimals offset 0) b
         where n.deleted_at is null and n.balance <> 0 and tds.counts_for_sums(n.status)
         union all
        select p.organization_id, p.zoho_vendor_id, p.currency, 0, 0, 0, p.unused_amount,
               round(p.unused_amount * tds.base_rate(p.organization_id, p.currency, p.exchange_rate), b.decimals)
          from zoho.vendor_payments p
         cross join lateral (select tds.base_decimals(p.organization_id) as decimals offset 0) b
         where p.deleted_at is null and p.unused_amount <> 0 and tds.counts_for_sums(p.status)) d
  left join zoho.contacts c on c.organization_id = d.organization_id and c.zoho_contact_id = d.vendor_id
 group by d.organization_id, d.vendor_id, c.name, d.currency;
comment on view public.tds_open_payables is
'What each vendor is owed, and what may still be settled with, by currency and in the base currency.';
comment on column public.tds_open_payables.organization_id is 'Zoho organisation.';
comment on column public.tds_open_payables.vendor_id is 'Zoho''s id of the vendor.';
comment on column public.tds_open_payables.vendor_name is 'Its name.';
comment on column public.tds_open_payables.currency is 'Currency of the documents.';
comment on column public.tds_open_payables.bills is 'How many bills are open.';
comment on column public.tds_open_payables.owed is 'Their balance.';
comment on column public.tds_open_payables.owed_base is
'The same in the base currency, each at its own rate; null: one of them tells no rate.';
comment on column public.tds_open_payables.unused_credits is 'What is left of vendor credits and payments.';
comment on column public.tds_open_payables.unused_credits_base is 'The same in the base currency; null: one of them tells no rate.';
comment on column public.tds_open_payables.balance_base is
'What is owed less what is left, in the base currency; null: not all of it is known.';

create or replace view tds.open_owner as
with recursive owner(id) as (
    -- from one to the next by the index of open invoices
    (select i.organization_id from zoho.invoices i
      where i.balance <> 0 and i.deleted_at is null and i.status is distinct from 'draft' and i.status is distinct from 'void'
      order by i.organization_id limit 1)
     union all
    select (select i.organization_id from zoho.invoices i
             where i.balance <> 0 and i.deleted_at is null and i.status is distinct from 'draft' and i.status is distinct from 'void'
               and i.organization_id > o.id
             order by i.organization_id limit 1)
      from owner o where o.id is not null)
select o.id as organization_id from owner o where o.id is not null;
comment on view tds.open_owner is 'The organisations that have open invoices, also those whose own record the mirror has not.';
comment on column tds.open_owner.organization_id is 'Zoho organisation.';

create or replace view public.tds_overdue_invoices as
select i.organization_id, i.zoho_invoice_id, i.invoice_number, i.zoho_customer_id as customer_id, i.customer_name, i.due_date,
       t.day - i.due_date as days_late, i.currency, i.balance,
       round(i.balance * tds.base_rate(i.organization_id, i.currency, i.exchange_rate), t.decimals) as balance_base
  from tds.open_owner o
 cross join lateral (select tds.day_of(o.organization_id, tds.now()) as day,
                            tds.base_decimals(o.organization_id) as decimals offset 0) t
  join zoho.invoices i on i.organization_id = o.organization_id and i.due_date < t.day
 where i.deleted_at is null and i.balance <> 0 and i.status is distinct from 'draft'
   and i.status is distinct from 'void' and tds.counts_for_sums(i.status);
comment on view public.tds_overdue_invoices is 'Invoices that are open and were due before today, in the organisation''s calendar.';
comment on column public.tds_overdue_invoices.organization_id is 'Zoho organisation.';
comment on column public.tds_overdue_invoices.zoho_invoice_id is 'Zoho''s id of the invoice.';
comment on column public.tds_overdue_invoices.invoice_number is 'Its number.';
comment on column public.tds_overdue_invoices.customer_id is 'Zoho''s id of the customer.';
comment on column public.tds_overdue_invoices.customer_name is 'Its name, as on the invoice.';
comment on column public.tds_overdue_invoices.due_date is 'When it was due.';
comment on column public.tds_overdue_invoices.days_late is 'Days since.';
comment on column public.tds_overdue_invoices.currency is 'Currency of the invoice.';
comment on column public.tds_overdue_invoices.balance is 'What is owed of it.';
comment on column public.tds_overdue_invoices.balance_base is 'The same in the base currency.';

create or replace view public.tds_receivables_ageing as
select v.organization_id, v.customer_id, c.name as customer_name, nullif(sum(v.owed), 'NaN') as total_base,
       nullif(coalesce(sum(v.owed) filter (where v.days <= 0), 0), 'NaN') as not_due,
       nullif(coalesce(sum(v.owed) filter (where v.days between 1 and 30), 0), 'NaN') as days_1_30,
       nullif(coalesce(sum(v.owed) filter (where v.days between 31 and 60), 0), 'NaN') as days_31_60,
       nullif(coalesce(sum(v.owed) filter (where v.days between 61 and 90), 0), 'NaN') as days_61_90,
       nullif(coalesce(sum(v.owed) filter (where v.days > 90), 0), 'NaN') as days_over_90
  from (select i.organization_id, i.zoho_customer_id as customer_id, t.day - coalesce(i.due_date, i.invoice_date) as days,
               -- what is not known makes its sums unknown, too
               coalesce(round(i.balance * tds.base_rate(i.organization_id, i.currency, i.exchange_rate), t.decimals), 'NaN') as owed
          from tds.open_owner o
         cross join lateral (select tds.day_of(o.organization_id, tds.now()) as day,
                                    tds.base_decimals(o.organization_id) as decimals offset 0) t
          join zoho.invoices i on i.organization_id = o.organization_id
         where i.deleted_at is null and i.balance <> 0 and i.status is distinct from 'draft'
           and i.status is distinct from 'void' and tds.counts_for_sums(i.status)) v
  left join zoho.contacts c on c.organization_id = v.organization_id and c.zoho_contact_id = v.customer_id
 group by v.organization_id, v.customer_id, c.name;
comment on view public.tds_receivables_ageing is
'What each customer owes in the base currency, by how long it has been due. A sum is null where one of its invoices tells no rate.';
comment on column public.tds_receivables_ageing.organization_id is 'Zoho organisation.';
comment on column public.tds_receivables_ageing.customer_id is 'Zoho''s id of the customer.';
comment on column public.tds_receivables_ageing.customer_name is 'Its name.';
comment on column public.tds_receivables_ageing.total_base is 'All that is owed.';
comment on column public.tds_receivables_ageing.not_due is 'Not due yet.';
comment on column public.tds_receivables_ageing.days_1_30 is 'Late by up to 30 days.';
comment on column public.tds_receivables_ageing.days_31_60 is 'By 31 to 60.';
comment on column public.tds_receivables_ageing.days_61_90 is 'By 61 to 90.';
comment on column public.tds_receivables_ageing.days_over_90 is 'By more.';

create or replace view public.tds_unallocated_payments as
select p.organization_id, 'customer' as party_kind, p.zoho_payment_id, p.payment_number, p.zoho_customer_id as party_id,
       p.customer_name as party_name, p.payment_date, p.currency, p.amount, p.unused_amount,
       round(p.unused_amount * tds.base_rate(p.organization_id, p.currency, p.exchange_rate), b.decimals) as unused_base
  from zoho.customer_payments p
 cross join lateral (select tds.base_decimals(p.organization_id) as decimals offset 0) b
 where p.deleted_at is null and p.unused_amount <> 0 and tds.counts_for_sums(p.zoho_metadata ->> 'payment_status')
 union all
select p.organization_id, 'vendor', p.zoho_payment_id, p.payment_number, p.zoho_vendor_id, p.vendor_name, p.payment_date, p.currency,
       p.amount, p.unused_amount, round(p.unused_amount * tds.base_rate(p.organization_id, p.currency, p.exchange_rate), b.decimals)
  from zoho.vendor_payments p
 cross join lateral (select tds.base_decimals(p.organization_id) as decimals offset 0) b
 where p.deleted_at is null and p.unused_amount <> 0 and tds.counts_for_sums(p.status);
comment on view public.tds_unallocated_payments is 'Payments of which something is left that no document has been paid with.';
comment on column public.tds_unallocated_payments.organization_id is 'Zoho organisation.';
comment on column public.tds_unallocated_payments.party_kind is 'customer or vendor.';
comment on column public.tds_unallocated_payments.zoho_payment_id is 'Zoho''s id of the payment.';
comment on column public.tds_unallocated_payments.payment_number is 'Its number.';
comment on column public.tds_unallocated_payments.party_id is 'Zoho''s id of who paid or was paid.';
comment on column public.tds_unallocated_payments.party_name is 'The name, as on the payment.';
comment on column public.tds_unallocated_payments.payment_date is 'Its day.';
comment on column public.tds_unallocated_payments.currency is 'Its currency.';
comment on column public.tds_unallocated_payments.amount is 'What was paid.';
comment on column public.tds_unallocated_payments.unused_amount is 'What is left of it.';
comment on column public.tds_unallocated_payments.unused_base is 'The same in the base currency.';

create or replace view public.tds_stock_value as
select p.organization_id, p.zoho_item_id, p.sku, p.name, p.stock_quantity, p.purchase_rate,
    round(p.stock_quantity * p.purchase_rate, b.decimals) as value_base
  from zoho.products p
 cross join lateral (select tds.base_decimals(p.organization_id) as decimals offset 0) b
 where p.deleted_at is null and p.stock_quantity <> 0;
comment on view public.tds_stock_value is
'What is in stock, at each product''s purchase rate of now (Zoho''s own valuation goes by what was paid: first in, first out).';
comment on column public.tds_stock_value.organization_id is 'Zoho organisation.';
comment on column public.tds_stock_value.zoho_item_id is 'Zoho''s id of the product.';
comment on column public.tds_stock_value.sku is 'Its SKU.';
comment on column public.tds_stock_value.name is 'Its name.';
comment on column public.tds_stock_value.stock_quantity is 'How much is in stock.';
comment on column public.tds_stock_value.purchase_rate is 'What one costs, in the base currency.';
comment on column public.tds_stock_value.value_base is 'What it is worth; null: the product has no purchase rate.';

create or replace view public.tds_customer_prices as
select c.organization_id, c.zoho_contact_id as customer_id, c.name as customer_name, c.zoho_pricebook_id, p.zoho_item_id, p.sku, p.name,
       coalesce(l.currency, p.currency) as currency,
       tds.price_of(p.zoho_item_id, c.zoho_pricebook_id, 1, null, c.organization_id) as price
  from zoho.customers c
  join zoho.pricelists l on l.organization_id = c.organization_id and l.zoho_pricebook_id = c.zoho_pricebook_id and l.deleted_at is null
  join zoho.products p on p.organization_id = c.organization_id and p.deleted_at is null and p.is_active
 where c.deleted_at is null;
comment on view public.tds_customer_prices is
'What one piece of each product costs a customer by its own price list; ask for one customer, or one product. No price is null.';
comment on column public.tds_customer_prices.organization_id is 'Zoho organisation.';
comment on column public.tds_customer_prices.customer_id is 'Zoho''s id of the customer.';
comment on column public.tds_customer_prices.customer_name is 'Its name.';
comment on column public.tds_customer_prices.zoho_pricebook_id is 'Its price list.';
comment on column public.tds_customer_prices.zoho_item_id is 'Zoho''s id of the product.';
comment on column public.tds_customer_prices.sku is 'Its SKU.';
comment on column public.tds_customer_prices.name is 'Its name.';
comment on column public.tds_customer_prices.currency is 'Currency of the price.';
comment on column public.tds_customer_prices.price is 'The price of one, as tds.price_of() says; null: the list gives none.';

create or replace function tds.sales_by_item(organization_id text, day_from date, day_to date)
returns table (month date, item_id text, quantity numeric, amount_base numeric)
language sql stable
as $$
    select date_trunc('month', l.day::timestamp)::date, l.item_id, sum(l.quantity),
           case when count(*) = count(l.base_amount) then sum(l.base_amount) end
      from tds.sales_lines($1, $2, $3) l
     group by 1, 2
$$;
comment on function tds.sales_by_item(text, date, date) is
'What was sold of each product in each month of these days, less what was credited: quantity, and amount in the base currency, net of '
'discounts, without tax. An amount is null where a part of it is not known; a row without item and amount: there are documents in that '
'month whose lines are not known.';

create or replace function tds.sales_by_customer(organization_id text, day_from date, day_to date)
returns table (month date, customer_id text, invoices bigint, amount_base numeric, with_tax_base numeric)
language sql stable
as $$
    select date_trunc('month', d.day::timestamp)::date, d.customer_id, count(*) filter (where d.sign = 1),
           case when count(*) = count(d.net * d.rate) then sum(d.sign * round(d.net * d.rate, b.decimals)) end,
           case when count(*) = count((d.net + d.tax) * d.rate) then sum(d.sign * round((d.net + d.tax) * d.rate, b.decimals)) end
      from tds.sales_documents($1, $2, $3) d
     cross join (select tds.base_decimals($1)) b(decimals)
     group by 1, 2
$$;
comment on function tds.sales_by_customer(text, date, date) is
'What was sold to each customer in each month of these days, less what was credited, in the base currency: without tax, and with it. An '
'amount is null where a part of it is not known.';

create or replace function tds.purchases_by_item(organization_id text, day_from date, day_to date)
returns table (month date, item_id text, quantity numeric, amount_base numeric)
language sql stable
as $$
    select date_trunc('month', l.day::timestamp)::date, l.item_id, sum(l.quantity),
           case when count(*) = count(l.base_amount) then sum(l.base_amount) end
      from tds.purchase_lines($1, $2, $3) l
     group by 1, 2
$$;
comment on function tds.purchases_by_item(text, date, date) is
'What was bought of each product in each month of these days, less what was credited by vendors. An amount is null where a part of it is '
'not known; a row without item and amount: there are documents in that month whose lines are not known.';

revoke all on function tds.base_rate(text, text, numeric),
    tds.sales_by_item(text, date, date), tds.sales_by_customer(text, date, date), tds.purchases_by_item(text, date, date) from public;
grant execute on function
    tds.base_rate(text, text, numeric), tds.base_currency(text), tds.base_decimals(text),
    tds.beside_lines(jsonb), tds.net_amount(numeric, numeric, numeric, jsonb), tds.counts_for_sums(text),
    tds.sales_by_item(text, date, date),
    tds.sales_by_customer(text, date, date), tds.purchases_by_item(text, date, date), tds.sales_lines(text, date, date),
    tds.sales_documents(text, date, date), tds.purchase_lines(text, date, date), tds.receivable_documents(text, date),
    tds.payable_documents(text, date), tds.customer_credits(text, date), tds.vendor_credits(text, date),
        tds.refunded_later(jsonb, text, date)
    to tds_reader, tds_operator;
