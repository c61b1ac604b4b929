-- What is kept of an error for whoever looks at it later.

create or replace function tds.error_context(told text) returns text
language sql immutable parallel safe
as $$
    select left(ltrim(regexp_replace(E'\n' || $1, '\nSQL statement ".*?"(?=\nPL/pgSQL function |\nSQL function |\nSQL statement "|$)', '', 'g'), E'\n'), 4000)
$$;
comment on function tds.error_context(text) is
'Where an error happened, of what the server tells (pg_exception_context): the functions and lines, the innermost first, without the text of the '
'statements, which stand in the functions (\sf+).';
