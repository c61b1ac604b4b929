-- Checks of what the rules of evidence hold back.

create or replace function tds.check_held_deletions() returns tds.finding
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_records bigint;
    v_told    text;
    v_since   timestamptz;
begin
    select sum(g.records)::bigint, string_agg(format('%s of %s', g.records, g.entity), ', ' order by g.records desc, g.entity), min(g.since)
      into v_records, v_told, v_since
      from (select h.entity, count(*) as records, min(h.changed_at) as since from tds.held_deletion h
          where h.state = 'held' group by h.entity) g;
    return row(coalesce(v_records, 0), coalesce(v_told, 'none'), v_since)::tds.finding;
end
$$;
revoke all on function tds.check_held_deletions() from public;
comment on function tds.check_held_deletions() is
'Check: deletions that are held back, because too many records answered 404 within an hour.';
select tds.register_check('held_deletions', 'api', 'records', 1, 1, 15,
    'Records that Zoho answered 404 for, more of them within an hour than deletions_per_hour and deletions_percent_per_hour allow.',
    'tds deletions list; tds deletions confirm ENTITY, or refuse; they come back by themselves once Zoho shows one of them');
