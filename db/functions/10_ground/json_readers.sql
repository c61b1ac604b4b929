-- Strict readers: one defined reading each, anything else raises ZB001; a bad value never becomes 0 or today.
-- SQL so that the planner inlines them into the set they are used on; '' and JSON null are NULL everywhere. A scalar's text
-- is its element 0 (->> 0): the server keeps a scalar as an array of one, and this costs less than #>> '{}'.

create or replace function tds.refuse(value jsonb, reason text) returns text
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
begin
    raise exception using errcode = 'ZB001', message = refuse.reason, detail = left(refuse.value::text, 200);
end
$$;
comment on function tds.refuse(jsonb, text) is 'Raises ZB001: the value, and why it cannot be read.';

create or replace function tds.is_id(value text) returns boolean
language sql immutable parallel safe
as $$
    -- a bound inside the pattern ({1,50}) would cost ten times the match; 4e18 is a number that was rounded
    select ($1 ~ '^[0-9]+$' or $1 ~ '^[A-Za-z0-9_-]+$' and $1 !~ '^[0-9]+[eE][0-9]+$') and char_length($1) <= 50
$$;
comment on function tds.is_id(text) is 'Whether the text is an id: up to 50 letters, digits, _ and -.';

create or replace function tds.is_rounded(value jsonb) returns boolean
language sql immutable parallel safe
as $$
    select jsonb_typeof($1) = 'number' and ($1::numeric < 0 or $1::numeric >= 1e50 or scale($1::numeric) > 0
                                            or $1::numeric >= 1e15 and $1::numeric % 1000000 = 0)
$$;
comment on function tds.is_rounded(jsonb) is
'Whether a number is no exact id: one of 16 digits or more that ends in six noughts went through a format that keeps fewer; one of more '
'than 50 digits, or with a point, is none anyway, and is not written out to be told so.';

create or replace function tds.exact_id(told jsonb) returns text
language sql immutable parallel safe
as $$
    select case when jsonb_typeof($1) = 'string' and tds.is_id($1 ->> 0) then $1 ->> 0
                when jsonb_typeof($1) = 'number' and not tds.is_rounded($1) and tds.is_id($1 ->> 0) then $1 ->> 0 end
$$;
comment on function tds.exact_id(jsonb) is 'The id that is told, as text; null where that is none, or not exactly one.';

create or replace function tds.is_number(value text) returns boolean
language sql immutable parallel safe
as $$
    select char_length($1) <= 60 and ($1 ~ '^-?[0-9]+(\.[0-9]+)?%?$' or $1 ~ '^-?[0-9]{1,3}(,[0-9]{3})+(\.[0-9]+)?$')
$$;
comment on function tds.is_number(text) is 'Whether the text is a number as Zoho writes them: 12, -0.5, 1,500.00 or 10%.';

create or replace function tds.is_date(value text) returns boolean
language sql immutable parallel safe
as $$
    select case
        when $1 not like '____-__-__' or left($1, 4) = '0000'
             or overlay(overlay($1 placing '' from 8 for 1) placing '' from 5 for 1) !~ '^[0-9]+$' then false
        when substr($1, 6, 2) collate "C" not between '01' and '12' or substr($1, 9, 2) = '00' then false
        else substr($1, 9, 2) collate "C" <= '28'
             or substr($1, 9, 2)::int
                <= extract(day from (make_date(left($1, 4)::int, substr($1, 6, 2)::int, 1) + interval '1 month - 1 day')) end
$$;
comment on function tds.is_date(text) is 'Whether the text is a day of the calendar, YYYY-MM-DD.';

create or replace function tds.is_midnight(value text) returns boolean
language sql immutable parallel safe
as $$ select $1 ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ]00:00(:00([.]0+)?)?(Z|[+-][0-9]{2}:?[0-9]{2})?$' $$;
comment on function tds.is_midnight(text) is 'Whether the text is a day told as its first moment, wherever: 2026-06-09T00:00:00+0300.';

create or replace function tds.has_time_shape(value text) returns boolean
language sql immutable parallel safe
as $$
    -- the punctuation by its places, the rest by the letters allowed: a pattern that says both costs five times as much
    select $1 like any ('{____-__-__T__:__:__-____,____-__-__T__:__:__+____,____-__-__T__:__:__Z,____-__-__T__:__:__-__:__,
                          ____-__-__T__:__:__+__:__,____-__-__T__:__:__.___Z,____-__-__T__:__:__.___-____,____-__-__T__:__:__.___+____}')
       and $1 ~ '^[0-9T:.Z+-]+$'
       or $1 ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,9})?(Z|[+-][0-9]{2}:?[0-9]{2})$'
$$;
comment on function tds.has_time_shape(text) is
'Whether the text has the shape of a moment with its offset; the server itself refuses hour 25 or day 30 of February then.';

create or replace function tds.is_time(value text) returns boolean
language sql immutable parallel safe
as $$
    select case
        when not tds.has_time_shape($1) then false
        when substr($1, 12, 2) collate "C" > '23' or substr($1, 15, 2) collate "C" > '59' or substr($1, 18, 2) collate "C" > '59' then false
        when right($1, 1) <> 'Z' and (translate(right($1, 5), ':+-', '') collate "C" > '1559' or right($1, 2) collate "C" > '59') then false
        else tds.is_date(left($1, 10)) end
$$;
comment on function tds.is_time(text) is 'Whether the text is a moment with its offset: 2026-06-09T09:46:21-0400.';

create or replace function tds.is_plain_time(value text) returns boolean
language sql immutable parallel safe
as $$
    select tds.has_time_shape($1)
       and substr($1, 6, 2) collate "C" between '01' and '12' and substr($1, 9, 2) collate "C" between '01' and '28'
       and substr($1, 12, 2) collate "C" <= '23' and substr($1, 15, 2) collate "C" <= '59' and substr($1, 18, 2) collate "C" <= '59'
$$;
comment on function tds.is_plain_time(text) is
'Whether the text is a moment that needs no second look: nearly all are, at a seventh of the cost of is_time().';

create or replace function tds.json_text(value jsonb) returns text
language sql immutable parallel safe
as $$
    select case jsonb_typeof($1) when 'string' then nullif($1 ->> 0, '') else $1 #>> '{}' end
$$;
comment on function tds.json_text(jsonb) is
'Reader of what only describes: a string as it is, anything else as it is written; '''' is NULL. It refuses nothing.';

create or replace function tds.json_word(value jsonb) returns text
language sql immutable parallel safe
as $$
    select case jsonb_typeof($1)
        when 'string' then nullif($1 ->> 0, '')
        when 'number' then $1 ->> 0
        else case when $1 is null or jsonb_typeof($1) = 'null' then null else tds.refuse($1, 'not a text') end end
$$;
comment on function tds.json_word(jsonb) is
'Reader of what something is known by (a code, a status, a number that is a name): a string as it is, a number as its digits; '''' is '
'NULL.';

create or replace function tds.json_id(value jsonb) returns text
language sql immutable parallel safe
as $$
    select case
        when $1 is null or $1 = '""' or jsonb_typeof($1) = 'null' then null
        when jsonb_typeof($1) = 'string' and tds.is_id($1 ->> 0) then $1 ->> 0
        when jsonb_typeof($1) = 'number' and not tds.is_rounded($1) and tds.is_id($1 ->> 0) then $1 ->> 0
        else tds.refuse($1, 'not an id') end
$$;
comment on function tds.json_id(jsonb) is
'Reader: an id of up to 50 letters and digits, given as a string or as a whole number, kept as text.';

create or replace function tds.json_number(value jsonb) returns numeric
language sql immutable parallel safe
as $$
    select case
        when jsonb_typeof($1) = 'number' and abs($1::numeric) < 1e30 then $1::numeric
        when $1 is null or $1 = '""' or jsonb_typeof($1) = 'null' then null
        when jsonb_typeof($1) = 'string' and tds.is_number($1 #>> '{}') then translate($1 #>> '{}', ',%', '')::numeric
        else tds.refuse($1, 'not a number')::numeric end
$$;
comment on function tds.json_number(jsonb) is 'Reader: a JSON number, or its text; 1,500.00 is 1500.00 and 10% is 10.';

create or replace function tds.json_boolean(value jsonb) returns boolean
language sql immutable parallel safe
as $$
    select case
        when jsonb_typeof($1) = 'boolean' then $1::boolean
        when $1 is null or $1 = '""' or jsonb_typeof($1) = 'null' then null
        when lower($1 #>> '{}') in ('true', '1') then true
        when lower($1 #>> '{}') in ('false', '0') then false
        else tds.refuse($1, 'not true or false')::boolean end
$$;
comment on function tds.json_boolean(jsonb) is 'Reader: true or false, or 1 or 0, or their texts in any case.';

create or replace function tds.json_date(value jsonb) returns date
language sql stable parallel safe
as $$
    select case
        when jsonb_typeof($1) = 'string' and $1 ->> 0 like '____-__-__' and $1 ->> 0 ~ '^[0-9-]+$' then ($1 ->> 0)::date
        when $1 is null or $1 = '""' or jsonb_typeof($1) = 'null' then null
        when jsonb_typeof($1) = 'string' and tds.is_midnight($1 ->> 0) then left($1 ->> 0, 10)::date
        else tds.refuse($1, 'not a date (YYYY-MM-DD)')::date end
$$;
comment on function tds.json_date(jsonb) is
'Reader: a day of the calendar, YYYY-MM-DD, also as a time at midnight: the day that is written.';

create or replace function tds.json_time(value jsonb) returns timestamptz
language sql stable parallel safe
as $$
    select case
        when jsonb_typeof($1) = 'string' and tds.has_time_shape($1 ->> 0) then ($1 ->> 0)::timestamptz
        when $1 is null or $1 = '""' or jsonb_typeof($1) = 'null' then null
        else tds.refuse($1, 'not a time with its offset (YYYY-MM-DDTHH:MM:SS+hhmm)')::timestamptz end
$$;
comment on function tds.json_time(jsonb) is 'Reader: a moment with its offset, 2026-06-09T09:46:21-0400.';

create or replace function tds.problem(reader text, value jsonb, required boolean, max_length int) returns text
language sql stable parallel safe
as $$
    select case
        when $2 is null or $2 = '""' or jsonb_typeof($2) = 'null'
            then case when $3 then 'missing' end
        when $1 = 'text' then null
        when $1 in ('object', 'array')
            then case when jsonb_typeof($2) <> $1 and not ($1 = 'object' and $2 = '[]') then 'not an ' || $1 end
        when $1 = 'boolean'
            then case when lower($2 #>> '{}') in ('true', 'false', '1', '0') then null else 'not true or false' end
        when jsonb_typeof($2) not in ('string', 'number')
            then case $1 when 'word' then 'not a text' when 'id' then 'not an id' when 'number' then 'not a number'
                         when 'date' then 'not a date (YYYY-MM-DD)' else 'not a time with its offset (YYYY-MM-DDTHH:MM:SS+hhmm)' end
        when $1 = 'id' and (tds.is_rounded($2) or not tds.is_id($2 #>> '{}')) then 'not an id'
        when $1 = 'number' and jsonb_typeof($2) = 'number' and abs($2::numeric) >= 1e30 then 'not a number'
        when $1 = 'number' and jsonb_typeof($2) = 'string' and not tds.is_number($2 #>> '{}') then 'not a number'
        when $1 = 'date' and (jsonb_typeof($2) = 'number' or not tds.is_date($2 #>> '{}')
                                   and not (tds.is_midnight($2 #>> '{}') and tds.is_date(left($2 #>> '{}', 10))))
            then 'not a date (YYYY-MM-DD)'
        when $1 = 'time' and (jsonb_typeof($2) = 'number' or not tds.is_time($2 #>> '{}'))
            then 'not a time with its offset (YYYY-MM-DDTHH:MM:SS+hhmm)'
        when char_length($2 #>> '{}') > $4
            then format('%s characters, the bound is %s', char_length($2 #>> '{}'), $4) end
$$;
comment on function tds.problem(text, jsonb, boolean, int) is
'Why the value cannot be read by the reader of that name, or null: the question the readers answer by raising.';

create or replace function tds.json_object(value jsonb) returns jsonb
language sql immutable parallel safe
as $$
    select case
        when jsonb_typeof($1) = 'object' then $1
        when $1 is null or $1 = '""' or jsonb_typeof($1) = 'null' then null
        -- PHP writes an empty object so
        when $1 = '[]' then '{}'
        else tds.refuse($1, 'not an object')::jsonb end
$$;
comment on function tds.json_object(jsonb) is 'Reader: an object as it is; [] is an empty one.';

create or replace function tds.json_row(value jsonb) returns jsonb
language sql immutable parallel safe
as $$ select case when jsonb_typeof($1) = 'object' then $1 else tds.refuse($1, 'not an object')::jsonb end $$;
comment on function tds.json_row(jsonb) is 'Reader of an element of an array: an object as it is.';

create or replace function tds.json_array(value jsonb) returns jsonb
language sql immutable parallel safe
as $$
    select case
        when jsonb_typeof($1) = 'array' then $1
        when $1 is null or $1 = '""' or jsonb_typeof($1) = 'null' then null
        else tds.refuse($1, 'not an array')::jsonb end
$$;
comment on function tds.json_array(jsonb) is 'Reader: an array as it is.';

create or replace function tds.is_blank_list(value jsonb) returns boolean
language sql immutable parallel safe
as $$ select $1 in ('[]', 'null', '""') $$;
comment on function tds.is_blank_list(jsonb) is 'Whether an array was told without elements; null where it was not told.';
