-- What invoices, bills, credit notes and orders have in common: discounts, lines, and the arithmetic that must hold. A
-- document that does not add up is kept as it is and flagged; tds_document_mismatches lists them.

create or replace function tds.discount_amount(amount jsonb, total jsonb, discount jsonb) returns numeric
language sql immutable parallel safe
as $$
    select coalesce(nullif(tds.json_number($1), 0), tds.json_number($2), tds.json_number($1),
                    case when jsonb_typeof($3) = 'string' and $3 #>> '{}' like '%\%' then null else tds.json_number($3) end)
$$;
comment on function tds.discount_amount(jsonb, jsonb, jsonb) is
'A document''s discount as an amount: discount_amount, else discount_total, else discount unless that is a percentage.';

create or replace function tds.amount_of(value jsonb) returns numeric
language sql immutable parallel safe
as $$ select case when jsonb_typeof($1) = 'number' then $1::numeric
                  when jsonb_typeof($1) = 'string' and tds.is_number($1 ->> 0) then translate($1 ->> 0, ',%', '')::numeric end $$;
comment on function tds.amount_of(jsonb) is 'A number for the arithmetic checks, null where there is none: the readers refuse what is bad.';

create or replace function tds.precision_of_currency(doc jsonb, organization_id text) returns int
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_told constant numeric := tds.amount_of(precision_of_currency.doc -> 'price_precision');
begin
    if v_told between 0 and 6 then
        return v_told::int;
    end if;
    return coalesce(
        (select c.price_precision::int
           from zoho.currencies c
          where c.organization_id = precision_of_currency.organization_id
            and c.price_precision between 0 and 6
            and c.deleted_at is null
            and (c.zoho_currency_id = precision_of_currency.doc ->> 'currency_id' or c.code = precision_of_currency.doc ->> 'currency_code')
          order by c.zoho_currency_id = precision_of_currency.doc ->> 'currency_id' desc nulls last, c.zoho_currency_id
          limit 1), 2);
end
$$;
comment on function tds.precision_of_currency(jsonb, text) is
'Decimals of the amounts of a document that does not plainly tell them: those of its currency as the organisation has it, else 2.';

create or replace function tds.precision_of(doc jsonb, organization_id text) returns int
language sql stable parallel safe
as $$ select case when jsonb_typeof($1 -> 'price_precision') = 'number' and ($1 -> 'price_precision')::numeric between 0 and 6
                  then ($1 -> 'price_precision')::int else tds.precision_of_currency($1, $2) end $$;
comment on function tds.precision_of(jsonb, text) is
'Decimals of a document''s amounts: its price_precision, else its currency''s, which is looked up only then, else 2.';

create or replace function tds.expected_sums(doc jsonb, payments text[])
returns table (subtotal numeric, total numeric, balance numeric)
language sql stable parallel safe rows 1
as $$
    -- offset 0: each amount is read once, not once a mention
    select case when $1 -> 'line_items' in ('[]', 'null', '""') then 0
                when jsonb_typeof($1 -> 'line_items') = 'array' and a.holds_taxes is distinct from 'true' then
               (select sum(tds.amount_of(e.doc -> 'item_total')) from jsonb_array_elements($1 -> 'line_items') e(doc)) end,
           -- what is withheld or collected at the source is in the total or not: either reading may be the document's
           case when a.holds_taxes is distinct from 'true' and ($1 ? 'discount_type' or a.discount_total = 0)
                then t.total + case when t.total <> a.total and t.total + a.at_source = a.total then a.at_source else 0 end end,
           case when $1 ->> 'status' not in ('void', 'draft') and tds.amount_of($1 -> $2[1]) is not null
                then a.total - (select sum(coalesce(tds.amount_of($1 -> p.key), 0)) from unnest($2) p(key)) end
      from (select $1 ->> 'is_inclusive_tax' as holds_taxes, tds.amount_of($1 -> 'sub_total') as sub_total,
                   tds.amount_of($1 -> 'discount_total') as discount_total, tds.amount_of($1 -> 'tax_total') as tax_total,
                   coalesce(tds.amount_of($1 -> 'shipping_charge'), 0) + coalesce(tds.amount_of($1 -> 'adjustment'), 0)
                   + coalesce(tds.amount_of($1 -> 'roundoff_value'), 0) as charges,
                   coalesce(tds.amount_of($1 -> 'tcs_amount'), 0) - coalesce(tds.amount_of($1 -> 'tds_amount'), 0) as at_source,
                   tds.amount_of($1 -> 'total') as total
            offset 0) a
     cross join lateral (select
           a.sub_total
           -- a list row's 10 % or 10 without the amount it makes cannot be told from one another
           - case when $1 ->> 'discount_type' is distinct from 'entity_level' then 0
                  else coalesce(a.discount_total, tds.amount_of($1 -> 'discount_amount'),
                                case when coalesce(tds.amount_of($1 -> 'discount'), 0) = 0 then 0 end) end
           + a.tax_total + a.charges as total
            offset 0) t
    offset 0
$$;
comment on function tds.expected_sums(jsonb, text[]) is
'What the other amounts of a document make of three of them; null where one is unknown. subtotal: what its lines add up to, nothing where '
'it tells of none; null where they hold their taxes. total: sub_total, less a discount of the whole document, plus tax, shipping, '
'adjustment and rounding, and tcs_amount less tds_amount where the document''s total has them; null where prices hold their taxes. '
'balance: the total less what was paid, credited or written off (payments: their keys); null where the first of them is unknown (lists '
'tell what was written off, but not what was paid), and for void and draft documents. One row, so that it can be joined laterally; the '
'planner puts its text in the place of the call.';

create or replace function tds.differs(expected numeric, told jsonb, doc jsonb, organization_id text) returns boolean
language sql stable parallel safe
as $$ select round($1 - tds.amount_of($2), tds.precision_of($3, $4)) <> 0 $$;
comment on function tds.differs(numeric, jsonb, jsonb, text) is
'Whether two amounts differ in the document''s precision; null where either is unknown.';

create or replace function tds.is_certain(doc jsonb, doubts text[]) returns boolean
language sql immutable parallel safe
as $$
    select case when not exists (select from unnest($2) k(key)
                                  where tds.amount_of($1 -> k.key) <> 0 or $1 ->> k.key = 'true')
                 and ($1 ->> 'discount_type' = 'item_level' and $1 ->> 'is_discount_before_tax' = 'false'
                      and tds.amount_of($1 -> 'discount_total') <> 0) is not true
                then true end
$$;
comment on function tds.is_certain(jsonb, text[]) is
'True where nothing in a document makes it add up in another way than expected: none of these keys has an amount (or is true), and no '
'discount of the lines comes after the tax; null otherwise. Asked only of what differs.';

create or replace function tds.doubts(column_name text) returns text[]
language sql immutable parallel safe
as $$
    select case $1
        -- withheld or collected at the source, owed by the buyer instead of the seller, or added for the freight: in the total, or not
        when 'total_differs' then '{tds_total,tcs_total,tds_amount,tcs_amount,is_tds_applied,tax_amount_withheld,total_retention_amount,
                                    is_reverse_charge_applied,shipping_charge_tax}'::text[]
        -- held back, or let off for paying early
        when 'balance_differs' then '{tds_total,tcs_total,tds_amount,tcs_amount,total_retention_amount,payment_discount,
                                      unprocessed_payment_amount}'
        else '{}' end
$$;
comment on function tds.doubts(text) is
'Keys of amounts of which Zoho''s documents do not say how they enter a sum: a document that has one and does not add up is not flagged.';

create or replace function tds.balance_keys(entity text) returns text[]
language sql immutable parallel safe
as $$
    select case $1
        when 'invoices' then '{payment_made,credits_applied,write_off_amount,tax_amount_withheld}'::text[]
        when 'bills' then '{payment_made,vendor_credits_applied,tax_amount_withheld}'
        else '{total_credits_used,total_refunded_amount}' end
$$;
comment on function tds.balance_keys(text) is
'The keys of what reduces a document''s balance, first the one without which nothing can be said.';

create or replace function tds.is_of_one_version(doc jsonb, layers jsonb, modified_at timestamptz, keys text[]) returns boolean
language sql stable parallel safe
as $$
    select count(distinct case when l.keys is null then coalesce($3, '-infinity') else coalesce(l.m, '-infinity') end) < 2
      from unnest($4) k(key)
      left join lateral (select l.m, l.keys from jsonb_to_recordset($2) l(m timestamptz, keys jsonb) where l.keys ? k.key limit 1) l on true
     where $1 ? k.key
$$;
comment on function tds.is_of_one_version(jsonb, jsonb, timestamptz, text[]) is
'Whether these keys of a merged document were told of the same edit (see tds.record_state): a list row''s new balance and what an '
'older detail says was paid do not belong together.';

create or replace function tds.add_check(entity text, what text, told text, keys text[], description text) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_column constant text := add_check.what || '_differs';
begin
    perform tds.derive(add_check.entity, '', v_column, format(
        $sql$case %swhen s.layers is null or jsonb_array_length(s.layers) = 1 and s.layers -> 0 -> 'keys' = '[]'
                      or tds.is_of_one_version(s.doc, s.layers, s.modified_at,
                                               %L)
                    then tds.differs(sums.%I, s.doc -> %L, s.doc, own.organization_id)
                     and tds.is_certain(s.doc, %L) end$sql$,
        case when add_check.what = 'subtotal' then E'when tds.lacks_elements(s.doc) then true\n                    ' else '' end,
        add_check.keys, add_check.what, add_check.told, tds.doubts(v_column)),
        add_check.description);
end
$$;
revoke all on function tds.add_check(text, text, text, text[], text) from public;
comment on function tds.add_check(text, text, text, text[], text) is
'Adds one arithmetic check: whether what is told under a key differs from what is expected, a column of tds.expected_sums(); null while '
'the keys it goes by are of several versions, and where there is reason for doubt (tds.doubts()).';

create or replace function tds.map_document(entity text) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    update tds.entity n
       set joins = n.joins || format('cross join lateral tds.expected_sums(s.doc, %L) sums', tds.balance_keys(n.entity))
     where n.entity = map_document.entity;
    perform tds.add_check(map_document.entity, 'subtotal', 'sub_total', '{line_items,is_inclusive_tax,sub_total}',
                          'Whether the lines add up to something else than the subtotal; null while that is unknown.');
    perform tds.add_check(map_document.entity, 'total', 'total',
                          '{sub_total,discount_type,discount_total,discount_amount,tax_total,'
                          'shipping_charge,adjustment,roundoff_value,tds_amount,tcs_amount,total}',
                          'Whether subtotal, discount, taxes and charges make another total; null while that is unknown.');
    perform tds.add_check(map_document.entity, 'balance', 'balance',
                          tds.balance_keys(map_document.entity) || '{status,total,balance}'::text[],
                          'Whether the total less payments and credits is another balance; null while that is unknown.');
end
$$;
revoke all on function tds.map_document(text) from public;
comment on function tds.map_document(text) is
'Adds the arithmetic checks to an entity''s mapping.';

create or replace function tds.map_lines(entity text, target text, parent_column text) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    perform tds.map_child(map_lines.entity, 'line_items', map_lines.target, map_lines.parent_column, 'line_number', $x$
        line_item_id       id      zoho_line_item_id
        item_id            id      zoho_item_id
        name               text    name
        description        text    description
        account_name       text    account_name
        unit               text    unit
        quantity           number  quantity
        rate               number  rate
        discount           word    discount           50
        discount_amount    number  discount_amount
        tax_name           text    tax_name
        tax_percentage     number  tax_rate
        item_total         number  total_amount
    $x$);
    perform tds.link(map_lines.target, 'product_id', 'zoho_item_id', 'products', 'zoho_item_id');
    perform tds.sum_in_list(map_lines.entity, array[map_lines.target], 'total_amount', 'made of', 'total', 'sub_total');
end
$$;
revoke all on function tds.map_lines(text, text, text) from public;
comment on function tds.map_lines(text, text, text) is
'Maps the lines of a purchase or credit document, links them with their products, and holds their sum against the list.';

create or replace function tds.currency_changed() returns trigger
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    perform tds.check_anew(d.entity, new.organization_id, new.zoho_currency_id, array[old.code, new.code])
       from (select distinct d.entity from tds.derived d where d.list_key = '' and d.column_name like '%\_differs' order by 1) d;
    return null;
end
$$;
revoke all on function tds.currency_changed() from public;
comment on function tds.currency_changed() is 'Trigger: documents that were told before their currency was are checked in its decimals.';

-- 2 is what is taken while a currency is unknown
create or replace trigger currency_is_new after insert on zoho.currencies
    for each row when (new.price_precision <> 2) execute function tds.currency_changed();
create or replace trigger currency_is_another after update on zoho.currencies
    for each row when ((old.code, old.price_precision, old.deleted_at is null) is distinct
                       from (new.code, new.price_precision, new.deleted_at is null))
    execute function tds.currency_changed();
