-- What differs from Zoho's reports: since when, by which documents, and what an accountant says of it.

create or replace function tds.period_told(run tds.reconcile_run, report tds.report) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return case (period_told.report).period
        when 'month' then to_char((period_told.run).month, 'YYYY-MM')
        when 'day' then case when (period_told.run).as_of = tds.day_of((period_told.run).organization_id, (period_told.run).requested_at)
                             then 'now' else (period_told.run).as_of::text end
        else 'now' end;
end
$$;
revoke all on function tds.period_told(tds.reconcile_run, tds.report) from public;
comment on function tds.period_told(tds.reconcile_run, tds.report) is
'The period of a discrepancy: the month as YYYY-MM, a day past, or now.';

create or replace function tds.keep_discrepancies(run tds.reconcile_run, report tds.report) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_period constant text := tds.period_told(keep_discrepancies.run, keep_discrepancies.report);
begin
    insert into tds.discrepancy as d (organization_id, report, measure, status, period, currency, party_kind, party_id, party_name, ours,
                                      zoho,
                                      difference, first_seen, last_seen, reconciliation_id)
    select n.organization_id, n.report, n.measure, coalesce(n.status, ''), v_period, coalesce(n.currency, ''), n.party_kind, n.party_id,
           n.party_name, n.ours, n.zoho, n.difference, n.compared_at, n.compared_at, n.reconciliation_id
      from tds.reconciliation n
     where n.reconcile_id = (keep_discrepancies.run).reconcile_id and n.report = (keep_discrepancies.report).report and n.state = 'differs'
     order by n.measure, n.currency, n.party_id
    on conflict on constraint discrepancy_key do update
       set party_name = excluded.party_name, ours = excluded.ours, zoho = excluded.zoho, difference = excluded.difference,
           first_seen = case when d.resolved_at is null then d.first_seen else excluded.first_seen end, last_seen = excluded.last_seen,
           times_seen = case when d.resolved_at is null then d.times_seen + 1 else 1 end, reconciliation_id = excluded.reconciliation_id,
           documents = case when d.resolved_at is null and d.difference = excluded.difference then d.documents end, resolved_at = null;
    -- what could not be compared this time stays as it is
    update tds.discrepancy d
       set resolved_at = tds.now()
     where d.organization_id = (keep_discrepancies.run).organization_id and d.report = (keep_discrepancies.report).report
       and d.period = v_period and d.resolved_at is null
       and not exists (select from tds.reconciliation n
                        where n.reconcile_id = (keep_discrepancies.run).reconcile_id and n.report = d.report and n.measure = d.measure
                          and n.party_id = d.party_id and n.state <> 'equal'
                          -- of another currency it is another figure, which is there by itself
                          and (n.state <> 'differs' or coalesce(n.currency, '') = d.currency));
end
$$;
revoke all on function tds.keep_discrepancies(tds.reconcile_run, tds.report) from public;
comment on function tds.keep_discrepancies(tds.reconcile_run, tds.report) is
'Opens, renews and resolves discrepancies by what a report has shown.';

create or replace function tds.parties_to_explain(run tds.reconcile_run)
returns table (turn bigint, party_kind text, party_id text, sold text, bought text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    select row_number() over (order by min(o.turn), max(abs(d.difference)) desc, d.party_id), d.party_kind, d.party_id,
           min(d.period) filter (where d.report = 'salesbyitem'), min(d.period) filter (where d.report = 'purchasesbyitem')
      from tds.discrepancy d
      join tds.reconciliation n on n.reconciliation_id = d.reconciliation_id
     -- a product's documents are many, and are named by their customer already as a rule
     cross join lateral (select array_position(array['customer', 'vendor', 'payment', 'vendor_payment', 'product'], d.party_kind)) o(turn)
     where n.reconcile_id = (parties_to_explain.run).reconcile_id and d.resolved_at is null and d.party_kind <> 'entity'
     group by d.party_kind, d.party_id
     order by 1
     limit tds.setting_int('reconcile_parties');
end
$$;
revoke all on function tds.parties_to_explain(tds.reconcile_run) from public;
comment on function tds.parties_to_explain(tds.reconcile_run) is
'The parties that differ whose documents are read anew, in their turn; of products the months in which what was sold or bought differs.';

create or replace function tds.plan_explanations(run tds.reconcile_run) returns int
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_last int;
    v_rows int;
begin
    select max(t.task) into v_last from tds.reconcile_task t where t.reconcile_id = (plan_explanations.run).reconcile_id;
    insert into tds.reconcile_task (reconcile_id, task, party_kind, party_id, entity, zoho_id, path, parameters, paged)
    select (plan_explanations.run).reconcile_id, v_last + row_number() over (order by q.turn, q.parties desc, q.entity, q.zoho_id),
           q.party_kind, q.party_id, q.entity, q.zoho_id, n.api_path || coalesce('/' || q.zoho_id, ''),
           case when q.zoho_id is null
                then tds.list_parameters(n.entity, (plan_explanations.run).organization_id)
                     || jsonb_build_object(q.party_kind || '_id', q.party_id)
                else '{}' end,
           q.zoho_id is null
      from (select case when s.is_shared then 1000000 else p.turn end as turn, p.party_kind,
                   case when not s.is_shared then p.party_id end as party_id, s.entity, s.zoho_id, count(*) as parties
              from tds.parties_to_explain(plan_explanations.run) p
             cross join lateral tds.documents_to_read((plan_explanations.run).organization_id, p.party_kind, p.party_id, p.sold, p.bought) s
             group by 1, 2, 3, 4, 5
             -- what many products have in common explains most
             order by 1, 6 desc, 4, 5
             limit tds.setting_int('reconcile_reads')) q
      join tds.entity n on n.entity = q.entity;
    get diagnostics v_rows = row_count;
    return v_rows;
end
$$;
revoke all on function tds.plan_explanations(tds.reconcile_run) from public;
comment on function tds.plan_explanations(tds.reconcile_run) is
'Writes the tasks that narrow down what differs: the documents of the parties that differ most, read anew; returns how many.';

create or replace function tds.documents_to_read(organization_id text, party_kind text, party_id text, sold text, bought text)
returns table (entity text, zoho_id text, is_shared boolean)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_most constant int := tds.setting_int('reconcile_documents');
begin
    return query
    select v.entity, v.zoho_id, false
      from (values ('customer', 'invoices', null::text), ('customer', 'credit_notes', null), ('customer', 'payments', null),
                   ('vendor', 'bills', null), ('vendor', 'vendor_credits', null), ('vendor', 'vendor_payments', null),
                   ('payment', 'payments', documents_to_read.party_id), ('vendor_payment', 'vendor_payments', documents_to_read.party_id),
                   ('product', 'products', documents_to_read.party_id)) v(kind, entity, zoho_id)
     where v.kind = documents_to_read.party_kind
       and not (v.kind = 'product' and coalesce(documents_to_read.sold, documents_to_read.bought) is not null);
    return query
    select l.entity, l.zoho_id, true
      from tds.sales_lines(documents_to_read.organization_id, to_date(documents_to_read.sold, 'YYYY-MM'),
                           (to_date(documents_to_read.sold, 'YYYY-MM') + interval '1 month - 1 day')::date) l
     where documents_to_read.sold is not null and l.item_id = documents_to_read.party_id
     group by l.entity, l.zoho_id
     order by max(l.day) desc, l.zoho_id
     limit v_most;
    return query
    select l.entity, l.zoho_id, true
      from tds.purchase_lines(documents_to_read.organization_id, to_date(documents_to_read.bought, 'YYYY-MM'),
                              (to_date(documents_to_read.bought, 'YYYY-MM') + interval '1 month - 1 day')::date) l
     where documents_to_read.bought is not null and l.item_id = documents_to_read.party_id
     group by l.entity, l.zoho_id
     order by max(l.day) desc, l.zoho_id
     limit v_most;
end
$$;
revoke all on function tds.documents_to_read(text, text, text, text, text) from public;
comment on function tds.documents_to_read(text, text, text, text, text) is
'Which documents may explain that a party differs: lists of a customer''s or vendor''s (no id), or the documents that sold or bought a '
'product in a month, the newest first; these are shared by several products.';

create or replace function tds.party_documents(organization_id text, entity text, party_kind text, party_id text) returns setof text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_entity constant tds.entity := tds.entity_named(party_documents.entity);
begin
    return query execute format('select t.%I from zoho.%I t where t.organization_id = $1 and t.%I = $2',
                                v_entity.target_key, v_entity.target, format('zoho_%s_id', party_documents.party_kind))
      using party_documents.organization_id, party_documents.party_id;
end
$$;
revoke all on function tds.party_documents(text, text, text, text) from public;
comment on function tds.party_documents(text, text, text, text) is 'The ids of a customer''s or vendor''s documents in the mirror.';

create or replace function tds.line_differences(entity text, organization_id text, zoho_id text, body jsonb) returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_entity constant tds.entity := tds.entity_named(line_differences.entity);
    v_found  jsonb;
    v_target text;
begin
    select c.target into v_target from tds.child c where c.entity = line_differences.entity and c.list_key = 'line_items';
    execute format($sql$
        select jsonb_agg(jsonb_build_object('line', coalesce(t.line_id, k.zoho_line_item_id), 'zoho', t.told, 'mirror', k.kept)
                         order by coalesce(t.line_id, k.zoho_line_item_id))
          from (select l.doc ->> 'line_item_id' as line_id,
                       jsonb_build_object('item_id', nullif(l.doc ->> 'item_id', ''), 'quantity', tds.amount_of(l.doc -> 'quantity'),
                                          'item_total', tds.amount_of(l.doc -> 'item_total')) as told
                  from jsonb_array_elements($3 -> 'line_items') l(doc)) t
          full join (select c.zoho_line_item_id, jsonb_build_object('item_id', c.zoho_item_id, 'quantity', c.quantity,
                                                                    'item_total', c.total_amount) as kept
                       from zoho.%I c where c.organization_id = $1 and c.%I = $2) k on k.zoho_line_item_id = t.line_id
         where t.told is distinct from k.kept$sql$, v_target, v_entity.target_key)
       into v_found
      using line_differences.organization_id, line_differences.zoho_id, line_differences.body -> v_entity.record_key;
    return v_found;
end
$$;
revoke all on function tds.line_differences(text, text, text, jsonb) from public;
comment on function tds.line_differences(text, text, text, jsonb) is
'The lines of a document that Zoho''s detail tells otherwise than the mirror; null: none.';

create or replace function tds.document_differences(
    organization_id text, task tds.reconcile_task, pages bytea[], error text, since timestamptz) returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_task  constant tds.reconcile_task := document_differences.task;
    v_lines jsonb;
begin
    if document_differences.error is not null then
        return jsonb_build_array(jsonb_build_object('entity', v_task.entity, 'id', v_task.zoho_id, 'what', 'not read',
                                                    'reason', document_differences.error));
    end if;
    if v_task.zoho_id is not null and exists (select from tds.child c where c.entity = v_task.entity and c.list_key = 'line_items') then
        v_lines := tds.line_differences(v_task.entity, document_differences.organization_id, v_task.zoho_id,
                                        convert_from(document_differences.pages[1], 'UTF8')::jsonb);
    end if;
    return (
        select jsonb_agg(jsonb_strip_nulls(jsonb_build_object('entity', v_task.entity, 'id', r.zoho_id,
                             'number', tds.document_number(v_task.entity, document_differences.organization_id, r.zoho_id),
                             'what', coalesce(r.what, 'differs'), 'fields', nullif(r.fields, '{}'), 'lines', v_lines)) order by r.zoho_id)
          from tds.verify_differences(v_task.entity, document_differences.organization_id,
                   (select array_agg(tds.listed(v_task.entity, p.body) order by p.n)
                      from unnest(document_differences.pages) with ordinality p(body, n)), document_differences.since) r
         where (r.what is not null or v_lines is not null) and not r.meanwhile
           and case when v_task.zoho_id is not null then r.zoho_id = v_task.zoho_id
                    else r.told is not null
                         or r.zoho_id in (select tds.party_documents(document_differences.organization_id, v_task.entity, v_task.party_kind,
                                                                     v_task.party_id)) end);
end
$$;
revoke all on function tds.document_differences(text, tds.reconcile_task, bytea[], text, timestamptz) from public;
comment on function tds.document_differences(text, tds.reconcile_task, bytea[], text, timestamptz) is
'Which of the documents that were read anew Zoho tells otherwise than the mirror: entity, id, number, what, fields, lines; null: none.';

create or replace function tds.document_number(entity text, organization_id text, zoho_id text) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_entity constant tds.entity := tds.entity_named(document_number.entity);
    v_column text;
    v_number text;
begin
    select f.column_name into v_column from tds.field f
     where f.entity = document_number.entity and f.list_key = '' and f.column_name like '%\_number' and f.column_name <> 'reference_number'
     order by f.column_name limit 1;
    if v_column is not null then
        execute format('select min(t.%I) from zoho.%I t where t.organization_id = $1 and t.%I = $2', v_column, v_entity.target,
                       v_entity.target_key)
           into v_number using document_number.organization_id, document_number.zoho_id;
    end if;
    return v_number;
end
$$;
revoke all on function tds.document_number(text, text, text) from public;
comment on function tds.document_number(text, text, text) is
'The number that people know a document by; null: it has none, or is not here.';

create or replace function tds.explain_discrepancies(
    run tds.reconcile_run, task tds.reconcile_task, pages bytea[], error text, since timestamptz) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now   constant timestamptz := tds.now();
    v_found jsonb;
begin
    v_found := tds.document_differences((explain_discrepancies.run).organization_id, explain_discrepancies.task,
                                        explain_discrepancies.pages,
                                        explain_discrepancies.error, explain_discrepancies.since);
    update tds.discrepancy d
       -- the first answer of this reconciliation begins anew
       set documents = case when d.explained_at >= (explain_discrepancies.run).started_at then coalesce(d.documents, '[]') else '[]' end
                       || coalesce((select jsonb_agg(f.doc) from jsonb_array_elements(v_found) f(doc)
                                     -- of a product, only where its own lines differ, or the whole document
                                     where d.party_kind <> 'product' or f.doc -> 'lines' is null
                                        or f.doc -> 'lines' @? format('$[*] ? (@.zoho.item_id == %1$s || @.mirror.item_id == %1$s)',
                                                                      to_jsonb(d.party_id))::jsonpath), '[]'),
           explained_at = v_now
      from tds.reconciliation n
     where n.reconciliation_id = d.reconciliation_id and n.reconcile_id = (explain_discrepancies.run).reconcile_id
       and d.resolved_at is null and d.party_kind = (explain_discrepancies.task).party_kind
       and case when (explain_discrepancies.task).party_id is not null then d.party_id = (explain_discrepancies.task).party_id
                else d.report in ('salesbyitem', 'purchasesbyitem')
                     and d.party_id in (select tds.traded_items((explain_discrepancies.run).organization_id,
                                                                (explain_discrepancies.task).entity,
                                                                (explain_discrepancies.task).zoho_id)) end;
    -- the detail decides, and mends what was missed
    perform tds.want((explain_discrepancies.task).entity, (explain_discrepancies.run).organization_id,
                     array_agg(row(f.doc ->> 'id', 'it differs from Zoho''s reports', v_now, null, null)::tds.wish))
       from jsonb_array_elements(v_found) f(doc)
      where f.doc ->> 'what' <> 'not read' and tds.is_id(f.doc ->> 'id')
     having count(*) > 0;
end
$$;
revoke all on function tds.explain_discrepancies(tds.reconcile_run, tds.reconcile_task, bytea[], text, timestamptz) from public;
comment on function tds.explain_discrepancies(tds.reconcile_run, tds.reconcile_task, bytea[], text, timestamptz) is
'Notes with the discrepancies of a party which of its documents Zoho tells otherwise, and asks for their details.';

create or replace function tds.no_discrepancy(discrepancy_id bigint) returns void
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    raise exception using errcode = 'ZB063', message = 'no such discrepancy', detail = no_discrepancy.discrepancy_id::text,
        hint = 'select discrepancy_id, report, party_name from tds_discrepancies';
end
$$;
revoke all on function tds.no_discrepancy(bigint) from public;
comment on function tds.no_discrepancy(bigint) is 'Raises ZB063: there is none of that number.';

create or replace function tds.note_discrepancy(discrepancy_id bigint, note text) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    update tds.discrepancy d
       set note = nullif(btrim(note_discrepancy.note), ''), noted_by = session_user, noted_at = tds.now(), noted_difference = d.difference
     where d.discrepancy_id = note_discrepancy.discrepancy_id;
    if not found then
        perform tds.no_discrepancy(note_discrepancy.discrepancy_id);
    end if;
end
$$;
revoke all on function tds.note_discrepancy(bigint, text) from public;
comment on function tds.note_discrepancy(bigint, text) is
'What an accountant says of a discrepancy as it is now; empty: nothing any more. It stays open until the figures are equal, and alarms '
'again if it becomes another. Raises ZB063.';
grant execute on function tds.note_discrepancy(bigint, text) to tds_operator;

create or replace function tds.is_noted(told tds.discrepancy) returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select ($1).note is not null
           and coalesce(abs(($1).difference - ($1).noted_difference) <= tds.setting_text('reconcile_tolerance')::numeric, true)
$$;
revoke all on function tds.is_noted(tds.discrepancy) from public;
comment on function tds.is_noted(tds.discrepancy) is
'Whether an accountant has noted a reason for a discrepancy as it is: a note of 500 says nothing of 550.';

create or replace view public.tds_discrepancies as
select d.discrepancy_id, d.organization_id, d.report, d.measure, nullif(d.status, '') as status, d.period,
    nullif(d.currency, '') as currency,
       d.party_kind, d.party_id, d.party_name, d.ours, d.zoho, d.difference, d.first_seen, d.last_seen, d.times_seen, d.documents,
       d.explained_at, d.note, d.noted_by, d.noted_at, d.noted_difference
  from tds.discrepancy d
 where d.resolved_at is null;
comment on view public.tds_discrepancies is
'Figures that differ from Zoho''s own reports and have not been equal since: how much, since when, by which documents. docs/reconcile.md';
comment on column public.tds_discrepancies.discrepancy_id is 'Its number, for tds.note_discrepancy().';
comment on column public.tds_discrepancies.organization_id is 'Zoho organisation.';
comment on column public.tds_discrepancies.report is 'Zoho''s report or list.';
comment on column public.tds_discrepancies.measure is 'Which of its figures.';
comment on column public.tds_discrepancies.status is 'Status of the records that are counted; null: every one that counts.';
comment on column public.tds_discrepancies.period is 'The month as YYYY-MM, a day past, or now.';
comment on column public.tds_discrepancies.currency is 'Currency; null: it is no money.';
comment on column public.tds_discrepancies.party_kind is 'customer, vendor, product, payment, vendor_payment or entity.';
comment on column public.tds_discrepancies.party_id is 'Zoho''s id of it; of an entity its name.';
comment on column public.tds_discrepancies.party_name is 'Its name.';
comment on column public.tds_discrepancies.ours is 'What the mirror says; null: it has no such row.';
comment on column public.tds_discrepancies.zoho is 'What Zoho says; null: its report has no such row.';
comment on column public.tds_discrepancies.difference is 'The one less the other.';
comment on column public.tds_discrepancies.first_seen is 'Since when it differs.';
comment on column public.tds_discrepancies.last_seen is 'When it was seen last.';
comment on column public.tds_discrepancies.times_seen is 'How often, since then.';
comment on column public.tds_discrepancies.documents is
'The documents that Zoho tells otherwise: entity, id, number, what, fields, lines of each; empty: all agree; null: nobody has looked yet.';
comment on column public.tds_discrepancies.explained_at is 'When they were read anew.';
comment on column public.tds_discrepancies.note is 'What an accountant says of it.';
comment on column public.tds_discrepancies.noted_by is 'Who.';
comment on column public.tds_discrepancies.noted_at is 'When.';
comment on column public.tds_discrepancies.noted_difference is
'How much it was then: once it is another it alarms again, whatever the note says.';

create or replace view public.tds_consistency as
select r.reconcile_id, r.organization_id, r.finished_at, r.as_of, to_char(r.month, 'YYYY-MM') as month, r.compared,
    r.compared - r.differing as equal,
       r.differing, r.not_checked, round(100.0 * (r.compared - r.differing) / nullif(r.compared, 0), 4) as percent, r.calls, r.error
  from tds.reconcile_run r
 where r.finished_at is not null;
comment on view public.tds_consistency is 'How much of what Zoho''s reports say the mirror says too: a row a reconciliation.';
comment on column public.tds_consistency.reconcile_id is 'The reconciliation (tds.reconcile_run).';
comment on column public.tds_consistency.organization_id is 'Zoho organisation.';
comment on column public.tds_consistency.finished_at is 'When it ended.';
comment on column public.tds_consistency.as_of is 'The day of what is owed and in stock.';
comment on column public.tds_consistency.month is 'The month of what was sold, bought and paid.';
comment on column public.tds_consistency.compared is 'Figures that were compared.';
comment on column public.tds_consistency.equal is 'Those that are equal.';
comment on column public.tds_consistency.differing is 'Those that differ.';
comment on column public.tds_consistency.not_checked is 'What could not be compared.';
comment on column public.tds_consistency.percent is 'The equal of the compared; null: nothing was compared.';
comment on column public.tds_consistency.calls is 'Calls that it took.';
comment on column public.tds_consistency.error is 'Why it ended early; null: it did not.';
