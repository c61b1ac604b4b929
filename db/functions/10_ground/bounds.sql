-- What one record or one body may cost: bounds far above Zoho's real ones. Each is asked in the order of what asking costs: the length
-- of what is stored, a pattern over the text, a walk over the document; and before anything prints a number or copies a value.

insert into tds.setting (name, value, description) values
    ('number_digits', '100',
        'Digits that a number may have before its point, and as many after it; at least 100. 1e131071 is short to write and long to read.'),
    ('text_characters', '12000000', 'Characters that one text of a record may have, or one key.'),
    ('object_keys', '10000', 'Keys that one object of a record may have.'),
    ('array_elements', '100000', 'Elements that one array of a record may have.'),
    ('record_depth', '32', 'Levels of objects and arrays that a record may have; at least 32.'),
    ('record_bytes', '33554432', 'Bytes that one record may have, as the server keeps it.'),
    ('body_bytes', '67108864', 'Bytes that one body may have; a longer one is stored, and is a dead letter at once.'),
    ('body_values', '1000000', 'Values that one body may have (commas in it); a body of more is stored, and is a dead letter at once.')
on conflict on constraint setting_pkey do nothing;

create or replace function tds.long_number_pattern(is_page boolean) returns text
language sql immutable parallel safe
as $$
    -- a number with an exponent of two digits, a long run, or what could hide one: an escape. A run is as long to write as to read,
    -- so that pages, where the look is a twentieth of all that storing and applying them takes, are spared it. An id, which is a text or
    -- has 19 digits, is no run: each length of those that are met costs a state
    select case when $1 then '[0-9][eE][+-]?[0-9][0-9]|\\u00[2-7]'
                else '[[,:\s]-?[0-9]([0-9.]*[eE][+-]?[0-9]{2}|[0-9.]{24})|\\u00[2-7]' end
$$;
comment on function tds.long_number_pattern(boolean) is 'What tds.has_long_number() looks for in JSON, as a regular expression.';

create or replace function tds.has_long_number(body text, is_page boolean) returns boolean
language sql immutable parallel safe
as $$
    -- what begins otherwise is no JSON but a form
    select left($1, 1) not in ('{', '[') or $1 ~ tds.long_number_pattern($2)
$$;
comment on function tds.has_long_number(text, boolean) is
'Whether a body may hold a number that is longer than the bound: hardly any, and all that do; in a page of a list (is_page) all that are '
'longer to read than they were to write.';

create or replace function tds.is_long_number(value numeric, digits int) returns boolean
language sql immutable parallel safe
as $$
    -- nothing here writes the number out; ::text, because || with an integer is no more than stable, and would keep the planner from
    -- putting this text in the place of the call
    select scale($1) > $2 or abs($1) >= ('1e' || $2::text)::numeric
$$;
comment on function tds.is_long_number(numeric, int) is
'Whether a number, written out, has more than so many digits before its point or after it.';

create or replace function tds.check_body(body text) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_bytes  constant int := octet_length(check_body.body);
    v_values int;
begin
    if v_bytes > tds.setting_int('body_bytes') then
        raise exception using errcode = 'program_limit_exceeded',
            message = format('%s bytes in one body: more than the setting body_bytes (%s)', v_bytes, tds.setting_int('body_bytes'));
    end if;
    v_values := v_bytes - octet_length(replace(check_body.body, ',', ''));
    if v_values > tds.setting_int('body_values') then
        raise exception using errcode = 'program_limit_exceeded',
            message = format('%s values in one body: more than the setting body_values (%s)', v_values, tds.setting_int('body_values'));
    end if;
    return check_body.body;
end
$$;
comment on function tds.check_body(text) is
'A long body as it is, before it is parsed. Raises 54000 where it has more bytes or values than the settings allow.';

create or replace function tds.may_exceed(doc jsonb, is_row boolean) returns boolean
-- stable, as pg_column_size() is: so the planner puts its text in the place of the call
language sql stable parallel safe
as $$
    -- what is short has few keys and short texts; a row of a list is not looked into for its depth. 32: the least record_depth
    select pg_column_size($1) > 65536 or not $2 and $1 @? '$.**{32}'
$$;
comment on function tds.may_exceed(jsonb, boolean) is
'Whether a closer look (tds.excess()) may find that a record exceeds a bound other than that of its numbers; is_row: it is a row of a '
'list.';

create or replace function tds.excess_value(value jsonb) returns text
language sql immutable parallel safe
as $$
    select case jsonb_typeof($1)
        when 'string' then left($1 ->> 0, 200)
        when 'number' then btrim(to_char($1::numeric, '9.999999EEEE'))
        when 'array' then format('%s elements', jsonb_array_length($1))
        else format('%s bytes', pg_column_size($1)) end
$$;
comment on function tds.excess_value(jsonb) is 'What is told of a value that exceeds a bound, without writing it out.';

create or replace function tds.excess_of(key text, value jsonb, digits int, characters int, keys int, elements int) returns text
language sql immutable parallel safe
as $$
    select case
        when char_length($1) > $4 then format('a key of %s characters: more than the setting text_characters (%s)', char_length($1), $4)
        when jsonb_typeof($2) = 'number' and tds.is_long_number($2::numeric, $3)
            then format('a number of more digits than the setting number_digits (%s)', $3)
        -- what is shorter than so many bytes cannot have so many of anything
        when jsonb_typeof($2) = 'string' and pg_column_size($2) > $4 and char_length($2 ->> 0) > $4
            then format('%s characters: more than the setting text_characters (%s)', char_length($2 ->> 0), $4)
        when jsonb_typeof($2) = 'array' and jsonb_array_length($2) > $6
            then format('%s elements: more than the setting array_elements (%s)', jsonb_array_length($2), $6)
        when jsonb_typeof($2) = 'object' and pg_column_size($2) > 8 * $5 and (select count(*) from jsonb_object_keys($2)) > $5
            then format('%s keys: more than the setting object_keys (%s)', (select count(*) from jsonb_object_keys($2)), $5) end
$$;
comment on function tds.excess_of(text, jsonb, int, int, int, int) is 'Which bound a value, or its key, exceeds by itself; null: none.';

create or replace function tds.excess(doc jsonb, out path text, out value text, out reason text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_digits     constant int := tds.setting_int('number_digits');
    v_characters constant int := tds.setting_int('text_characters');
    v_keys       constant int := tds.setting_int('object_keys');
    v_elements   constant int := tds.setting_int('array_elements');
    v_depth      constant int := tds.setting_int('record_depth');
    v_floor      constant int := least(v_characters, 8 * v_keys, 4 * v_elements);
    v_has_long   boolean;
begin
    excess.reason := case
        when pg_column_size(excess.doc) > tds.setting_int('record_bytes')
            then format('%s bytes in one record: more than the setting record_bytes (%s)', pg_column_size(excess.doc),
                        tds.setting_int('record_bytes'))
        when jsonb_path_exists(excess.doc, format('strict $.**{%s} ? (@.type() == "object" || @.type() == "array")', v_depth)::jsonpath)
            then format('deeper than the setting record_depth (%s)', v_depth) end;
    if excess.reason is not null then
        excess.path := '$';
        excess.value := tds.excess_value(excess.doc);
        return;
    end if;
    -- not jsonb_path_query(): it takes each of its finds from the front of a list, which takes time in proportion to their square
    v_has_long := exists (select from jsonb_array_elements(
                                   jsonb_path_query_array(excess.doc, 'strict $.** ? (@.type() == "number")')) n(told)
                           where tds.is_long_number(n.told::numeric, v_digits));
    if not v_has_long and pg_column_size(excess.doc) <= v_floor then
        return;
    end if;
    with recursive node(path, key, told) as (
        select '', '', excess.doc
        union all
        select c.path, c.key, c.told
          from node o
         cross join lateral (
               select case when o.path = '' then left(k.key, 100) else o.path || '.' || left(k.key, 100) end as path, k.key, k.value as told
                 from jsonb_each(case when jsonb_typeof(o.told) = 'object' then o.told end) k
                union all
               select format('%s[%s]', o.path, a.n - 1), '', a.told
                 from jsonb_array_elements(case when jsonb_typeof(o.told) = 'array' then o.told end) with ordinality a(told, n)) c
         where v_has_long or pg_column_size(o.told) > v_floor
    )
    select coalesce(nullif(n.path, ''), '$'), tds.excess_value(n.told), e.reason
      into excess.path, excess.value, excess.reason
      -- what is short can only be too long a number, or have too long a key: hardly any is looked at closer
      from (select o.* from node o
             where pg_column_size(o.told) > v_floor or octet_length(o.key) > v_characters
                or v_has_long and jsonb_typeof(o.told) = 'number' offset 0) n
     cross join lateral (select tds.excess_of(n.key, n.told, v_digits, v_characters, v_keys, v_elements) as reason offset 0) e
     where e.reason is not null
     limit 1;
end
$$;
comment on function tds.excess(jsonb) is
'The first bound that a record exceeds: where, what, and why; nulls where it exceeds none. It takes time in proportion to the record.';
