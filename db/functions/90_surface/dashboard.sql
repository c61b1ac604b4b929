-- What the dashboard of the receiver shows: tables, the titles with them.

create or replace function tds.dashboard() returns json
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return (select json_agg(json_build_object('title', s.title, 'rows', s.rows) order by s.n)
              from tds.summary(20) with ordinality s(name, title, rows, n));
end
$$;
revoke all on function tds.dashboard() from public;
comment on function tds.dashboard() is 'tds.summary() for the receiver''s dashboard: an array of {title, rows}.';
grant execute on function tds.dashboard() to tds_receiver, tds_operator;
