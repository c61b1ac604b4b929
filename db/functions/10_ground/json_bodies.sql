create or replace function tds.url_decode(encoded text) returns text
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
begin
    return convert_from(
        (select string_agg(
                    case when m.part[1] like '\%__' then decode(substr(m.part[1], 2), 'hex')
                         else convert_to(replace(m.part[1], '+', ' '), 'UTF8') end,
                    ''::bytea order by m.n)
           from regexp_matches(url_decode.encoded, '%[0-9A-Fa-f]{2}|[^%]+|%', 'g') with ordinality m(part, n)),
        'UTF8');
end
$$;
comment on function tds.url_decode(text) is 'Undoes application/x-www-form-urlencoded: + is a blank, %XX a byte of UTF-8.';

create or replace function tds.json_inside(told text) returns jsonb
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
    v_text   constant text := btrim(json_inside.told, E' \t\r\n\uFEFF');
    v_inside jsonb;
begin
    if left(v_text, 1) in ('{', '[', '"') then
        v_inside := v_text::jsonb;
        return case when jsonb_typeof(v_inside) in ('object', 'array', 'string') then v_inside end;
    end if;
    return null;
exception when data_exception or statement_too_complex then
    return null;
end
$$;
comment on function tds.json_inside(text) is
'The JSON that a text holds: an object, an array, or a text of either; null for any other text, whatever it begins with.';

create or replace function tds.nested(pairs jsonb) returns jsonb
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
begin
    if exists (select from jsonb_object_keys(nested.pairs) k(key) where char_length(k.key) > 50
                  and char_length(k.key) - char_length(translate(k.key, '.[', '')) > 50) then
        raise exception using errcode = 'program_limit_exceeded', message = 'a name of more than 50 levels';
    end if;
    if nested.pairs is null or not exists (select from jsonb_object_keys(nested.pairs) k(key) where k.key ~ '^[^.[]*[.[].')
                               and exists (select from jsonb_object_keys(nested.pairs) k(key) where k.key !~ '^[0-9]+$') then
        return nested.pairs;
    end if;
    -- one level at a time: what comes before the first . or [ is the key, the rest of the name is left to the next level
    return (
        select case when bool_and(n.head ~ '^[0-9]*$')
                    then jsonb_agg(n.value order by case when n.head ~ '^[0-9]+$' then n.head::numeric else 0 end, n.first)
                    else jsonb_object_agg(n.head, n.value) end
          from (select p.head, min(p.n) as first,
                       case when bool_or(p.tail <> '') then tds.nested(jsonb_object_agg(p.tail, p.value) filter (where p.tail <> ''))
                            else (array_agg(p.value order by p.n desc))[1] end as value
                  from (select e.n, e.value, m.part[1] as head, coalesce(m.part[2], '') as tail
                          from jsonb_each(nested.pairs) with ordinality e(key, value, n)
                         cross join lateral (select coalesce(
                                   -- a[b], a[b].c and a.b.c; the brackets are undone, their content is the next name
                                   regexp_match(regexp_replace(e.key, '\[([^]]*)\]', '.\1', 'g'), '^([^.]*)\.(.*)$'),
                                   array[e.key, '']) as part) m) p
                 group by p.head) n);
end
$$;
comment on function tds.nested(jsonb) is
'Pairs whose names are dotted or bracketed (address.city, line_items[0][name]) as the objects and arrays that they spell.';

create or replace function tds.form_document(body text) returns jsonb
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
    v_fields jsonb;
    v_only   text;
    v_told   jsonb;
begin
    -- a[][b] told twice is a[0][b] and a[1][b]
    select jsonb_object_agg(case when f.name like '%[]%'
                                 then regexp_replace(f.name, '\[\]', '[' || (f.telling - 1) || ']') else f.name end, f.told)
      into v_fields
      from (select d.name, tds.url_decode(substr(d.pair, strpos(d.pair, '=') + 1)) as told,
                   row_number() over (partition by d.name order by d.n) as telling
              from (select p.pair, p.n, tds.url_decode(split_part(p.pair, '=', 1)) as name
                      from regexp_split_to_table(form_document.body, '&') with ordinality p(pair, n)
                     where strpos(p.pair, '=') > 1) d
             order by d.n) f;
    select min(k.key) into v_only from jsonb_object_keys(v_fields) k(key)
     where lower(k.key) = 'jsonstring'
        or lower(k.key) in ('payload', 'data', 'json') and (select count(*) from jsonb_object_keys(v_fields)) = 1;
    if v_only is not null then
        v_told := ltrim(v_fields ->> v_only, E'\uFEFF \t\r\n')::jsonb;
        return case when jsonb_typeof(v_told) = 'object' and v_fields ? 'organization_id'
                    then jsonb_build_object('organization_id', v_fields -> 'organization_id') || v_told else v_told end;
    end if;
    -- a value that looks like JSON may be a text: the mapping of the record tells, see tds.opened()
    return tds.nested(v_fields);
end
$$;
comment on function tds.form_document(text) is
'The JSON of a form-encoded body: its field JSONString (or payload or data, where that is all), or its pairs as an object of texts.';

create or replace function tds.is_form(body text) returns boolean
language sql immutable parallel safe
as $$ select left($1, 200) ~ '^[A-Za-z0-9_.%+[\]-]+=' $$;
comment on function tds.is_form(text) is 'Whether a body looks form-encoded.';

create or replace function tds.document(body text) returns jsonb
language sql stable parallel safe
as $$
    select case when octet_length($1) > 1048576 and tds.check_body($1) is null then null
                when left($1, 1) in ('{', '[') then $1::jsonb
                when tds.is_form(ltrim($1, E'\uFEFF& \t\r\n')) then tds.form_document(btrim($1, E'\uFEFF& \t\r\n'))
                else ltrim($1, E'\uFEFF \t\r\n')::jsonb end
$$;
comment on function tds.document(text) is
'The JSON of a body, form-encoded or plain, with or without a byte order mark. Raises class 22 where it is neither, 54000 where it is '
'larger than is allowed (tds.check_body()).';

create or replace function tds.why_no_document(body text, out problem text, out error_context text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_message text;
    v_detail  text;
    v_context text;
begin
    if btrim(why_no_document.body, E' \t\r\n') = '' then
        why_no_document.problem := 'empty body';
        return;
    end if;
    -- by itself: what is given as a constant is parsed while the next statement is planned
    perform tds.check_body(why_no_document.body);
    perform tds.document(why_no_document.body);
exception
    when data_exception or statement_too_complex or program_limit_exceeded or out_of_memory or configuration_limit_exceeded then
        get stacked diagnostics v_message = message_text, v_detail = pg_exception_detail, v_context = pg_exception_context;
        why_no_document.problem := left(case when sqlstate ~ '^(53|54000)' then '' else 'not JSON: ' end
                                        || concat_ws('; ', v_message, nullif(v_detail, '')), 500);
        why_no_document.error_context := tds.error_context(v_context);
end
$$;
comment on function tds.why_no_document(text) is
'Why the body is not a JSON document, and where: the line of the body first; null and null for one that is.';

create or replace function tds.document_problem(body text) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return (select w.problem from tds.why_no_document(document_problem.body) w);
end
$$;
comment on function tds.document_problem(text) is 'Why the body is not a JSON document, or null.';

create or replace function tds.plain_name(name text) returns text
language sql immutable parallel safe
as $$ select translate(lower($1), '_- ', '') $$;
comment on function tds.plain_name(text) is 'A name however it is written: creditNote, Credit-Note and credit_note are one.';

create or replace function tds.wrappers(list_key text, id_key text, out own text[], out foreign_names text[])
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    with named as (
        select tds.plain_name(w.name) as name, min(w.place) as place,
               bool_or(n.list_key = wrappers.list_key and n.id_key = wrappers.id_key) as is_own
          from tds.entity n
         cross join lateral unnest(array[n.list_key, n.record_key, n.id_key] || n.aliases) with ordinality w(name, place)
         -- an id makes a record of another kind known, and wraps nothing
         where w.place <> 3 or n.id_key <> wrappers.id_key
         group by 1
    )
    select array_agg(w.name order by w.place, w.name) filter (where w.is_own and w.place <> 3) || array['jsonstring'],
           array_agg(w.name) filter (where not w.is_own)
      into wrappers.own, wrappers.foreign_names
      from named w;
end
$$;
comment on function tds.wrappers(text, text) is
'The keys, as plain names, under which records of an entity come: its list, one record, and what else these are called, then JSONString; '
'and foreign_names: those of records of other kinds, and their ids.';

create or replace function tds.envelopes() returns text[]
language sql immutable parallel safe
as $$
    select '{data,payload,body,record,records,resource,result,results,object,entity,events,event}'::text[]
$$;
comment on function tds.envelopes() is 'Plain names of what records are wrapped in, the first that holds one counts; others after them.';

create or replace function tds.wrapped_keys(told jsonb, names text[], foreign_names text[], id_key text, is_named boolean)
returns table (key text, place int, is_alone boolean)
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    with named as materialized (
        select k.key, tds.plain_name(k.key) as name,
               jsonb_typeof(k.value) in ('object', 'array')
               or jsonb_typeof(k.value) = 'string' and left(ltrim(k.value ->> 0, E'\uFEFF \t\r\n'), 1) in ('{', '[', '"') as may_hold
          from jsonb_each(wrapped_keys.told) k
    )
    select o.key, o.place, o.others = 1
      from (select w.*, count(*) filter (where w.place = 4) over () as others from (
            select n.key, 1 as place, array_position(wrapped_keys.names, n.name) as n from named n
             where n.may_hold and n.name = any (wrapped_keys.names)
            union all
            select null, 2, 1 where wrapped_keys.told ? wrapped_keys.id_key
            union all
            select n.key, 3, array_position(tds.envelopes(), n.name) from named n
             where n.may_hold and n.name = any (tds.envelopes())
            union all
            -- a wrapper of the sender's own making: not what a record holds, of this kind or another
            select n.key, 4, 1 from named n
             where n.may_hold and n.key <> all (tds.containers()) and n.name <> all (wrapped_keys.names || tds.envelopes())
               and not wrapped_keys.is_named
               and not exists (select from named f where f.name = any (wrapped_keys.foreign_names))) w) o
     -- who wraps a record does not hide it among many
     where o.place < 4 or o.others <= 10
     order by o.place, o.n, o.key;
end
$$;
comment on function tds.wrapped_keys(jsonb, text[], text[], text, boolean) is
'The keys of an object under which records may be, in the order in which they are looked into: 1 names, 2 (null) the object itself, 3 '
'envelopes, 4 whatever else may be one, unless a name was passed already; is_alone: only one of these.';

create or replace function tds.unwrapped(
    told jsonb, names text[], foreign_names text[], id_key text, depth int default 0, is_named boolean default false,
    bare boolean default true) returns jsonb
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
    v_names   constant text[] := unwrapped.names;
    v_foreign constant text[] := unwrapped.foreign_names;
    v_id_key  constant text := unwrapped.id_key;
    v_depth   constant int := unwrapped.depth + 1;
    v_key     record;
    v_found   jsonb;
begin
    if v_depth > 13 or v_id_key is null then
        return null;
    end if;
    case jsonb_typeof(unwrapped.told)
    when 'string' then
        return tds.unwrapped(tds.json_inside(unwrapped.told ->> 0), v_names, v_foreign, v_id_key, v_depth, unwrapped.is_named,
                             unwrapped.bare);
    when 'array' then
        return (select coalesce(jsonb_agg(r.doc order by e.n, r.n), '[]')
                  from jsonb_array_elements(unwrapped.told) with ordinality e(doc, n)
                 -- what is no record stays in its place, for the readers to name
                 cross join lateral jsonb_array_elements(
                            coalesce(tds.unwrapped(e.doc, v_names, v_foreign, v_id_key, v_depth, unwrapped.is_named, unwrapped.bare),
                                     jsonb_build_array(e.doc))) with ordinality r(doc, n)
                having unwrapped.bare);
    when 'object' then
        for v_key in
            select w.* from tds.wrapped_keys(unwrapped.told, v_names, v_foreign, v_id_key, unwrapped.is_named) w
             where w.place <> 2 or unwrapped.bare
        loop
            if v_key.place = 2 then
                return jsonb_build_array(unwrapped.told);
            end if;
            v_found := tds.unwrapped(unwrapped.told -> v_key.key, v_names, v_foreign, v_id_key, v_depth,
                                     unwrapped.is_named or v_key.place = 1,
                                     v_key.place = 1 or unwrapped.bare and (v_key.place = 3 or v_key.is_alone));
            if v_found is not null and (v_key.place < 4 or v_found @? format('$[*] ? (exists (@.%I))', v_id_key)::jsonpath) then
                return v_found;
            end if;
        end loop;
        v_found := tds.nested(unwrapped.told);
        if v_found <> unwrapped.told then
            return tds.unwrapped(v_found, v_names, v_foreign, v_id_key, v_depth, unwrapped.is_named, unwrapped.bare);
        end if;
        -- wrapped as a record is, it is one, though its id is missing
        return (select jsonb_build_array(k.value)
                  from jsonb_each(unwrapped.told) k
                 where jsonb_typeof(k.value) = 'object' and tds.plain_name(k.key) = any (v_names || array['data'])
                 order by array_position(v_names, tds.plain_name(k.key)) nulls last limit 1);
    else
        return null;
    end case;
end
$$;
comment on function tds.unwrapped(jsonb, text[], text[], text, int, boolean, boolean) is
'The records in what is told, however they are wrapped: under one of these names or in an envelope (data, payload, …), more than once, '
'each element of an array by itself, as JSON text, or by dotted names. Null where there is none. names, foreign_names: see '
'tds.wrappers(); is_named: one of the names was passed; bare: whether a record without any of them counts.';

create or replace function tds.other_payload(document jsonb, list_key text, id_key text) returns jsonb
language sql stable parallel safe
as $$ select tds.unwrapped($1, w.own, w.foreign_names, $3) from tds.wrappers($2, $3) w $$;
comment on function tds.other_payload(jsonb, text, text) is
'As tds.payload(), of a document that is not one wrapped record.';

create or replace function tds.payload(document jsonb, list_key text, record_key text, id_key text) returns jsonb
language sql stable parallel safe
as $$
    -- without a sub-select, so that the planner puts its text in the place of the call
    select case when jsonb_typeof($1 -> $3 -> $4) = 'string' then jsonb_build_array($1 -> $3)
                else tds.other_payload($1, $2, $4) end
$$;
comment on function tds.payload(jsonb, text, text, text) is
'The records in a document, as an array: one wrapped record, an API list, the bare record, and whatever tds.unwrapped() undoes; null where '
'there is none.';

create or replace function tds.inner_json_pattern() returns text
language sql immutable parallel safe
as $$
    -- one pattern costs less than two searches for a text
    select '"[{[]|[.]0[.]|address[.]|]":'
$$;
comment on function tds.inner_json_pattern() is 'What tds.has_inner_json() looks for in JSON, as a regular expression.';

create or replace function tds.has_inner_json(body text) returns boolean
language sql immutable parallel safe
as $$
    select left($1, 1) not in ('{', '[') or $1 ~ tds.inner_json_pattern()
$$;
comment on function tds.has_inner_json(text) is
'Whether a text of JSON may hold more than its keys say: JSON as text (some text in it begins with { or [, or it is a form, where every '
'value is text), or names such as line_items.0.name, billing_address.city or line_items[0][name].';

create or replace function tds.is_odd(body text) returns boolean
language sql immutable parallel safe
as $$
    -- every letter is looked at once for both
    select left($1, 1) not in ('{', '[') or $1 ~ (tds.inner_json_pattern() || '|' || tds.long_number_pattern(false))
$$;
comment on function tds.is_odd(text) is 'Whether a body has what tds.has_inner_json() or tds.has_long_number() looks for.';

create or replace function tds.containers() returns text[]
language sql immutable parallel safe
as $$
    -- from the documents of the API: these are objects or arrays wherever they occur
    select '{addresses,allocated_landed_costs,approvers_list,bank_accounts,bill_payments,billing_address,bills,bills_credited,cards,
             contact_persons,contact_persons_associated,contact_persons_details,creditnote_refunds,creditnotes,credits,custom_field_hash,
             custom_fields,default_price_brackets,default_templates,documents,invoices,invoices_credited,item_custom_fields,
             item_tax_preferences,line_item_taxes,line_items,locations,mapped_items,opening_balances,package_details,packages,
             payment_options,payment_refunds,payments,price_brackets,pricebook_items,purchaseorders,salesorders,
             shipping_address,shipping_charge_taxes,sub_statuses,tags,tax_info_list,taxes,tcs_summary,tds_summary,
             vendor_credit_refunds,vendor_credits,vendorpayment_refunds,warehouses}'::text[]
$$;
comment on function tds.containers() is
'Keys whose value is an object or an array in every document of Zoho''s: JSON as text is undone there.';

create or replace function tds.without_text(told jsonb) returns jsonb
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
    v_told   jsonb := without_text.told;
    v_inside jsonb;
begin
    for n in 1 .. 3 loop
        exit when jsonb_typeof(v_told) is distinct from 'string';
        v_inside := case when v_told = '"null"' then 'null'::jsonb else tds.json_inside(v_told ->> 0) end;
        exit when v_inside is null;
        v_told := v_inside;
    end loop;
    return v_told;
end
$$;
comment on function tds.without_text(jsonb) is
'The object or the array (or null) that JSON as text says, also where that is text once more; anything else as it is.';

create or replace function tds.opened_value(told jsonb, containers text[], depth int) returns jsonb
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
begin
    -- what is deeper is refused in any case (setting record_depth), and not worth a stack
    if opened_value.depth > 40 then
        return opened_value.told;
    end if;
    return case jsonb_typeof(opened_value.told)
        when 'array' then (select coalesce(jsonb_agg(tds.opened_value(e.doc, opened_value.containers, opened_value.depth + 1) order by e.n),
                                           '[]')
                             from jsonb_array_elements(opened_value.told) with ordinality e(doc, n))
        when 'object' then (select coalesce(jsonb_object_agg(e.key, case
                                       when e.key <> all (opened_value.containers) then e.value
                                       else tds.opened_value(tds.without_text(e.value), tds.containers(), opened_value.depth + 1)
                                       end), '{}')
                              from jsonb_each(opened_value.told) e)
        else opened_value.told end;
end
$$;
comment on function tds.opened_value(jsonb, text[], int) is
'A value in which JSON as text is JSON, under these keys and, deeper, those of tds.containers(); other texts stay texts, whatever they '
'look like.';

create or replace function tds.nested_parts(record jsonb, containers text[]) returns jsonb
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
    v_keys constant text[] := array(select k.key from jsonb_object_keys(nested_parts.record) k(key)
                                     where k.key ~ '^[a-z_]+[.[]' and substring(k.key from '^[a-z_]+') = any (nested_parts.containers));
begin
    if v_keys = '{}' then
        return nested_parts.record;
    end if;
    return nested_parts.record - v_keys
        || tds.nested((select jsonb_object_agg(k.key, nested_parts.record -> k.key) from unnest(v_keys) k(key)));
end
$$;
comment on function tds.nested_parts(jsonb, text[]) is
'A record in which parts of objects and arrays told by dotted or bracketed names (billing_address.city) are in their places.';

create or replace function tds.as_written(told jsonb, id_key text, body text) returns jsonb
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
    v_written text;
begin
    if jsonb_typeof(as_written.told -> as_written.id_key) is distinct from 'number' then
        return as_written.told;
    end if;
    select m.part[1] into v_written
      from regexp_matches(as_written.body, format('"%s"\s*:\s*(-?[0-9]+(?:\.[0-9]+)?[eE][+-]?[0-9]+)', as_written.id_key), 'g') m(part)
     where m.part[1]::numeric = (as_written.told -> as_written.id_key)::numeric
     limit 1;
    return case when v_written is null then as_written.told
                else jsonb_set(as_written.told, array[as_written.id_key], to_jsonb(v_written)) end;
end
$$;
comment on function tds.as_written(jsonb, text, text) is
'A record whose id is as it was written: 4.03e+18 is no id but the rounding of one, which its number no longer shows.';

create or replace function tds.opened(records jsonb, list_key text, id_key text, body text) returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_containers text[];
begin
    if not tds.has_inner_json(opened.body)
       and not opened.records @? format('$[*].%I ? (@.type() == "number")', opened.id_key)::jsonpath then
        return opened.records;
    end if;
    select array(select f.key from tds.field f where f.entity = n.entity and f.list_key = '' and f.reader in ('object', 'array')
                 union
                 select c.key from unnest(tds.containers()) c(key)
                  where not exists (select from tds.field f where f.entity = n.entity and f.list_key = '' and f.key = c.key))
      into v_containers
      from tds.entity n
     where n.list_key = opened.list_key and n.id_key = opened.id_key
     order by n.entity
     limit 1;
    return (select coalesce(jsonb_agg(case when jsonb_typeof(e.doc) = 'object'
                                           then tds.as_written(tds.opened_value(tds.nested_parts(e.doc, v_containers), v_containers, 1),
                                                               opened.id_key, opened.body)
                                           else e.doc end order by e.n), '[]')
              from jsonb_array_elements(opened.records) with ordinality e(doc, n)
            having opened.records is not null);
end
$$;
comment on function tds.opened(jsonb, text, text, text) is
'Records in which JSON as text is JSON wherever the mapping, or else Zoho''s documents, have an object or an array.';

create or replace function tds.body_records(
    body text, list_key text, record_key text, id_key text, looks boolean default false, bare boolean default false)
returns table (records jsonb, look_closer boolean)
language sql stable parallel safe rows 1
as $$
    -- offset 0: a body is parsed once, and its list taken out once, not once a mention; a small one is also fetched once (|| makes it
    -- a value of its own), while of a page only the beginning is fetched twice. All records of a page have the form of its first
    select case when jsonb_typeof(f.first -> $4) = 'string'
                     -- what tds.has_inner_json() asks of a text, without writing the record out
                     and not f.first @? '$.** ? (@ starts with "{" || @ starts with "[")' then l.list
                when jsonb_typeof(j.doc -> $3 -> $4) = 'string' and not (o.is_odd and tds.has_inner_json(j.body))
                then case when $6 then j.doc -> $3 else jsonb_build_array(j.doc -> $3) end
                else tds.opened(tds.payload(j.doc, $2, $3, $4), $2, $4, j.body) end,
           case when $5 then o.is_odd and tds.has_long_number(j.body, false) end
      from (select b.body, tds.document(b.body) as doc
              from (select case when octet_length($1) < 20000 then $1 || '' else $1 end as body offset 0) b offset 0) j
     cross join lateral (select j.doc -> $2 as list offset 0) l
     cross join lateral (select l.list -> 0 as first offset 0) f
     cross join lateral (select not $5 or tds.is_odd(j.body) as is_odd offset 0) o
    offset 0
$$;
comment on function tds.body_records(text, text, text, text, boolean, boolean) is
'The one way from a stored body to its records: an array, null where it holds none; and, where the caller looks, whether it may hold a '
'number of more digits than the setting number_digits (look_closer: tds.has_long_number(); a page of a list is looked at when it is '
'stored). bare: one wrapped record is told as it is, not as an array, to make which all of it would be gone through. One row, so that it '
'can be joined laterally; the planner puts its text in the place of the call. Raises class 22 for a body that is not JSON.';

create or replace function tds.half_characters() returns text
language sql immutable parallel safe
as $$
    -- behind an even number of backslashes; half of a pair that has its other half beside it is none
    select '(?<!\\)((?:\\\\)*)\\(u0000|ud[89ab][0-9a-f]{2}(?!\\ud[c-f][0-9a-f]{2})|(?<!\\ud[89ab][0-9a-f]{2}\\)ud[c-f][0-9a-f]{2})'
$$;
comment on function tds.half_characters() is
'What escapes of JSON look like that are no character (\u0000, half of a pair), as a regular expression for the flags gi; its second part '
'is the escape without its backslash.';

create or replace function tds.set_apart(
    body bytea, list_key text, record_key text, id_key text, out others bytea, out seen bytea, out apart bytea[])
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    -- no character, and in no text of anybody's: it stands where the backslash was
    v_mark constant text := chr(64976);
    v_text text;
    v_doc  jsonb;
    v_key  text;
    v_many boolean;
begin
    -- nearly always that is all: no escape \u, or neither \u0000 nor \ud nor \uD
    if position('\x5c75'::bytea in set_apart.body) = 0
       or position('\x5c7530303030'::bytea in set_apart.body) = 0 and position('\x5c7564'::bytea in set_apart.body) = 0
          and position('\x5c7544'::bytea in set_apart.body) = 0 then
        return;
    end if;
    begin
        v_text := convert_from(set_apart.body, 'UTF8');
        if tds.document_problem(v_text) is null then
            return;
        end if;
        v_doc := tds.document(regexp_replace(v_text, tds.half_characters(), '\1' || v_mark || '\2', 'gi'));
        v_key := (select min(k.key) from jsonb_each(v_doc) k
                   where replace(k.key, '_', '') = replace(set_apart.list_key, '_', '') and jsonb_typeof(k.value) = 'array');
        v_many := jsonb_array_length(v_doc -> v_key) > 1;
        select convert_to(jsonb_build_object(v_key, jsonb_agg(case when m.is_bad then m.id_only else e.doc end order by e.n))::text,
                          'UTF8'),
               convert_to(jsonb_build_object(v_key, coalesce(jsonb_agg(e.doc order by e.n) filter (where not m.is_bad), '[]'))::text,
                          'UTF8'),
               array_agg(convert_to(replace(jsonb_build_object(set_apart.record_key, e.doc)::text, v_mark, '\'), 'UTF8') order by e.n)
                   filter (where m.is_bad)
          into set_apart.seen, set_apart.others, set_apart.apart
          from jsonb_array_elements(v_doc -> v_key) with ordinality e(doc, n)
         cross join lateral (select strpos(e.doc::text, v_mark) > 0 as is_bad,
                                    jsonb_build_object(set_apart.id_key, e.doc -> set_apart.id_key) as id_only) m
        having count(*) > 0;
    exception when data_exception or statement_too_complex or program_limit_exceeded then
        v_many := false; -- it is no JSON for another reason
    end;
    if v_many is not true then
        set_apart.others := null;
        set_apart.apart := null;
    end if;
end
$$;
comment on function tds.set_apart(bytea, text, text, text) is
'Of an answer that is JSON but for escapes that are no character (\u0000, half of an emoji): the list without the records that hold one '
'(others), those by themselves as they came (apart; both null where there is but one record), and the list with nothing but the ids of '
'those (seen). All null for any other answer.';
