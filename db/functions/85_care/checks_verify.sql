-- Whether the mirror was compared lately, and what that found.

create or replace function tds.check_verification(at timestamptz) returns tds.finding
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_last     timestamptz;
    v_standing bigint;
begin
    if not exists (select from tds.full_pull f where tds.migrated_since(f) < check_verification.at - interval '2 days') then
        return row(null, 'no migration has ended two days ago', null)::tds.finding;
    end if;
    v_last := coalesce((select max(v.finished_at) from tds.verification v
                         where v.depth = 'inside' and v.state = 'done' and v.finished_at <= check_verification.at),
                       (select min(tds.migrated_since(f)) from tds.full_pull f));
    v_standing := (select count(*) from (select distinct d.organization_id, d.entity, d.zoho_id from tds.verification_difference d
                                          where d.closed_at is null) r);
    return row(round(extract(epoch from check_verification.at - v_last) / 3600, 1),
               format('last compared inside at %s; %s records differ', v_last, v_standing), v_last)::tds.finding;
end
$$;
revoke all on function tds.check_verification(timestamptz) from public;
comment on function tds.check_verification(timestamptz) is 'Check: how long ago the mirror was last compared with its documents.';
select tds.register_check('verification', 'database', 'hours', 50, 200, 60,
    'How long ago the mirror was last compared with its documents (tds verify --depth inside) — '
    'the job verify_inside does it each night.',
    'tds jobs; tds verify --depth inside');

create or replace function tds.check_differences() returns tds.finding
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_records bigint;
    v_told    text;
    v_since   timestamptz;
begin
    select sum(g.records)::bigint, string_agg(format('%s of %s', g.records, g.entity), ', ' order by g.records desc, g.entity),
           min(g.since)
      into v_records, v_told, v_since
      from (select r.entity, count(*) as records, min(r.since) as since
              from (select d.entity, d.organization_id, d.zoho_id, min(d.since) as since
                      from tds.verification_difference d
                     where d.closed_at is null
                     group by d.entity, d.organization_id, d.zoho_id) r
             group by r.entity) g;
    return row(coalesce(v_records, 0), coalesce(v_told, 'none'), v_since)::tds.finding;
end
$$;
revoke all on function tds.check_differences() from public;
comment on function tds.check_differences() is 'Check: records that the last comparisons found different, and that nobody has mended.';
select tds.register_check('differences', 'database', 'records', 1, 100, 15,
    'Records that the last comparisons (tds_verifications) found different from their documents or from Zoho, and that stand so.',
    'tds_differences names them; tds repair --all-differing mends them');
