-- The reconciliation with Zoho's reports: its job, its check, and how long its series is kept.

insert into tds.job (job, schedule, command, description) values
    ('request_reconciles', '25 4 * * *', 'select tds.request_reconciles()', 'Asks for the night''s reconciliation with Zoho''s reports.')
on conflict on constraint job_pkey do update
   set command = excluded.command, description = excluded.description
 where (tds.job.command, tds.job.description) is distinct from (excluded.command, excluded.description);

select tds.register_retention('reconciliations', 'tds.reconciliation', 90,
    'Comparisons with Zoho''s reports; what differed is in tds.discrepancy, and the totals of each reconciliation stay.', 'compared_at',
    'not exists (select from tds.discrepancy d where d.reconciliation_id = t.reconciliation_id)');
select tds.register_retention('reconcile_runs', 'tds.reconcile_run', 1100,
    'Reconciliations: the series of the consistency.', 'requested_at', 't.finished_at is not null');
select tds.register_retention('discrepancies', 'tds.discrepancy', 1100,
    'Discrepancies that were resolved; open ones stay.', 'resolved_at');
select tds.register_retention(r.what, r.relation, null, r.reason, reason => r.reason)
  from (values ('reconcile_tasks', 'tds.reconcile_task', 'go with their reconciliation'),
               ('reports', 'tds.report', 'a row a report of Zoho''s'),
               ('report_measures', 'tds.report_measure', 'a row a figure of a report')) r(what, relation, reason);

create or replace function tds.check_reconcile(at timestamptz) returns tds.finding
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_last tds.reconcile_run;
    v_open bigint;
    v_since timestamptz;
begin
    select r.* into v_last from tds.reconcile_run r where r.finished_at is not null order by r.finished_at desc limit 1;
    select count(*), min(d.first_seen) into v_open, v_since from tds.discrepancy d where d.resolved_at is null and not tds.is_noted(d);
    return row(v_open,
               case when v_last.reconcile_id is null then 'never reconciled'
                    else format('last reconcile %s hours ago: %s compared, %s differ, %s not checked%s; %s open without a note',
                                round(extract(epoch from check_reconcile.at - v_last.finished_at) / 3600), v_last.compared,
                                    v_last.differing,
                                v_last.not_checked, coalesce(': ' || v_last.error, ''), v_open) end, v_since)::tds.finding;
end
$$;
revoke all on function tds.check_reconcile(timestamptz) from public;
comment on function tds.check_reconcile(timestamptz) is
'Check: figures that differ from Zoho''s reports and that nobody has noted a reason for as they are; and when the last reconciliation was.';
select tds.register_check('reconcile', 'mirror', 'discrepancies', 1, 100, 60,
    'Figures that differ from Zoho''s own reports, without a note of an accountant''s.',
    'select * from tds_discrepancies; what is known to differ: select tds.note_discrepancy(id, ''why'')');

create or replace function tds.check_reconcile_late(at timestamptz) returns tds.finding
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_since timestamptz;
begin
    if not tds.setting_text('reconcile_nightly')::boolean then
        return row(0, 'reconcile_nightly is false', null)::tds.finding;
    end if;
    select min(tds.late_from(coalesce(l.at, tds.migrated_since(f)), o.state_at, check_reconcile_late.at)) into v_since
      from tds.full_pull f
      left join tds.organization o on o.organization_id = f.organization_id
      left join (select r.organization_id, max(r.finished_at) as at from tds.reconcile_run r
                  where r.error is null and r.compared > 0 and r.finished_at <= check_reconcile_late.at
                  group by r.organization_id) l on l.organization_id = f.organization_id
     where tds.is_kept_in_step(f);
    return row(coalesce(extract(epoch from check_reconcile_late.at - v_since) / 3600, 0), coalesce(format('none since %s', v_since),
               'no organisation has been migrated'), v_since)::tds.finding;
end
$$;
revoke all on function tds.check_reconcile_late(timestamptz) from public;
comment on function tds.check_reconcile_late(timestamptz) is
'Check: hours since the last reconciliation that compared anything, of the organisation where that is longest.';
select tds.register_check('reconcile_late', 'mirror', 'hours', 50, 170, 60,
    'Hours since the mirror was compared with Zoho''s own reports.', 'tds reconcile; is there a poller? tds poll');
