-- tds.fill(): what the makers write SQL with. A name is quoted as its placeholder says, once; nothing is left over on either side.
begin;
select plan(18);

select is(tds.fill('select {{column:I}} from t where n = {{value:L}} {{rest}}',
                   '{"column": "Order", "value": "it''s", "rest": "order by 1"}'),
          'select "Order" from t where n = ''it''''s'' order by 1', 'SQL as it is, identifiers and literals quoted');
select is(tds.fill('{{name:I}} {{name:I}} {{name:L}} {{name}}', '{"name": "plain"}'), 'plain plain ''plain'' plain',
          'as often as it is named');
select is(tds.fill('{{a:L}}, {{b:L}}, {{c}}', '{"a": null, "b": 500, "c": true}'), 'NULL, ''500'', true',
          'a literal may be null, a number is its digits, true and false are words');
select is(tds.fill('{{a:L}}', jsonb_build_object('a', E'back\\slash')), 'E''back\\slash''', 'a backslash is no escape');
select is(tds.fill('{{a}}{{b}}', '{"a": "{{b}}", "b": "{{a}} 100% $1"}'), '{{b}}{{a}} 100% $1', 'what is filled in is not looked at again');
select is(tds.fill('''{}'' ''{a,b}'' ''{"k": {"l": {}}}'' %1$s %% $1 {1,50}', '{}'), '''{}'' ''{a,b}'' ''{"k": {"l": {}}}'' %1$s %% $1 '
    '{1,50}',
          'single braces, percents and dollars are text');
select is(tds.fill('', '{}'), '', 'nothing is nothing');
select is(tds.fill('{{a:I}}', '{"a": "x\"; drop table y; --"}'), '"x""; drop table y; --"', 'an identifier cannot leave its quotes');
select is(tds.fill('{{a:L}}', '{"a": "x''; drop table y; --"}'), '''x''''; drop table y; --''', 'a literal cannot leave its quotes');

create function pg_temp.why(template text, named jsonb) returns text language plpgsql as $$
declare
    v_detail text;
begin
    return tds.fill(template, named);
exception when sqlstate 'ZB030' then
    get stacked diagnostics v_detail = pg_exception_detail;
    return v_detail;
end
$$;
select is(pg_temp.why('{{a}} {{b}}', '{"a": "1"}'), 'nothing is given for {{b}}', 'a placeholder left over');
select is(pg_temp.why('{{a}}', '{"a": "1", "b": "2"}'), 'the template has no {{b}}', 'a value left over');
select is(pg_temp.why('{{a}}', '{"a": null}'), 'null is given for {{a}}', 'no SQL out of null');
select is(pg_temp.why('{{a:I}}', '{"a": null}'), 'null is given for {{a:I}}', 'no identifier out of null');
select is(pg_temp.why('{{a:L}}', '{"a": [1]}'), 'an array is given for {{a:L}}', 'nor a literal out of an array');
select is(pg_temp.why('x {{a:Q}} y', '{"a": "1"}'), '{{a:Q}} y is no placeholder; the template has no {{a}}', 'another kind of quoting is '
    'refused');
select is(pg_temp.why('x {{a', '{"a": "1"}'), '{{a is no placeholder; the template has no {{a}}', 'so is one that does not end');
select is(pg_temp.why('{{A}} {{ a }}', '{}'), '{{A}}  is no placeholder; {{ a }} is no placeholder', 'and one that is not quite a name');
select is(pg_temp.why(null, '{}'), 'no template', 'a template there must be');

select * from finish();
rollback;
