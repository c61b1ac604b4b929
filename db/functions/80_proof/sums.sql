-- The sums that accounts are made of, from the mirror: what is owed, what was traded. Zoho's reports are compared with them, and an
-- ERP's reports are made of them.

create or replace function tds.counts_for_sums(status text) returns boolean
language sql immutable parallel safe
as $$
    select $1 is distinct from 'draft' and $1 is distinct from 'void' and $1 is distinct from 'pending_approval'
       and $1 is distinct from 'rejected'
$$;
comment on function tds.counts_for_sums(text) is
'Whether a document of that status counts: a draft, one that waits for approval or was refused it and a void one do not, though they may '
'show a balance.';

create or replace function tds.base_currency(organization_id text) returns text
language sql stable parallel safe
as $$
    -- Zoho lists every organisation that the token's user belongs to
    select coalesce((select min(o.currency) from zoho.organizations o
                      where o.organization_id = $1 and (o.zoho_organization_id = $1 or $1 = 'default')
                        and o.deleted_at is null),
                    (select min(c.code) from zoho.currencies c where c.organization_id = $1 and c.is_base and c.deleted_at is null))
$$;
comment on function tds.base_currency(text) is 'The currency that an organisation keeps its books in; null: not known.';

create or replace function tds.base_decimals(organization_id text) returns int
language sql stable parallel safe
as $$
    -- by its key: it is asked for each amount
    select coalesce((select o.price_precision::int from zoho.organizations o
                      where o.organization_id = $1 and o.zoho_organization_id = $1 and o.deleted_at is null
                        and o.price_precision between 0 and 6),
                    (select min(o.price_precision)::int from zoho.organizations o
                      where $1 = 'default' and o.organization_id = $1 and o.deleted_at is null and o.price_precision between 0 and 6),
                    (select min(c.price_precision)::int from zoho.currencies c
                      where c.organization_id = $1 and c.is_base and c.deleted_at is null and c.price_precision between 0 and 6), 2)
$$;
comment on function tds.base_decimals(text) is
'Decimals of amounts in the currency that an organisation keeps its books in (3 of dinars, none of yen); 2 while that is not known.';

create or replace function tds.beside_lines(doc jsonb) returns numeric
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
    v_kind     constant text := beside_lines.doc ->> 'discount_type';
    v_discount constant numeric := coalesce(tds.amount_of(beside_lines.doc -> 'discount_total'),
                                            tds.amount_of(beside_lines.doc -> 'discount_amount'),
                                            case when coalesce(tds.amount_of(beside_lines.doc -> 'discount'), 0) = 0 then 0 end);
    v_lines    constant numeric := tds.amount_of(beside_lines.doc -> 'sub_total')
                                   - case when v_kind = 'entity_level' then v_discount else 0 end;
    v_tax      constant numeric := tds.amount_of(beside_lines.doc -> 'tax_total');
    v_held     constant numeric := case when beside_lines.doc ->> 'is_inclusive_tax' = 'true' then v_tax else 0 end;
    v_rounding constant numeric := coalesce(tds.amount_of(beside_lines.doc -> 'roundoff_value'), 0);
    v_source   constant numeric := coalesce(tds.amount_of(beside_lines.doc -> 'tcs_amount'), 0)
                                   - coalesce(tds.amount_of(beside_lines.doc -> 'tds_amount'), 0);
    v_total    constant numeric := tds.amount_of(beside_lines.doc -> 'total') - v_tax
                                   - coalesce(tds.amount_of(beside_lines.doc -> 'shipping_charge'), 0)
                                   - coalesce(tds.amount_of(beside_lines.doc -> 'adjustment'), 0);
begin
    -- discounts of lines that come after the tax, and taxes that the prices hold, are in no subtotal
    if v_held = 0 and v_total - v_lines is not null
       and (v_kind = 'entity_level'
            or v_kind = 'item_level' and (v_discount = 0 or beside_lines.doc ->> 'is_discount_before_tax' is distinct from 'false')) then
        return v_total - v_lines;
    end if;
    return v_rounding + case when v_total - v_rounding not in (v_lines, v_lines - v_held)
                                  and v_total - v_rounding - v_source in (v_lines, v_lines - v_held) then v_source else 0 end;
end
$$;
comment on function tds.beside_lines(jsonb) is
'What a document''s total has besides its lines, their discounts, its taxes, shipping and adjustment: rounding, and what is withheld or '
'collected at the source. Its lines are its subtotal less a discount of the whole document, but where prices hold their taxes, or a '
'discount comes after them: there the rounding, and what is at the source if the total has it.';

create or replace function tds.net_amount(subtotal numeric, discount numeric, net numeric, doc jsonb) returns numeric
language sql immutable parallel safe
as $$ select case when $3 in ($1, $1 - $2) then $3 else $3 - coalesce(tds.beside_lines($4), 0) end $$;
comment on function tds.net_amount(numeric, numeric, numeric, jsonb) is
'What a document sells or buys, of its total without tax, shipping and adjustment; the document is read only where that is neither its '
'subtotal nor the subtotal less its discount.';

create or replace function tds.receivable_documents(organization_id text, day date)
returns table (customer_id text, invoice_id text, invoice_number text, status text, currency text, rate numeric, due_date date,
               owed numeric)
language sql stable
as $$
    select i.zoho_customer_id, i.zoho_invoice_id, i.invoice_number, i.status, i.currency,
           coalesce(i.exchange_rate, case when i.currency = b.code then 1 end), i.due_date, i.balance + coalesce(l.amount, 0)
      from zoho.invoices i
     cross join (select tds.base_currency($1)) b(code)
      left join (select u.zoho_invoice_id, sum(u.amount) as amount
                   from (select a.zoho_invoice_id, a.amount + coalesce(a.tax_withheld, 0) as amount
                           from zoho.customer_payment_invoices a
                           join zoho.customer_payments p on p.organization_id = a.organization_id and p.zoho_payment_id = a.zoho_payment_id
                          where a.organization_id = $1 and coalesce(a.applied_on, p.payment_date) > $2 and p.deleted_at is null
                            and tds.counts_for_sums(p.zoho_metadata ->> 'payment_status')
                          union all
                         select a.zoho_invoice_id, a.amount
                           from zoho.credit_note_invoices a
                           join zoho.credit_notes n on n.organization_id = a.organization_id and n.zoho_creditnote_id = a.zoho_creditnote_id
                          where a.organization_id = $1 and coalesce(a.credited_on, n.credit_note_date) > $2 and n.deleted_at is null
                            and tds.counts_for_sums(n.status)) u
                  group by u.zoho_invoice_id) l on l.zoho_invoice_id = i.zoho_invoice_id
     where i.organization_id = $1 and i.deleted_at is null and tds.counts_for_sums(i.status) and i.invoice_date <= $2
       and i.balance + coalesce(l.amount, 0) <> 0
$$;
comment on function tds.receivable_documents(text, date) is
'The invoices that were open at the end of a day: their balance, and what was paid or credited on them later.';

create or replace function tds.payable_documents(organization_id text, day date)
returns table (vendor_id text, bill_id text, bill_number text, status text, currency text, rate numeric, due_date date, owed numeric)
language sql stable
as $$
    select i.zoho_vendor_id, i.zoho_bill_id, i.bill_number, i.payment_status, i.currency,
           coalesce(i.exchange_rate, case when i.currency = b.code then 1 end), i.due_date, i.balance + coalesce(l.amount, 0)
      from zoho.bills i
     cross join (select tds.base_currency($1)) b(code)
      left join (select u.zoho_bill_id, sum(u.amount) as amount
                   from (select a.zoho_bill_id, a.amount + coalesce(a.tax_withheld, 0) as amount
                           from zoho.vendor_payment_bills a
                           join zoho.vendor_payments p on p.organization_id = a.organization_id and p.zoho_payment_id = a.zoho_payment_id
                          where a.organization_id = $1 and coalesce(a.applied_on, p.payment_date) > $2 and p.deleted_at is null
                            and tds.counts_for_sums(p.status)
                          union all
                         select a.zoho_bill_id, a.amount
                           from zoho.vendor_credit_bills a
                           join zoho.vendor_credits n on n.organization_id = a.organization_id
                            and n.zoho_vendor_credit_id = a.zoho_vendor_credit_id
                          where a.organization_id = $1 and coalesce(a.credited_on, n.credit_date) > $2 and n.deleted_at is null
                            and tds.counts_for_sums(n.status)) u
                  group by u.zoho_bill_id) l on l.zoho_bill_id = i.zoho_bill_id
     where i.organization_id = $1 and i.deleted_at is null and tds.counts_for_sums(i.payment_status) and i.bill_date <= $2
       and i.balance + coalesce(l.amount, 0) <> 0
$$;
comment on function tds.payable_documents(text, date) is
'The bills that were open at the end of a day: their balance, and what was paid or credited on them later.';

create or replace function tds.refunded_later(doc jsonb, list_key text, day date) returns numeric
language sql immutable parallel safe
as $$
    select coalesce(sum(tds.amount_of(r.doc -> 'amount_fcy')), 0)
      from jsonb_array_elements(case jsonb_typeof($1 -> $2) when 'array' then $1 -> $2 else '[]' end) r(doc)
     where r.doc ->> 'date' > $3::text
$$;
comment on function tds.refunded_later(jsonb, text, date) is 'What a document''s refunds gave back after a day, in its currency.';

create or replace function tds.customer_credits(organization_id text, day date)
returns table (customer_id text, entity text, zoho_id text, number text, currency text, rate numeric, unused numeric)
language sql stable
as $$
    select c.customer_id, c.entity, c.zoho_id, c.number, c.currency, c.rate, c.unused
      from (select n.zoho_customer_id, 'credit_notes', n.zoho_creditnote_id, n.credit_note_number, n.currency,
                   coalesce(n.exchange_rate, case when n.currency = tds.base_currency($1) then 1 end),
                   n.balance + coalesce((select sum(a.amount) from zoho.credit_note_invoices a
                                          where a.organization_id = $1 and a.zoho_creditnote_id = n.zoho_creditnote_id
                                            and a.credited_on > $2), 0)
                   + case when n.amount_refunded <> 0 then tds.refunded_later(n.zoho_metadata, 'creditnote_refunds', $2) else 0 end
              from zoho.credit_notes n
             where n.organization_id = $1 and n.deleted_at is null and tds.counts_for_sums(n.status) and n.credit_note_date <= $2
             union all
            select p.zoho_customer_id, 'payments', p.zoho_payment_id, p.payment_number, p.currency,
                   coalesce(p.exchange_rate, case when p.currency = tds.base_currency($1) then 1 end),
                   p.unused_amount + l.later + case when p.amount <> p.unused_amount + l.applied
                                                    then tds.refunded_later(p.zoho_metadata, 'payment_refunds', $2) else 0 end
              from zoho.customer_payments p
             cross join lateral (select coalesce(sum(a.amount) filter (where coalesce(a.applied_on, p.payment_date) > $2), 0),
                                        coalesce(sum(a.amount), 0)
                                   from zoho.customer_payment_invoices a
                                  where a.organization_id = $1 and a.zoho_payment_id = p.zoho_payment_id) l(later, applied)
             where p.organization_id = $1 and p.deleted_at is null and p.payment_date <= $2
               and tds.counts_for_sums(p.zoho_metadata ->> 'payment_status')) c(
               customer_id, entity, zoho_id, number, currency, rate, unused)
     where c.unused <> 0
$$;
comment on function tds.customer_credits(text, date) is
'What customers could still be credited at the end of a day: credit notes and payments, without what was applied or refunded by then.';

create or replace function tds.vendor_credits(organization_id text, day date)
returns table (vendor_id text, entity text, zoho_id text, number text, currency text, rate numeric, unused numeric)
language sql stable
as $$
    select c.vendor_id, c.entity, c.zoho_id, c.number, c.currency, c.rate, c.unused
      from (select n.zoho_vendor_id, 'vendor_credits', n.zoho_vendor_credit_id, n.vendor_credit_number, n.currency,
                   coalesce(n.exchange_rate, case when n.currency = tds.base_currency($1) then 1 end),
                   n.balance + coalesce((select sum(a.amount) from zoho.vendor_credit_bills a
                                          where a.organization_id = $1 and a.zoho_vendor_credit_id = n.zoho_vendor_credit_id
                                            and a.credited_on > $2), 0)
                   + case when n.amount_refunded <> 0 then tds.refunded_later(n.zoho_metadata, 'vendor_credit_refunds', $2) else 0 end
              from zoho.vendor_credits n
             where n.organization_id = $1 and n.deleted_at is null and tds.counts_for_sums(n.status) and n.credit_date <= $2
             union all
            select p.zoho_vendor_id, 'vendor_payments', p.zoho_payment_id, p.payment_number, p.currency,
                   coalesce(p.exchange_rate, case when p.currency = tds.base_currency($1) then 1 end),
                   p.unused_amount + l.later + case when p.amount <> p.unused_amount + l.applied
                                                    then tds.refunded_later(p.zoho_metadata, 'vendorpayment_refunds', $2) else 0 end
              from zoho.vendor_payments p
             cross join lateral (select coalesce(sum(a.amount) filter (where coalesce(a.applied_on, p.payment_date) > $2), 0),
                                        coalesce(sum(a.amount), 0)
                                   from zoho.vendor_payment_bills a
                                  where a.organization_id = $1 and a.zoho_payment_id = p.zoho_payment_id) l(later, applied)
             where p.organization_id = $1 and p.deleted_at is null and p.payment_date <= $2 and tds.counts_for_sums(p.status)) c(
               vendor_id, entity, zoho_id, number, currency, rate, unused)
     where c.unused <> 0
$$;
comment on function tds.vendor_credits(text, date) is
'What bills could still be settled with at the end of a day: vendor credits and payments, without what was applied or refunded by then.';

create or replace function tds.sales_documents(organization_id text, day_from date, day_to date)
returns table (entity text, sign int, zoho_id text, number text, day date, customer_id text, currency text, rate numeric,
               subtotal numeric, net numeric, tax numeric)
language sql stable
as $$
    select 'invoices', 1, i.zoho_invoice_id, i.invoice_number, i.invoice_date, i.zoho_customer_id, i.currency,
           coalesce(i.exchange_rate, case when i.currency = tds.base_currency($1) then 1 end), i.subtotal,
           tds.net_amount(i.subtotal, i.discount_amount,
                          i.total_amount - i.tax_total - coalesce(i.shipping_charge, 0) - coalesce(i.adjustment, 0), i.zoho_metadata),
           i.tax_total
      from zoho.invoices i
     where i.organization_id = $1 and i.invoice_date between $2 and $3 and i.deleted_at is null and tds.counts_for_sums(i.status)
     union all
    select 'credit_notes', -1, i.zoho_creditnote_id, i.credit_note_number, i.credit_note_date, i.zoho_customer_id, i.currency,
           coalesce(i.exchange_rate, case when i.currency = tds.base_currency($1) then 1 end), i.subtotal,
           tds.net_amount(i.subtotal, i.discount_amount,
                          i.total_amount - i.tax_total - coalesce(i.shipping_charge, 0) - coalesce(i.adjustment, 0), i.zoho_metadata),
           i.tax_total
      from zoho.credit_notes i
     where i.organization_id = $1 and i.credit_note_date between $2 and $3 and i.deleted_at is null and tds.counts_for_sums(i.status)
$$;
comment on function tds.sales_documents(text, date, date) is
'Invoices (sign 1) and credit notes (-1) of these days, as they count: net is without tax, shipping, adjustment, rounding and what is '
'withheld or collected at the source, after all discounts.';

create or replace function tds.sales_lines(organization_id text, day_from date, day_to date)
returns table (entity text, sign int, zoho_id text, number text, day date, customer_id text, item_id text, quantity numeric,
               currency text, amount numeric, base_amount numeric, is_exact boolean)
language sql stable
as $$
    select d.entity, d.sign, d.zoho_id, d.number, d.day, d.customer_id, l.zoho_item_id, d.sign * l.quantity, d.currency,
           d.sign * round(l.total_amount * s.share, 6), d.sign * round(l.total_amount * s.share * d.rate, b.decimals),
           d.rate = 1 and s.share = 1
      from tds.sales_documents($1, $2, $3) d
     cross join (select tds.base_decimals($1)) b(decimals)
     cross join lateral (select case when d.net = d.subtotal then 1 else d.net / nullif(d.subtotal, 0) end) s(share)
      left join lateral (
           select true as is_known, i.zoho_item_id, i.quantity, i.total_amount from zoho.invoice_line_items i
            where d.sign = 1 and i.organization_id = $1 and i.zoho_invoice_id = d.zoho_id
            union all
           select true, n.zoho_item_id, n.quantity, n.total_amount from zoho.credit_note_line_items n
            where d.sign = -1 and n.organization_id = $1 and n.zoho_creditnote_id = d.zoho_id) l on true
     -- one that sells nothing may have no lines; of any other they are not known, whatever it says that they add up to
     where l.is_known or d.subtotal is distinct from 0
$$;
comment on function tds.sales_lines(text, date, date) is
'The lines of these invoices and credit notes, negative where they were credited: net of discounts, without tax; base_amount in the base '
'currency. is_exact: nothing was converted or shared out. Of a document whose lines are not known, a row without item and amount.';

create or replace function tds.purchase_lines(organization_id text, day_from date, day_to date)
returns table (entity text, sign int, zoho_id text, number text, day date, vendor_id text, item_id text, quantity numeric,
               currency text, amount numeric, base_amount numeric, is_exact boolean)
language sql stable
as $$
    select d.entity, d.sign, d.zoho_id, d.number, d.day, d.vendor_id, l.zoho_item_id, d.sign * l.quantity, d.currency,
           d.sign * round(l.total_amount * s.share, 6), d.sign * round(l.total_amount * s.share * d.rate, b.decimals),
           d.rate = 1 and s.share = 1
      from (select 'bills', 1, i.zoho_bill_id, i.bill_number, i.bill_date, i.zoho_vendor_id, i.currency,
                   coalesce(i.exchange_rate, case when i.currency = tds.base_currency($1) then 1 end), i.subtotal,
                   tds.net_amount(i.subtotal, i.discount_amount, i.total_amount - i.tax_total - coalesce(i.adjustment, 0), i.zoho_metadata)
              from zoho.bills i
             where i.organization_id = $1 and i.bill_date between $2 and $3 and i.deleted_at is null
               and tds.counts_for_sums(i.payment_status)
             union all
            select 'vendor_credits', -1, i.zoho_vendor_credit_id, i.vendor_credit_number, i.credit_date, i.zoho_vendor_id, i.currency,
                   coalesce(i.exchange_rate, case when i.currency = tds.base_currency($1) then 1 end), i.subtotal,
                   tds.net_amount(i.subtotal, i.discount_amount, i.total_amount - i.tax_total - coalesce(i.adjustment, 0), i.zoho_metadata)
              from zoho.vendor_credits i
             where i.organization_id = $1 and i.credit_date between $2 and $3 and i.deleted_at is null
               and tds.counts_for_sums(i.status)) d(entity, sign, zoho_id, number, day, vendor_id, currency, rate, subtotal, net)
     cross join (select tds.base_decimals($1)) b(decimals)
     cross join lateral (select case when d.net = d.subtotal then 1 else d.net / nullif(d.subtotal, 0) end) s(share)
      left join lateral (
           select true as is_known, i.zoho_item_id, i.quantity, i.total_amount from zoho.bill_line_items i
            where d.sign = 1 and i.organization_id = $1 and i.zoho_bill_id = d.zoho_id
            union all
           select true, n.zoho_item_id, n.quantity, n.total_amount from zoho.vendor_credit_line_items n
            where d.sign = -1 and n.organization_id = $1 and n.zoho_vendor_credit_id = d.zoho_id) l on true
     -- one that buys nothing may have no lines; of any other they are not known, whatever it says that they add up to
     where l.is_known or d.subtotal is distinct from 0
$$;
comment on function tds.purchase_lines(text, date, date) is
'The lines of the bills and vendor credits of these days, as tds.sales_lines().';
