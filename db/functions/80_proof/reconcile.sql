-- Reconciliation: what Zoho's reports say beside the sums of the mirror. Whoever asks Zoho takes one task after the other
-- (tds.next_reconcile) and tells what came (tds.reconcile_told); what fails is told too, and counts as not checked.

insert into tds.setting (name, value, description) values
    ('reconcile_nightly', 'true', 'Whether the mirror is reconciled with Zoho''s reports each night.'),
    ('reconcile_tolerance', '0.01',
        'By how much a figure of a report may differ from ours where documents were converted into the base currency, or a discount was '
        'shared out over lines (unless 0, at least the base currency''s smallest amount); all others have to be equal.'),
    ('reconcile_again_seconds', '600',
        'How long after the last report those that differ are asked once more; what is due is pulled meanwhile. A command does not wait.'),
    ('reconcile_pages', '25',
        'Of how many pages of 200 a list without a filter may be, to be read for what was due before a difference is looked at again.'),
    ('reconcile_parties', '40', 'Of how many parties that differ the documents are read anew, in one reconciliation.'),
    ('reconcile_documents', '20', 'How many documents of one product that differs are read anew, in one reconciliation.'),
    ('reconcile_reads', '150', 'How many lists and documents are read anew because of all that differs, in one reconciliation.')
on conflict on constraint setting_pkey do nothing;

create or replace function tds.last_month(organization_id text, at timestamptz) returns date
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return (date_trunc('month', tds.day_of(last_month.organization_id, last_month.at)::timestamp) - interval '1 month')::date;
end
$$;
revoke all on function tds.last_month(text, timestamptz) from public;
comment on function tds.last_month(text, timestamptz) is 'First day of the month that ended last in an organisation''s calendar.';

create or replace function tds.request_reconcile(
    organization_id text default null, month date default null, as_of date default null, requested_by text default 'an operator')
returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now             constant timestamptz := tds.now();
    v_organization_id constant text := tds.own_organization(request_reconcile.organization_id, true);
    v_today           constant date := tds.day_of(v_organization_id, v_now);
    v_as_of           constant date := coalesce(request_reconcile.as_of, v_today);
    v_month           constant date := coalesce(date_trunc('month', request_reconcile.month::timestamp)::date,
                                                tds.last_month(v_organization_id, v_now));
    v_id              bigint;
begin
    if v_month > v_today or v_as_of > v_today then
        raise exception using errcode = 'ZB008', message = 'a period that has not come yet', detail = format('%s, %s', v_month, v_as_of),
            hint = format('today is %s in the organisation''s calendar', v_today);
    end if;
    insert into tds.reconcile_run (organization_id, as_of, month, requested_at, requested_by)
    values (v_organization_id, v_as_of, v_month, v_now, request_reconcile.requested_by)
    on conflict do nothing
    returning reconcile_id into v_id;
    if v_id is null then
        select r.reconcile_id into v_id from tds.reconcile_run r
         where r.organization_id = v_organization_id and r.started_at is null and r.finished_at is null
           and r.month = v_month and r.as_of = v_as_of and r.requested_by = request_reconcile.requested_by;
    end if;
    return v_id;
end
$$;
revoke all on function tds.request_reconcile(text, date, date, text) from public;
comment on function tds.request_reconcile(text, date, date, text) is
'Asks for a reconciliation with Zoho''s reports: of what was sold, bought and paid in a month (null: the last that has ended), and of what '
'is owed and in stock at the end of a day (null: today). Returns its number; the same where that is asked for already. Raises ZB008, '
'ZB013.';

create or replace function tds.periods_in_doubt(organization_id text) returns table (month date, as_of date)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_last constant text := to_char(tds.last_month(periods_in_doubt.organization_id, tds.now()), 'YYYY-MM');
begin
    return query
    select case when p.is_month then to_date(p.period, 'YYYY-MM') end, case when not p.is_month then to_date(p.period, 'YYYY-MM-DD') end
      from (select d.period, m.is_month, row_number() over (partition by m.is_month order by min(d.last_seen), d.period) as place
              from tds.discrepancy d
             cross join lateral (select d.period ~ '^[0-9]{4}-[0-9]{2}$' as is_month) m
             where d.organization_id = periods_in_doubt.organization_id and d.resolved_at is null and not tds.is_noted(d)
               and (m.is_month and d.period < v_last or d.period ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}$')
             group by d.period, m.is_month) p
     where p.place <= 3
     order by p.is_month desc, p.place;
end
$$;
revoke all on function tds.periods_in_doubt(text) from public;
comment on function tds.periods_in_doubt(text) is
'The months before the last, and the days past (as_of), of which figures differed, without a note, when they were compared last; three '
'of each at most, those that wait longest first. What has been mended since closes only when it is compared once more, and nobody else '
'would.';

create or replace function tds.request_reconciles() returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_organization text;
    v_asked        int := 0;
begin
    if tds.setting_text('reconcile_nightly')::boolean and tds.bulk_sync_refusal() is null then
        for v_organization in
            select f.organization_id from tds.full_pull f
             where tds.is_kept_in_step(f)
             order by f.organization_id
        loop
            -- what nobody has begun since last night is not done twice
            update tds.reconcile_run r set finished_at = tds.now(), error = 'nobody began with it; is there a poller? tds poll'
             where r.organization_id = v_organization and r.started_at is null and r.finished_at is null
               and r.requested_by in ('the clock', 'the clock, again');
            -- before the night's own, which is to be the last that was made
            perform tds.request_reconcile(v_organization, p.month, p.as_of, 'the clock, again')
               from tds.periods_in_doubt(v_organization) p;
            perform tds.request_reconcile(v_organization, requested_by => 'the clock');
            v_asked := v_asked + 1;
        end loop;
    end if;
    return v_asked;
end
$$;
revoke all on function tds.request_reconciles() from public;
comment on function tds.request_reconciles() is
'Asks for a reconciliation of every organisation that is served and whose migration has ended, unless reconcile_nightly is false, and once '
'more for what differed in months and on days past (tds.periods_in_doubt()); returns how many organisations.';

create or replace function tds.why_not_of_that_day(run tds.reconcile_run, report tds.report, at timestamptz) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return case when (why_not_of_that_day.report).ours = 'ours_stock'
                 -- in the night's first hour hardly anything is moved
                 and (why_not_of_that_day.run).as_of < tds.day_of((why_not_of_that_day.run).organization_id,
                                                                  why_not_of_that_day.at - interval '1 hour')
                then 'the stock of a day past is not known' end;
end
$$;
revoke all on function tds.why_not_of_that_day(tds.reconcile_run, tds.report, timestamptz) from public;
comment on function tds.why_not_of_that_day(tds.reconcile_run, tds.report, timestamptz) is
'Why the mirror cannot say a report''s figures of the day that a reconciliation is of: it has the stock of now; null: it can.';

create or replace function tds.parameters_taken(report tds.report, organization_id text) returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return tds.without_refused(
        (parameters_taken.report).parameters, (parameters_taken.report).path, parameters_taken.organization_id,
        -- without this one a list may leave some out, which is no count of all: it is asked for, and refused
        keeps => case when not exists (
            select from tds.entity n
             where case when n.api_path = (parameters_taken.report).path
                        then tds.lists_all(n.entity, parameters_taken.organization_id) end) then 'filter_by' end);
end
$$;
revoke all on function tds.parameters_taken(tds.report, text) from public;
comment on function tds.parameters_taken(tds.report, text) is
'What a report is asked for with, without what the organisation''s edition has refused of the list that it counts.';

create or replace function tds.plan_reconcile(run tds.reconcile_run) returns int
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now  constant timestamptz := tds.now();
    v_past constant text := case
        when (plan_reconcile.run).as_of < tds.day_of((plan_reconcile.run).organization_id, (plan_reconcile.run).requested_at)
        then (plan_reconcile.run).as_of::text else to_char((plan_reconcile.run).month, 'YYYY-MM') end;
    v_rows int;
begin
    insert into tds.reconcile_task (reconcile_id, task, report, path, parameters, paged, done_at, error)
    select (plan_reconcile.run).reconcile_id, row_number() over (order by r.position, r.report), r.report, r.path,
           tds.parameters_taken(r, (plan_reconcile.run).organization_id)
           || case r.period when 'none' then '{}'::jsonb else jsonb_build_object('usestate', 'false', 'cash_based', 'false') end
           || case r.period when 'day' then jsonb_build_object('to_date', (plan_reconcile.run).as_of)
                            when 'month' then jsonb_build_object(
                                'from_date', (plan_reconcile.run).month,
                                'to_date', ((plan_reconcile.run).month + interval '1 month - 1 day')::date)
                            else '{}' end
           || case when r.ours = 'ours_count' then '{"response_option": "2", "page": "1", "per_page": "1"}'::jsonb else '{}' end,
           r.ours <> 'ours_count', case when w.why is not null then v_now end, w.why
      from tds.report r
     -- what cannot be compared is not asked for
     cross join lateral (select tds.why_not_of_that_day(plan_reconcile.run, r, v_now) as why offset 0) w
     -- of a month or day past the clock asks for nothing but what differed in it
     where (plan_reconcile.run).requested_by <> 'the clock, again'
        or exists (select from tds.discrepancy d
                    where d.organization_id = (plan_reconcile.run).organization_id and d.report = r.report and d.resolved_at is null
                      and d.period = v_past)
     order by r.position, r.report;
    get diagnostics v_rows = row_count;
    perform tds.note_not_checked(plan_reconcile.run, r, t, t.error)
       from tds.reconcile_task t join tds.report r on r.report = t.report
      where t.reconcile_id = (plan_reconcile.run).reconcile_id and t.error is not null;
    return v_rows;
end
$$;
revoke all on function tds.plan_reconcile(tds.reconcile_run) from public;
comment on function tds.plan_reconcile(tds.reconcile_run) is
'Writes the tasks of a reconciliation: every report and list, or, of a month or day past by the clock, what differed in it; returns how '
'many. The stock of a day past is noted as not checked at once.';

create or replace function tds.next_reconcile(organization_id text, session int, only_run bigint default null)
returns table (reconcile_id bigint, task int, report text, path text, parameters jsonb, paged boolean)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now constant timestamptz := tds.now();
    v_run tds.reconcile_run;
begin
    select r.* into v_run
      from tds.reconcile_run r
     where r.organization_id = next_reconcile.organization_id and r.finished_at is null
       and (next_reconcile.only_run is null and r.requested_by <> 'a command' or r.reconcile_id = next_reconcile.only_run)
       and (r.session is null or r.session = next_reconcile.session or not r.session = any (tds.living_sessions()))
     order by r.reconcile_id
     limit 1
       for update skip locked;
    if not found then
        return;
    end if;
    if v_run.started_at is null then
        perform tds.plan_reconcile(v_run);
    end if;
    update tds.reconcile_run r set session = next_reconcile.session, started_at = coalesce(r.started_at, v_now)
     where r.reconcile_id = v_run.reconcile_id;
    if tds.waits_for_second_look(v_run, v_now) then
        return;
    end if;
    return query
    select t.reconcile_id, t.task, t.report, t.path, t.parameters, t.paged from tds.reconcile_task t
     where t.reconcile_id = v_run.reconcile_id and t.done_at is null
     order by t.task
     limit 1;
    if not found then
        perform tds.end_reconcile(v_run.reconcile_id, null);
    end if;
end
$$;
revoke all on function tds.next_reconcile(text, int, bigint) from public;
comment on function tds.next_reconcile(text, int, bigint) is
'The next that Zoho has to be asked for a reconciliation (null: any that the clock or an operator asked for); none: there is nothing to '
'do, or it waits for its second look. A session keeps what it has begun until it is gone.';

create or replace function tds.awaited_pulls(run tds.reconcile_run) returns bigint[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return array(select r.run_id from tds.run r where r.run_id = any ((awaited_pulls.run).pulls) and r.finished_at is null
                  order by r.run_id);
end
$$;
revoke all on function tds.awaited_pulls(tds.reconcile_run) from public;
comment on function tds.awaited_pulls(tds.reconcile_run) is 'The pulls that a second look waits for and that are not over.';

create or replace function tds.waits_for_second_look(run tds.reconcile_run, at timestamptz) returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return coalesce(waits_for_second_look.at < (waits_for_second_look.run).again_at
                    -- a pull that does not end (bulk sync was switched off, the calls are used up) is not waited for all day
                    or waits_for_second_look.at < (waits_for_second_look.run).again_at + interval '1 hour'
                       and tds.awaited_pulls(waits_for_second_look.run) <> '{}', false);
end
$$;
revoke all on function tds.waits_for_second_look(tds.reconcile_run, timestamptz) from public;
comment on function tds.waits_for_second_look(tds.reconcile_run, timestamptz) is
'Whether what differs is not to be looked at again yet: its time has not come, or what was due is still being pulled.';

create or replace function tds.reconcile_pulls(reconcile_id bigint) returns bigint[]
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return (select tds.awaited_pulls(r) from tds.reconcile_run r
             where r.reconcile_id = reconcile_pulls.reconcile_id and r.finished_at is null);
end
$$;
revoke all on function tds.reconcile_pulls(bigint) from public;
comment on function tds.reconcile_pulls(bigint) is
'The pulls that a reconciliation waits for before its second look, for whoever does them; null: it is over.';

create or replace function tds.is_news(run tds.reconcile_run, report tds.report) returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return exists (
        select from tds.reconciliation n
         where n.reconcile_id = (is_news.run).reconcile_id and n.report = (is_news.report).report and n.state = 'differs'
           and not exists (select from tds.discrepancy d
                            where d.organization_id = n.organization_id and d.report = n.report and d.measure = n.measure
                              and d.status = coalesce(n.status, '') and d.period = tds.period_told(is_news.run, is_news.report)
                              and d.currency = coalesce(n.currency, '') and d.party_kind = n.party_kind and d.party_id = n.party_id
                              and d.resolved_at is null and d.difference = n.difference));
end
$$;
revoke all on function tds.is_news(tds.reconcile_run, tds.report) from public;
comment on function tds.is_news(tds.reconcile_run, tds.report) is
'Whether a report that was just compared shows a difference that is not an open discrepancy already.';

create or replace function tds.pull_what_is_due(run tds.reconcile_run) returns bigint[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_overlap constant interval := make_interval(secs => tds.setting_int('cursor_overlap_seconds'));
    v_pulls   bigint[];
begin
    -- modified_since leaves out what a list without a filter tells besides: a pull that mended that would hide what is to be found
    select array_agg(tds.request_pull_for(
               e.entity, jsonb_build_object('modified_since', to_char((e.last_pass - v_overlap) at time zone 'UTC',
                                                                      'YYYY-MM-DD"T"HH24:MI:SS"+00:00"')),
               (pull_what_is_due.run).organization_id, 'a reconciliation') order by e.entity)
      into v_pulls
      from (select n.entity, tds.last_pass(n.entity, (pull_what_is_due.run).organization_id) as last_pass
              from (select d.* from tds.entity d
                     where d.entity in (select unnest(r.entities) from tds.reconcile_task t join tds.report r on r.report = t.report
                                         where t.reconcile_id = (pull_what_is_due.run).reconcile_id and t.look = 2)
                    offset 0) n
             where 'modified_since' = any (tds.pull_option_names(n.entity))
               and (tds.has_filter(n, (pull_what_is_due.run).organization_id)
                    or tds.list_pages(n, tds.list_records(n, (pull_what_is_due.run).organization_id))
                       <= tds.setting_int('reconcile_pages'))) e
     where e.last_pass is not null;
    return coalesce(v_pulls, '{}');
end
$$;
revoke all on function tds.pull_what_is_due(tds.reconcile_run) from public;
comment on function tds.pull_what_is_due(tds.reconcile_run) is
'Asks for what has changed since the last pass in the lists of the reports that are looked at again; returns the pulls. A list without a '
'filter is read whole, if it has no more than reconcile_pages.';

create or replace function tds.plan_second_look(run tds.reconcile_run) returns int
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now   constant timestamptz := tds.now();
    v_pulls bigint[] := array[]::bigint[];
    v_rows  int;
begin
    insert into tds.reconcile_task (reconcile_id, task, report, path, parameters, paged, look)
    select t.reconcile_id, (select max(m.task) from tds.reconcile_task m where m.reconcile_id = t.reconcile_id)
                           + row_number() over (order by t.task), t.report, t.path, t.parameters, t.paged, 2
      from tds.reconcile_task t
      join tds.report r on r.report = t.report
     where t.reconcile_id = (plan_second_look.run).reconcile_id and t.error is null and tds.is_news(plan_second_look.run, r)
     order by t.task;
    get diagnostics v_rows = row_count;
    if v_rows > 0 then
        if tds.bulk_sync_refusal() is null then
            v_pulls := tds.pull_what_is_due(plan_second_look.run);
        end if;
        update tds.reconcile_run r
           set pulls = v_pulls,
               again_at = v_now + case when r.requested_by = 'a command' then interval '0'
                                       else make_interval(secs => tds.setting_int('reconcile_again_seconds')) end
         where r.reconcile_id = (plan_second_look.run).reconcile_id;
    end if;
    return v_rows;
end
$$;
revoke all on function tds.plan_second_look(tds.reconcile_run) from public;
comment on function tds.plan_second_look(tds.reconcile_run) is
'Asks for what is due in the lists of the reports that show something new, and writes the tasks of asking these once more; returns how '
'many: an edit that was made between a pull and a report is no discrepancy.';

create or replace function tds.end_reconcile(reconcile_id bigint, error text) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    update tds.reconcile_run r
       set finished_at = tds.now(), session = null, error = end_reconcile.error, compared = c.compared, differing = c.differing,
           not_checked = c.not_checked
      from (select (count(*) filter (where n.state <> 'not checked'))::int, (count(*) filter (where n.state = 'differs'))::int,
                   (count(*) filter (where n.state = 'not checked'))::int
              from tds.reconciliation n where n.reconcile_id = end_reconcile.reconcile_id) c(compared, differing, not_checked)
     where r.reconcile_id = end_reconcile.reconcile_id;
end
$$;
revoke all on function tds.end_reconcile(bigint, text) from public;
comment on function tds.end_reconcile(bigint, text) is 'Ends a reconciliation, and counts what came of it.';

create or replace function tds.first_of(doc jsonb, keys text[]) returns jsonb
language sql immutable parallel safe
as $$ select $1 -> k.key from unnest($2) with ordinality k(key, n) where $1 ? k.key order by k.n limit 1 $$;
comment on function tds.first_of(jsonb, text[]) is 'The value of the first of these keys that an object has; null: it has none.';

create or replace function tds.check_echo(report tds.report, task tds.reconcile_task, pages jsonb[]) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_page record;
    v_told jsonb;
begin
    for v_page in select p.doc, p.n from unnest(check_echo.pages) with ordinality p(doc, n) loop
        v_told := v_page.doc -> 'page_context';
        if jsonb_typeof(v_told) is distinct from 'object' then
            raise exception using errcode = 'ZB008', message = 'it does not say what it is of (page_context)';
        end if;
        if coalesce((v_told ->> 'page')::int <> v_page.n, false) then
            raise exception using errcode = 'ZB008', message = format('asked for page %s it gave page %s', v_page.n, v_told ->> 'page');
        end if;
        continue when (check_echo.report).period = 'none';
        if coalesce(v_told ->> 'as_of_date', v_told ->> 'to_date') is distinct from (check_echo.task).parameters ->> 'to_date'
           or (check_echo.report).period = 'month'
              and v_told ->> 'from_date' is distinct from (check_echo.task).parameters ->> 'from_date' then
            raise exception using errcode = 'ZB008', message = format('asked for %s it answered for %s',
                concat_ws(' to ', (check_echo.task).parameters ->> 'from_date', (check_echo.task).parameters ->> 'to_date'),
                concat_ws(' to ', case when (check_echo.report).period = 'month' then v_told ->> 'from_date' end,
                          coalesce(v_told ->> 'as_of_date', v_told ->> 'to_date', 'no period')));
        end if;
        if v_told ->> 'cash_based' = 'true' then
            raise exception using errcode = 'ZB008', message = 'it is on cash basis';
        end if;
        if coalesce(v_told ->> 'applied_filter', '') not in ('', (check_echo.task).parameters ->> 'filter_by') then
            raise exception using errcode = 'ZB008',
                message = format('asked with the filter %s it answered with %s', (check_echo.task).parameters ->> 'filter_by',
                                          v_told ->> 'applied_filter');
        end if;
    end loop;
end
$$;
revoke all on function tds.check_echo(tds.report, tds.reconcile_task, jsonb[]) from public;
comment on function tds.check_echo(tds.report, tds.reconcile_task, jsonb[]) is
'Raises ZB008 where a report is of another period, page, filter or basis than was asked for: Zoho then says nothing else.';

create or replace function tds.report_rows(report tds.report, pages jsonb[]) returns setof jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_page jsonb;
    v_path text;
    v_last jsonb;
    v_rows jsonb;
begin
    foreach v_page in array report_rows.pages loop
        -- the first form of which the list is there, be it empty
        select p.path into v_path
          from unnest((report_rows.report).rows_paths) with ordinality p(path, n)
         where v_page ? split_part(replace(p.path, '[*]', ''), '.', 2)
         order by not jsonb_path_exists(v_page, left(p.path, -3)::jsonpath), p.n
         limit 1;
        if v_path is null then
            raise exception using errcode = 'ZB008', message = format('it has no %s', (report_rows.report).rows_paths[1]);
        end if;
        v_rows := jsonb_path_query_array(v_page, v_path::jsonpath);
        if v_rows = v_last and v_rows <> '[]' then
            raise exception using errcode = 'ZB008', message = 'it gives the same page again and again';
        end if;
        v_last := v_rows;
        return query select r.doc from jsonb_array_elements(v_rows) r(doc);
    end loop;
end
$$;
revoke all on function tds.report_rows(tds.report, jsonb[]) from public;
comment on function tds.report_rows(tds.report, jsonb[]) is 'The rows of a report''s pages. Raises ZB008 where it has another form.';

create or replace function tds.report_figures(report tds.report, pages jsonb[])
returns table (party_id text, party_name text, measure text, amount numeric)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_bad record;
begin
    if (report_figures.report).ours = 'ours_count' then
        return query select c.entity, c.entity, 'count'::text, c.total from tds.report_count(report_figures.report, pages[1]) c;
        return;
    end if;
    select r.doc, m.measure into v_bad
      from tds.report_rows(report_figures.report, report_figures.pages) r(doc)
     cross join (select v.measure, v.keys from tds.report_measure v where v.report = (report_figures.report).report) m
     where coalesce(tds.first_of(r.doc, (report_figures.report).id_keys) #>> '{}', '') = ''
        or tds.first_of(r.doc, m.keys) is not null and not coalesce(tds.is_number(tds.first_of(r.doc, m.keys) #>> '{}'), false)
     limit 1;
    if found then
        raise exception using errcode = 'ZB008',
            message = format('a row without an id, or with a %s that cannot be read: %s', v_bad.measure,
                                      left(v_bad.doc::text, 200));
    end if;
    return query
    select tds.first_of(r.doc, (report_figures.report).id_keys) #>> '{}', max(r.doc ->> (report_figures.report).name_key), m.measure,
           sum((tds.first_of(r.doc, m.keys) #>> '{}')::numeric)
      from tds.report_rows(report_figures.report, report_figures.pages) r(doc)
     cross join (select v.measure, v.keys from tds.report_measure v where v.report = (report_figures.report).report) m
     where tds.first_of(r.doc, m.keys) is not null
     group by 1, 3;
end
$$;
revoke all on function tds.report_figures(tds.report, jsonb[]) from public;
comment on function tds.report_figures(tds.report, jsonb[]) is
'The figures of a report, by party and measure. Raises ZB008 where it has another form.';

create or replace function tds.report_count(report tds.report, page jsonb, out entity text, out total numeric)
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    report_count.entity := (report_count.report).entities[1];
    if tds.is_number(report_count.page #>> '{page_context,total}') then
        report_count.total := (report_count.page #>> '{page_context,total}')::numeric;
    elsif report_count.page #>> '{page_context,has_more_page}' = 'false' then
        report_count.total := jsonb_array_length(
            jsonb_path_query_array(report_count.page, (report_count.report).rows_paths[1]::jsonpath))::numeric;
    else
        raise exception using errcode = 'ZB008', message = 'Zoho does not count this list';
    end if;
end
$$;
revoke all on function tds.report_count(tds.report, jsonb) from public;
comment on function tds.report_count(tds.report, jsonb) is
'How many records a list has, by what Zoho says. Raises ZB008 where it does not say.';

create or replace function tds.touched_parties(organization_id text, since timestamptz) returns table (party_kind text, party_id text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    with documents as (
        select 'customer' as kind, d.zoho_customer_id as party, 'invoices' as entity, d.zoho_invoice_id as zoho_id from zoho.invoices d
         where d.organization_id = touched_parties.organization_id and d.synced_at >= touched_parties.since
         union all
        select 'customer', d.zoho_customer_id, 'credit_notes', d.zoho_creditnote_id from zoho.credit_notes d
         where d.organization_id = touched_parties.organization_id and d.synced_at >= touched_parties.since
         union all
        select 'customer', d.zoho_customer_id, 'payments', d.zoho_payment_id from zoho.customer_payments d
         where d.organization_id = touched_parties.organization_id and d.synced_at >= touched_parties.since
         union all
        select 'vendor', d.zoho_vendor_id, 'bills', d.zoho_bill_id from zoho.bills d
         where d.organization_id = touched_parties.organization_id and d.synced_at >= touched_parties.since
         union all
        select 'vendor', d.zoho_vendor_id, 'vendor_credits', d.zoho_vendor_credit_id from zoho.vendor_credits d
         where d.organization_id = touched_parties.organization_id and d.synced_at >= touched_parties.since
         union all
        select 'vendor', d.zoho_vendor_id, 'vendor_payments', d.zoho_payment_id from zoho.vendor_payments d
         where d.organization_id = touched_parties.organization_id and d.synced_at >= touched_parties.since)
    select d.kind, d.party from documents d
     union
    select case d.entity when 'payments' then 'payment' else 'vendor_payment' end, d.zoho_id from documents d
     where d.entity in ('payments', 'vendor_payments')
     union
    select 'product', p.zoho_item_id from zoho.products p
     where p.organization_id = touched_parties.organization_id and p.synced_at >= touched_parties.since
     union
    select 'product', tds.traded_items(touched_parties.organization_id, d.entity, d.zoho_id) from documents d
     union
    select 'entity', d.entity from documents d;
end
$$;
revoke all on function tds.touched_parties(text, timestamptz) from public;
comment on function tds.touched_parties(text, timestamptz) is
'Customers, vendors, products, payments and entities of which something was written since then: what Zoho said before says nothing of '
'them.';

create or replace function tds.traded_items(organization_id text, entity text, zoho_id text) returns setof text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    select l.zoho_item_id from zoho.invoice_line_items l
     where traded_items.entity = 'invoices' and l.organization_id = traded_items.organization_id
       and l.zoho_invoice_id = traded_items.zoho_id
     union
    select l.zoho_item_id from zoho.credit_note_line_items l
     where traded_items.entity = 'credit_notes' and l.organization_id = traded_items.organization_id
       and l.zoho_creditnote_id = traded_items.zoho_id
     union
    select l.zoho_item_id from zoho.bill_line_items l
     where traded_items.entity = 'bills' and l.organization_id = traded_items.organization_id and l.zoho_bill_id = traded_items.zoho_id
     union
    select l.zoho_item_id from zoho.vendor_credit_line_items l
     where traded_items.entity = 'vendor_credits' and l.organization_id = traded_items.organization_id
       and l.zoho_vendor_credit_id = traded_items.zoho_id;
end
$$;
revoke all on function tds.traded_items(text, text, text) from public;
comment on function tds.traded_items(text, text, text) is 'The products on a document.';

create or replace function tds.party_name(organization_id text, party_kind text, party_id text) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return case
        when party_name.party_kind in ('customer', 'vendor') then
            (select min(c.name) from zoho.contacts c
              where c.organization_id = party_name.organization_id and c.zoho_contact_id = party_name.party_id)
        when party_name.party_kind = 'product' then
            (select p.name from zoho.products p where p.organization_id = party_name.organization_id
             and p.zoho_item_id = party_name.party_id)
        when party_name.party_kind = 'payment' then
            (select p.payment_number from zoho.customer_payments p
              where p.organization_id = party_name.organization_id and p.zoho_payment_id = party_name.party_id)
        when party_name.party_kind = 'vendor_payment' then
            (select p.payment_number from zoho.vendor_payments p
              where p.organization_id = party_name.organization_id and p.zoho_payment_id = party_name.party_id)
        else party_name.party_id end;
end
$$;
revoke all on function tds.party_name(text, text, text) from public;
comment on function tds.party_name(text, text, text) is 'The name of a customer, vendor or product, the number of a payment.';

create or replace function tds.both_figures(report tds.report, figures tds.figure[], pages jsonb[])
returns table (measure text, unit text, party_id text, party_name text, currency text, ours numeric, zoho numeric, is_exact boolean,
               lacking int)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_told text[];
begin
    select coalesce(array_agg(distinct z.measure), '{}') into v_told from tds.report_figures(both_figures.report, both_figures.pages) z;
    if v_told = '{}' and (select count(distinct o.party_id) > 5 from unnest(both_figures.figures) o) then
        raise exception using errcode = 'ZB008', message = format('it is empty, where the mirror has %s',
                                      (select count(distinct o.party_id) from unnest(both_figures.figures) o));
    end if;
    return query
    select m.measure, m.unit, coalesce(o.party_id, z.party_id), z.party_name, o.currency, o.amount, z.amount, coalesce(o.is_exact, true),
           coalesce(o.lacking, w.lacking, 0)
      from (select f.* from unnest(both_figures.figures) f
             where f.party_id is not null and (f.measure = any (v_told) or v_told = '{}')) o
      full join tds.report_figures(both_figures.report, both_figures.pages) z on z.measure = o.measure and z.party_id = o.party_id
      join tds.report_measure m on m.report = (both_figures.report).report and m.measure = coalesce(o.measure, z.measure)
     -- what is lacking of nobody knows whom may be of any
     cross join (select max(f.lacking) from unnest(both_figures.figures) f where f.party_id is null) w(lacking)
     where (both_figures.report).ours = 'ours_count' or coalesce(o.amount, 0) <> 0 or coalesce(z.amount, 0) <> 0;
end
$$;
revoke all on function tds.both_figures(tds.report, tds.figure[], jsonb[]) from public;
comment on function tds.both_figures(tds.report, tds.figure[], jsonb[]) is
'Our figures beside those of a report, by measure and party; what is nothing on both sides is left out, and so is what the report does not '
'tell at all. Raises ZB008 where it has another form, or is empty.';

create or replace function tds.compare_report(
    run tds.reconcile_run, report tds.report, task tds.reconcile_task, pages jsonb[], since timestamptz) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now       constant timestamptz := tds.now();
    v_told      constant numeric := tds.setting_text('reconcile_tolerance')::numeric;
    v_tolerance constant numeric := case when v_told > 0 then greatest(
        v_told, power(10::numeric, -tds.base_decimals((compare_report.run).organization_id))) else v_told end;
    v_from      constant date := ((compare_report.task).parameters ->> 'from_date')::date;
    v_to        constant date := ((compare_report.task).parameters ->> 'to_date')::date;
    v_base      constant text := tds.base_currency((compare_report.run).organization_id);
    v_ours      tds.figure[];
begin
    perform tds.check_echo(compare_report.report, compare_report.task, compare_report.pages);
    execute format('select coalesce(array_agg(f), ''{}'') from tds.%I($1) f', (compare_report.report).ours)
       into v_ours
      using row((compare_report.report).report, (compare_report.report).party_kind, (compare_report.report).entities[1],
                tds.counted_status(compare_report.report), (compare_report.run).organization_id, v_from, v_to)::tds.asked;
    with first_look as (
        delete from tds.reconciliation n
         where n.reconcile_id = (compare_report.run).reconcile_id and n.report = (compare_report.report).report
        returning n.measure, n.party_id, n.state, n.difference)
    insert into tds.reconciliation (reconcile_id, organization_id, report, measure, status, period_from, period_to, currency, party_kind,
                                    party_id, party_name, ours, zoho, state, reason, compared_at)
    select (compare_report.run).reconcile_id, (compare_report.run).organization_id, (compare_report.report).report, c.measure,
           tds.counted_status(compare_report.report), v_from, v_to,
           case c.unit when 'base' then v_base when 'own' then coalesce(p.currency, c.currency) end,
           (compare_report.report).party_kind, c.party_id,
           -- of a forgotten person the name that the mirror has
           coalesce(case when g.zoho_contact_id is null then c.party_name end,
                    tds.party_name((compare_report.run).organization_id, (compare_report.report).party_kind, c.party_id)),
           c.ours, c.zoho,
           case when not c.differs then 'equal' when r.reason is not null then 'not checked' else 'differs' end,
           case when c.differs then r.reason
                when f.state = 'differs' then format('it differed by %s at the first look: what was due has come since', f.difference) end,
           v_now
      from (select b.*, abs(coalesce(b.ours, 0) - coalesce(b.zoho, 0))
                        > case when b.unit = 'base' and not b.is_exact then v_tolerance else 0 end as differs
              from tds.both_figures(compare_report.report, v_ours, compare_report.pages) b) c
      left join tds.touched_parties((compare_report.run).organization_id, compare_report.since) t
        on t.party_kind = (compare_report.report).party_kind and t.party_id = c.party_id
      left join first_look f on f.measure = c.measure and f.party_id = c.party_id
      left join tds.forgotten g on g.organization_id = (compare_report.run).organization_id and g.zoho_contact_id = c.party_id
                               and (compare_report.report).party_kind in ('customer', 'vendor')
     -- a contact has one currency, also while it has no documents
      left join lateral (select min(k.currency) from zoho.contacts k
                          where (compare_report.report).party_kind in ('customer', 'vendor')
                            and k.organization_id = (compare_report.run).organization_id
                            and k.zoho_contact_id = c.party_id) p(currency) on true
     cross join lateral (select case when c.lacking > 0 then format('%s documents have no detail or rate yet: tds pull', c.lacking)
                                     when t.party_id is not null then 'it was changed meanwhile' end) r(reason)
     order by c.measure, c.party_id;
end
$$;
revoke all on function tds.compare_report(tds.reconcile_run, tds.report, tds.reconcile_task, jsonb[], timestamptz) from public;
comment on function tds.compare_report(tds.reconcile_run, tds.report, tds.reconcile_task, jsonb[], timestamptz) is
'Compares a report that was read from that moment on with the mirror, and writes a row of tds.reconciliation a figure, in the place of '
'those of the first look. Raises ZB008 where it cannot be compared.';

create or replace function tds.note_not_checked(run tds.reconcile_run, report tds.report, task tds.reconcile_task, reason text) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    if (note_not_checked.task).look = 2 then
        -- what one look alone has shown is no discrepancy
        update tds.reconciliation n
           set state = 'not checked',
               reason = left('it differed, and could not be looked at once more: ' || note_not_checked.reason, 500)
         where n.reconcile_id = (note_not_checked.run).reconcile_id and n.report = (note_not_checked.report).report and n.state = 'differs';
        return;
    end if;
    insert into tds.reconciliation (reconcile_id, organization_id, report, status, period_from, period_to, state, reason, compared_at)
    values ((note_not_checked.run).reconcile_id, (note_not_checked.run).organization_id, (note_not_checked.report).report,
            tds.counted_status(note_not_checked.report), ((note_not_checked.task).parameters ->> 'from_date')::date,
            ((note_not_checked.task).parameters ->> 'to_date')::date, 'not checked', left(note_not_checked.reason, 500), tds.now());
end
$$;
revoke all on function tds.note_not_checked(tds.reconcile_run, tds.report, tds.reconcile_task, text) from public;
comment on function tds.note_not_checked(tds.reconcile_run, tds.report, tds.reconcile_task, text) is
'Writes that a report could not be compared, and why.';

create or replace function tds.why_not_now(report tds.report) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_events bigint := tds.waiting_events((why_not_now.report).entities);
begin
    return case when v_events > 0 then format('%s events wait, so that a difference may be on its way: tds work', v_events) end;
end
$$;
revoke all on function tds.why_not_now(tds.report) from public;
comment on function tds.why_not_now(tds.report) is 'Why the mirror is not to be compared just now; null: it is.';

create or replace function tds.reconcile_told(reconcile_id bigint, task int, pages bytea[], error text, since timestamptz, calls int)
    returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_run    tds.reconcile_run;
    v_task   tds.reconcile_task;
    v_report tds.report;
    v_error  text := reconcile_told.error;
    v_code   text;
    v_where  text;
begin
    select r.* into v_run from tds.reconcile_run r where r.reconcile_id = reconcile_told.reconcile_id for update;
    update tds.reconcile_task t set done_at = tds.now()
     where t.reconcile_id = reconcile_told.reconcile_id and t.task = reconcile_told.task and t.done_at is null
    returning * into v_task;
    if not found then
        raise exception using errcode = 'ZB003', message = 'that task is done', detail = format('%s/%s', reconcile_told.reconcile_id,
            reconcile_told.task), hint = 'somebody else goes on with it';
    end if;
    update tds.reconcile_run r set calls = r.calls + reconcile_told.calls where r.reconcile_id = v_run.reconcile_id;
    select r.* into v_report from tds.report r where r.report = v_task.report;
    begin
        if v_task.report is null then
            perform tds.explain_discrepancies(v_run, v_task, reconcile_told.pages, v_error, reconcile_told.since);
        else
            v_error := coalesce(v_error, tds.why_not_of_that_day(v_run, v_report, tds.now()), tds.why_not_now(v_report));
            if v_error is null then
                perform tds.compare_report(v_run, v_report, v_task,
                    (select array_agg(convert_from(p.body, 'UTF8')::jsonb order by p.n)
                       from unnest(reconcile_told.pages) with ordinality p(body, n)), reconcile_told.since);
                if v_task.look = 2 or not tds.is_news(v_run, v_report) then
                    perform tds.keep_discrepancies(v_run, v_report);
                end if;
            end if;
        end if;
    exception when others then
        get stacked diagnostics v_code = returned_sqlstate, v_error = message_text, v_where = pg_exception_context;
        if tds.stops_all(v_code) then
            raise;
        end if;
    end;
    if v_error is not null then
        update tds.reconcile_task t
           set error = left(v_error, 500), error_code = v_code, error_context = tds.error_context(v_where)
         where t.reconcile_id = v_task.reconcile_id and t.task = v_task.task;
        if v_task.report is not null then
            perform tds.note_not_checked(v_run, v_report, v_task, v_error);
        end if;
    end if;
    if v_task.report is not null
       and not exists (select from tds.reconcile_task t where t.reconcile_id = v_run.reconcile_id and t.done_at is null)
       and (v_task.look = 2 or tds.plan_second_look(v_run) = 0) then
        perform tds.plan_explanations(v_run);
    end if;
end
$$;
revoke all on function tds.reconcile_told(bigint, int, bytea[], text, timestamptz, int) from public;
comment on function tds.reconcile_told(bigint, int, bytea[], text, timestamptz, int) is
'What Zoho answered to a task of tds.next_reconcile(), read from that moment on, with so many calls; or why it did not (error). It is '
'compared, or noted as not checked; what differs anew waits for its second look. Raises ZB003 where the task is done already.';

create or replace function tds.reconcile_calls(organization_id text, records jsonb default '{}') returns table (report text, calls bigint)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    select r.report,
           case when r.ours = 'ours_count' then 1::bigint
                -- of payments a month is read, of parties all that there are
                else greatest(1, ceil(coalesce((reconcile_calls.records ->> p.entity)::numeric, p.rows, 0)
                                      / case when r.party_kind like '%payment' then 12 else 1 end / 200))::bigint end
      from tds.report r
      left join (select case v.entity when 'customers' then 'customer' when 'vendors' then 'vendor' when 'products' then 'product'
                                      when 'payments' then 'payment' when 'vendor_payments' then 'vendor_payment' end, v.entity, v.rows
                   from tds.verify_plan(reconcile_calls.organization_id) v) p(kind, entity, rows) on p.kind = r.party_kind
     order by r.position, r.report;
end
$$;
revoke all on function tds.reconcile_calls(text, jsonb) from public;
comment on function tds.reconcile_calls(text, jsonb) is
'What a reconciliation costs at most in calls, by report, for so many records of each entity ({"products": 2218, …}; else as many as the '
'mirror has); what differs costs some more: setting reconcile_parties.';

grant execute on function
    tds.reconcile_calls(text, jsonb),
    tds.request_reconcile(text, date, date, text), tds.next_reconcile(text, int, bigint),
    tds.reconcile_told(bigint, int, bytea[], text, timestamptz, int), tds.reconcile_pulls(bigint)
    to tds_poller, tds_operator;
grant execute on function tds.request_reconciles() to tds_worker, tds_operator;
grant select on tds.report, tds.report_measure, tds.reconcile_run, tds.reconcile_task, tds.reconciliation, tds.discrepancy
    to tds_reader, tds_operator;
grant select on tds.reconcile_run, tds.reconciliation to tds_poller;
