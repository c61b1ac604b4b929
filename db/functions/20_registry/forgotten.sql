-- What describes a person in a record, and the record without it. Kept is what bookkeeping needs: ids, numbers, sums, dates, statuses,
-- and the goods of a document's lines.

create or replace function tds.bookkeeping_keys() returns text[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return array(
        select distinct f.key from tds.field f
         where f.reader in ('id', 'word', 'date', 'time', 'boolean')
           and f.list_key not in ('addresses', 'billing_address', 'shipping_address', 'contact_persons')
         order by f.key)
        || '{payment_mode,payment_terms_label,tax_type,discount_type,contact_type,pricebook_name}'::text[];
end
$$;
revoke all on function tds.bookkeeping_keys() from public;
comment on function tds.bookkeeping_keys() is
'The keys whose texts are bookkeeping''s: ids, codes, statuses, days and moments of the mapping.';

create or replace function tds.is_personal(key text, value jsonb, depth int, kept text[]) returns boolean
language sql immutable parallel safe
as $$
    select case jsonb_typeof($2)
        when 'number' then $1 ~ '(phone|mobile|fax|zip|birth|tax_reg|vat_reg|gst_no|ssn|iban|^cf_)'
        when 'string' then
            not ($1 ~ '(^|_)ids?$' or $1 = any ($4)
                 or $1 ~ '(invoice|bill|order|note|credit|payment|estimate|reference|pricebook)_?numbers?$'
                 or $1 ~ '(^|_)(status|type)$' or $1 ~ '^(currency|tax)_(code|symbol|name|type)$'
                 or $3 > 0 and $1 in ('name', 'item_name', 'sku', 'unit', 'tax_name', 'account_name', 'item_type', 'product_type')
                 or $1 !~ '(phone|mobile|fax|zip|birth|tax_reg|vat_reg|gst_no|ssn|iban|account_number|^cf_)'
                    and ($2 ->> 0 ~ '^(|true|false|-?[0-9]+([.,][0-9]+)*%?|[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9:.+Zz-]+)?)$'
                         or $1 ~ '(amount|total|balance|rate|price|date|time)_formatted$'))
        else false end
$$;
comment on function tds.is_personal(text, jsonb, int, text[]) is
'Whether a value of a person''s record describes the person: every text but what bookkeeping keeps. kept: tds.bookkeeping_keys(); depth: 0 '
'for the record''s own keys.';

create or replace function tds.is_all_personal(key text) returns boolean
language sql immutable parallel safe
as $$
    select $1 ~ ('^(contact_persons.*|custom_fields?|custom_field_hash|item_custom_fields|addresses|.*address|documents|notes|comments|'
                 'tags|social.*|bank_accounts|cards)$')
$$;
comment on function tds.is_all_personal(text) is 'Whether all that stands under a key of a person''s record describes the person.';

create or replace function tds.without_person(value jsonb, key text, depth int, kept text[]) returns jsonb
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
begin
    case jsonb_typeof(without_person.value)
    when 'object' then
        if tds.is_all_personal(without_person.key) then
            return '{}'::jsonb;
        end if;
        return (select coalesce(jsonb_object_agg(e.key, tds.without_person(e.value, e.key, without_person.depth + 1,
            without_person.kept)), '{}')
                  from jsonb_each(without_person.value) e);
    when 'array' then
        if tds.is_all_personal(without_person.key) then
            return '[]'::jsonb;
        end if;
        return (select coalesce(jsonb_agg(tds.without_person(e.doc, without_person.key, without_person.depth, without_person.kept)
            order by e.n),
                                '[]')
                  from jsonb_array_elements(without_person.value) with ordinality e(doc, n));
    else
        return case when not (tds.is_personal(without_person.key, without_person.value, without_person.depth - 1, without_person.kept)
                              or tds.is_all_personal(without_person.key)) then without_person.value
                    when jsonb_typeof(without_person.value) <> 'string' then 'null'::jsonb
                    when without_person.value = '""' then without_person.value
                    when without_person.key ~ 'name$' then '"[forgotten]"'::jsonb
                    else '""'::jsonb end;
    end case;
end
$$;
comment on function tds.without_person(jsonb, text, int, text[]) is
'A person''s record (key empty, depth 0) or a value of it, without what describes the person. Names become [forgotten], other texts empty.';

create or replace function tds.personal_values(value jsonb, key text, depth int, inside boolean, kept text[])
returns table (from_key text, told text)
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
    v_inside constant boolean := personal_values.inside or tds.is_all_personal(personal_values.key);
    v_nested jsonb;
begin
    case jsonb_typeof(personal_values.value)
    when 'object' then
        return query
        select l.* from jsonb_each(personal_values.value) e
         cross join lateral tds.personal_values(e.value, e.key, personal_values.depth + 1, v_inside, personal_values.kept) l
         union all
        select 'full_name', f.full_name
          from (select concat_ws(' ', nullif(btrim(personal_values.value ->> 'first_name'), ''),
                                 nullif(btrim(personal_values.value ->> 'last_name'), '')) as full_name) f
         where f.full_name <> '';
    when 'array' then
        return query
        select l.* from jsonb_array_elements(personal_values.value) e(doc)
         cross join lateral tds.personal_values(e.doc, personal_values.key, personal_values.depth, v_inside, personal_values.kept) l;
    when 'string', 'number' then
        if tds.is_personal(personal_values.key, personal_values.value, personal_values.depth - 1, personal_values.kept)
           or v_inside and personal_values.key !~ '(^|_)ids?$' and jsonb_typeof(personal_values.value) = 'string' then
            v_nested := case when personal_values.value ->> 0 ~ '^\s*[\[{"]' then tds.json_inside(personal_values.value ->> 0) end;
            if v_nested is not null and jsonb_typeof(v_nested) in ('object', 'array') then
                return query select l.* from tds.personal_values(v_nested, personal_values.key, personal_values.depth, true,
                                                                 personal_values.kept) l;
            else
                return query select personal_values.key, personal_values.value ->> 0;
            end if;
        end if;
    else
        return;
    end case;
end
$$;
comment on function tds.personal_values(jsonb, text, int, boolean, text[]) is
'The values of a person''s record that describe the person, with their keys; JSON as text is opened.';

create or replace function tds.is_persons(entity tds.entity, doc jsonb, contact_ids text[]) returns boolean
language sql immutable parallel safe
as $$
    select coalesce(($1).target = 'contacts' and $2 ->> ($1).id_key = any ($3), false)
           or coalesce($2 ->> 'customer_id' = any ($3), false) or coalesce($2 ->> 'vendor_id' = any ($3), false)
           or coalesce($2 ->> 'contact_id' = any ($3), false)
$$;
comment on function tds.is_persons(tds.entity, jsonb, text[]) is 'Whether a record is one of these contacts, or names one of them.';

create or replace function tds.partner_column(target text) returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select case when $1 = 'contacts' then 'zoho_contact_id'
                else (select min(l.key_column) from tds.link l where l.target = $1 and l.parent in ('customers', 'vendors')) end
$$;
revoke all on function tds.partner_column(text) from public;
comment on function tds.partner_column(text) is
'The column by which a table of the mirror says whose a document is; null: its records are nobody''s.';

create or replace function tds.unless_forgotten(entity tds.entity, organization_id text, records jsonb, own_ids text[] default '{}')
returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_ids    constant text[] := array(select f.zoho_contact_id from tds.forgotten f
                                       where f.organization_id = unless_forgotten.organization_id);
    v_column constant text := tds.partner_column((unless_forgotten.entity).target);
    v_kept   text[];
    v_own    text[] := unless_forgotten.own_ids;
begin
    if v_ids = '{}' or jsonb_typeof(unless_forgotten.records) is distinct from 'array' then
        return unless_forgotten.records;
    end if;
    if v_column is not null and (unless_forgotten.entity).target <> 'contacts' then
        -- what a thin body leaves out the row knows
        execute format('select $1 || array(select t.%1$I from zoho.%2$I t
                                            where t.organization_id = $2 and t.%3$I = any ($3)
                                              and t.%1$I in (select e.doc ->> $4 from jsonb_array_elements($5) e(doc)))',
                       (unless_forgotten.entity).target_key, (unless_forgotten.entity).target, v_column)
           into v_own
          using v_own, unless_forgotten.organization_id, v_ids, (unless_forgotten.entity).id_key, unless_forgotten.records;
    end if;
    if not exists (select from jsonb_array_elements(unless_forgotten.records) e(doc)
                    where tds.is_persons(unless_forgotten.entity, e.doc, v_ids)
                       or e.doc ->> (unless_forgotten.entity).id_key = any (v_own)) then
        return unless_forgotten.records;
    end if;
    v_kept := tds.bookkeeping_keys();
    return (
        select jsonb_agg(
                   case when not (tds.is_persons(unless_forgotten.entity, e.doc, v_ids)
                                  or coalesce(e.doc ->> (unless_forgotten.entity).id_key = any (v_own), false)) then e.doc
                        when v_column is not null then tds.without_person(e.doc, '', 0, v_kept)
                        -- goods that name a vendor are no person's
                        else e.doc || (select coalesce(jsonb_object_agg(k.key, '[forgotten]'::text), '{}')
                            from jsonb_object_keys(e.doc) k(key)
                                        where k.key ~ '^(customer|vendor|contact|preferred_vendor)_name$') end order by e.n)
          from jsonb_array_elements(unless_forgotten.records) with ordinality e(doc, n));
end
$$;
revoke all on function tds.unless_forgotten(tds.entity, text, jsonb, text[]) from public;
comment on function tds.unless_forgotten(tds.entity, text, jsonb, text[]) is
'Records of one entity, those of forgotten contacts (and those named by own_ids) without what describes the person.';
