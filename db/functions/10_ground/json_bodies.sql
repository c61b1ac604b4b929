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

create or replace function tds.form_document(body text) returns jsonb
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
    v_fields jsonb;
begin
    select jsonb_object_agg(tds.url_decode(split_part(p.pair, '=', 1)),
                            tds.url_decode(substr(p.pair, strpos(p.pair, '=') + 1)))
      into v_fields
      from regexp_split_to_table(form_document.body, '&') p(pair)
     where strpos(p.pair, '=') > 1;
    if v_fields ? 'JSONString' then
        return (v_fields ->> 'JSONString')::jsonb;
    end if;
    -- nested values of a form arrive as JSON text
    return (select jsonb_object_agg(f.key, case when f.value ~ '^[\[{]' then f.value::jsonb else to_jsonb(f.value) end)
              from jsonb_each_text(v_fields) f);
end
$$;
comment on function tds.form_document(text) is
'The JSON of a form-encoded body: its field JSONString, or its pairs as an object.';

create or replace function tds.is_form(body text) returns boolean
language sql immutable parallel safe
as $$ select left($1, 100) ~ '^[A-Za-z0-9_.%+-]+=' $$;
comment on function tds.is_form(text) is 'Whether a body looks form-encoded.';

create or replace function tds.document(body text) returns jsonb
language sql immutable parallel safe
as $$ select case when tds.is_form($1) then tds.form_document($1) else $1::jsonb end $$;
comment on function tds.document(text) is
'The JSON of a body, form-encoded or plain. Raises class 22 where it is neither.';

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
    perform tds.document(why_no_document.body);
exception
    when data_exception or statement_too_complex or program_limit_exceeded then
        get stacked diagnostics v_message = message_text, v_detail = pg_exception_detail, v_context = pg_exception_context;
        why_no_document.problem := left('not JSON: ' || concat_ws('; ', v_message, nullif(v_detail, '')), 500);
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

create or replace function tds.payload(document jsonb, list_key text, record_key text, id_key text) returns jsonb
language sql immutable parallel safe
as $$
    select case jsonb_typeof($1)
        when 'array' then $1
        when 'object' then
            case when jsonb_typeof($1 -> $2) = 'array' then $1 -> $2
                 when jsonb_typeof($1 -> $3) in ('object', 'array') then jsonb_path_query_array($1 -> $3, '$[*]')
                 when jsonb_typeof($1 -> 'data') in ('object', 'array') then jsonb_path_query_array($1 -> 'data', '$[*]')
                 when jsonb_typeof($1 -> replace($2, '_', '')) = 'array' then $1 -> replace($2, '_', '')
                 when $1 ? $4 then jsonb_build_array($1) end
    end
$$;
comment on function tds.payload(jsonb, text, text, text) is
'The records in a document, as an array: an API list (its key with or without underscores), one wrapped record, {"data": …}, or the '
'bare record; null where there is none.';

create or replace function tds.body_records(body text, list_key text, record_key text, id_key text) returns table (records jsonb)
language sql immutable parallel safe rows 1
as $$
    -- offset 0: a body is parsed once, and its list taken out once, not once a mention
    select case when jsonb_typeof(l.list) = 'array' then l.list else tds.payload(j.doc, $2, $3, $4) end
      from (select tds.document($1) as doc offset 0) j
     cross join lateral (select j.doc -> $2 as list offset 0) l
    offset 0
$$;
comment on function tds.body_records(text, text, text, text) is
'The one way from a stored body to its records: an array, null where it holds none. One row, so that it can be joined laterally; the '
'planner puts its text in the place of the call. Raises class 22 for a body that is not JSON.';
