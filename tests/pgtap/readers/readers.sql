-- One defined reading each; anything else is refused, never 0 or today.
begin;
select plan(61);

select is(tds.json_text('"x"'), 'x', 'a string as it is');
select is(tds.json_text('" x "'), ' x ', 'blanks are kept');
select is(tds.json_text('""'), null, 'empty is null');
select is(tds.json_text('12.50'), '12.50', 'a number by its digits');
select is(tds.json_text('null'), null, 'JSON null is null');
select is(tds.json_text(null), null, 'an absent key is null');
select is(tds.json_text('{"a": 1}'), '{"a": 1}', 'what only describes is never refused');
select is(tds.json_text('true'), 'true', 'a boolean by its name');

select is(tds.json_word('"x"'), 'x', 'a word as it is');
select is(tds.json_word('12'), '12', 'a number by its digits');
select is(tds.json_word('""'), null, 'empty is null');
select throws_ok($$select tds.json_word('{"a": 1}')$$, 'ZB001', 'not a text', 'an object is no word');
select throws_ok($$select tds.json_word('true')$$, 'ZB001', 'not a text', 'a boolean is no word');
select throws_ok($$select tds.json_id('4.03e+18')$$, 'ZB001', 'not an id', 'a rounded number is no id');
select is(tds.json_date('"2026-01-02T00:00:00+0300"'), date '2026-01-02', 'a midnight is its day');
select is(tds.json_object('[]'), '{}'::jsonb, 'an empty object as PHP writes it');

select is(tds.json_id('2646610000000113286'), '2646610000000113286', 'a 19-digit number keeps every digit');
select is(tds.json_id('"2646610000000113286"'), '2646610000000113286', 'the same as a string');
select is(tds.json_id('""'), null, 'an empty id is null');
select throws_ok($$select tds.json_id('"a b"')$$, 'ZB001', 'not an id', 'blanks are no id');
select throws_ok($$select tds.json_id('"4e18"')$$, 'ZB001', 'not an id', 'nor is its text');
select throws_ok($$select tds.json_id('1.5')$$, 'ZB001', 'not an id', 'a fraction is no id');
select throws_ok(format('select tds.json_id(%L)', to_jsonb(repeat('1', 51))), 'ZB001', 'not an id', '51 digits are no id');

select is(tds.json_number('12.50'), 12.50, 'a JSON number');
select is(tds.json_number('"1,500.00"'), 1500.00, 'thousands are grouped');
select is(tds.json_number('"10%"'), 10::numeric, 'a percentage is its number');
select is(tds.json_number('"-0.5"'), -0.5, 'negative');
select is(tds.json_number('""'), null, 'empty is null');
select is(tds.json_number('0.00076'), 0.00076, 'no digit is lost');
select throws_ok($$select tds.json_number('"12,5x"')$$, 'ZB001', 'not a number', 'rubbish is refused');
select throws_ok($$select tds.json_number('"1,50"')$$, 'ZB001', 'not a number', 'a comma in the wrong place is refused');
select throws_ok($$select tds.json_number('"NaN"')$$, 'ZB001', 'not a number', 'NaN is refused');
select throws_ok($$select tds.json_number('"Infinity"')$$, 'ZB001', 'not a number', 'Infinity is refused');
select throws_ok($$select tds.json_number('"1e5"')$$, 'ZB001', 'not a number', 'an exponent in a text is refused');
select throws_ok($$select tds.json_number('"0x10"')$$, 'ZB001', 'not a number', 'hexadecimal is refused');
select throws_ok($$select tds.json_number('" 1"')$$, 'ZB001', 'not a number', 'blanks are refused');
select throws_ok($$select tds.json_number('1e40')$$, 'ZB001', 'not a number', 'beyond 30 digits is refused');
select throws_ok($$select tds.json_number('true')$$, 'ZB001', 'not a number', 'a boolean is no number');

select is(tds.json_boolean('"true"'), true, 'a boolean as a string');
select is(tds.json_boolean('false'), false, 'a boolean');
select is(tds.json_boolean('"True"'), true, 'in any case');
select is(tds.json_boolean('0'), false, 'as programs without booleans write it');
select throws_ok($$select tds.json_boolean('"yes"')$$, 'ZB001', 'not true or false', 'yes is refused');

select is(tds.json_date('"2024-02-29"'), date '2024-02-29', 'a leap day');
select is(tds.json_date('""'), null, 'empty is null');
select throws_ok($$select tds.json_date('"2026-02-30"')$$, '22008', null, 'a day that is not in the calendar');
select throws_ok($$select tds.json_date('"today"')$$, 'ZB001', null, 'today is refused');
select throws_ok($$select tds.json_date('"09/06/2026"')$$, 'ZB001', null, 'another order is refused');
select throws_ok($$select tds.json_date('"Jan--01-02"')$$, 'ZB001', null, 'what the server would guess at is refused');

select is(tds.json_time('"2026-06-09T09:46:21-0400"'), timestamptz '2026-06-09 13:46:21+00', 'with its offset');
select is(tds.json_time('"2025-01-07T10:30:00Z"'), timestamptz '2025-01-07 10:30:00+00', 'in UTC');
select is(tds.json_time('"2026-06-09 09:46:21.123456+03:00"'), timestamptz '2026-06-09 06:46:21.123456+00', 'with its fraction');
select throws_ok($$select tds.json_time('"2026-02-30 09:46:21.5+03:00"')$$, '22008', null, 'which is no other calendar');
select throws_ok($$select tds.json_time('"2026-06-09T09:46:21"')$$, 'ZB001', null, 'without offset it is no moment');
select throws_ok($$select tds.json_time('"2026-06-09T25:46:21-0400"')$$, '22008', null, 'hour 25');
select throws_ok($$select tds.json_time('"now"')$$, 'ZB001', null, 'now is refused');
select is((select string_agg(v.value, ' ') from unnest(array['2026-06-09T24:00:00Z', '2026-06-09T09:60:21Z', '2026-06-09T09:46:60Z',
                                                             '2026-13-09T09:46:21Z', '2026-00-09T09:46:21Z', '2026-06-32T09:46:21Z',
                                                             '2026-06-00T09:46:21Z', '2026-06-09 09:46:21', '2026-06-09T9:46:21Z']) v(value)
            where tds.is_plain_time(v.value) or tds.is_time(v.value)), null, 'no part of a moment may be out of its range');
select is((select string_agg(v.value, ' ') from unnest(array['2026-01-01T00:00:00Z', '2026-12-28T23:59:59Z', '2026-06-09T09:10:59-0400',
                                                             '2026-06-09T20:59:10+05:30', '2026-06-09 20:59:10.123+05:30']) v(value)
            where not tds.is_plain_time(v.value) or not tds.is_time(v.value)), null, 'and every part may be as large as it gets');

select is((select count(*) from (values ('number', '"12,5x"'), ('number', '1e40'), ('date', '"2026-02-30"'), ('time', '"now"'),
                                 ('id', '1.5'),
                 ('boolean', '"yes"'), ('word', '{}'), ('object', '[1]'), ('id', '4030000000000000000')) v(reader, value)
            where tds.problem(v.reader, v.value::jsonb, false, null) is null), 0::bigint, 'tds.problem() names what the readers refuse');
select is((select string_agg(v.reader || ' ' || v.value, ', ') from (values
                  ('id', '4030000000000001'), ('id', '"4030000000000001"'), ('number', '12.5'), ('number', '"12.5"'), ('boolean', 'true'),
                  ('boolean', '"false"'), ('date', '"2026-06-09"'), ('time', '"2026-06-09T09:46:21-0400"'), ('word', '"open"'),
                  ('text', '"a"'), ('object', '{}'), ('array', '[1]'), ('time', 'null'), ('date', '""')) v(reader, value)
            where tds.problem(v.reader, v.value::jsonb, false, null) is not null), null, 'and says nothing of what they read');
select is((select string_agg(v.reader, ', ') from (values ('time'), ('date')) v(reader)
            where tds.problem(v.reader, '20260609', false, null) is null), null, 'a number is neither day nor moment');

select * from finish();
rollback;
