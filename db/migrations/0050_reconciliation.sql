-- The mirror's sums against Zoho's own reports: every comparison is kept, and what is open is one row, however often it is seen.
-- depends: 0041_looked_at
create table tds.report (
    report        text not null,
    position      int not null,
    path          text not null,
    parameters    jsonb not null,
    period        text not null constraint period_is_known check (period in ('none', 'day', 'month')),
    rows_paths    text[] not null,
    party_kind    text not null,
    id_keys       text[] not null,
    name_key      text,
    entities      text[] not null,
    ours          text not null,
    description   text not null,
    constraint report_pkey primary key (report)
);
comment on table  tds.report is 'What Zoho is asked for a reconciliation: a row a report or list; see tds.reconcile_plan().';
comment on column tds.report.report is 'Its name.';
comment on column tds.report.position is 'Its turn.';
comment on column tds.report.path is 'Of the API.';
comment on column tds.report.parameters is 'Of the query, without the period.';
comment on column tds.report.period is 'none: it is of now; day: of all up to a day; month: of a month.';
comment on column tds.report.rows_paths is 'Where its rows are, as JSON paths; the first that is there counts.';
comment on column tds.report.party_kind is 'What a row is about: customer, vendor, product, payment, vendor_payment, entity.';
comment on column tds.report.id_keys is 'Keys of a row that tell its id; the first that is there counts.';
comment on column tds.report.name_key is 'Key of a row that tells its name.';
comment on column tds.report.entities is 'Entities whose events must be processed before the comparison says anything.';
comment on column tds.report.ours is 'The function of schema tds that makes the same sums from the mirror.';
comment on column tds.report.description is 'What is compared.';

create table tds.report_measure (
    report  text not null,
    measure text not null,
    keys    text[] not null,
    unit    text not null constraint unit_is_known check (unit in ('base', 'own', 'number')),
    constraint report_measure_pkey primary key (report, measure),
    constraint report_measure_report_fkey foreign key (report) references tds.report (report) on delete cascade
);
comment on table  tds.report_measure is 'The sums of a report that are compared.';
comment on column tds.report_measure.report is 'The report.';
comment on column tds.report_measure.measure is 'Its name here.';
comment on column tds.report_measure.keys is 'Keys of a row that tell it; the first that is there counts.';
comment on column tds.report_measure.unit is
'base: money in the base currency, what was converted may differ by a cent; own: in the party''s; number: no money.';

create table tds.reconcile_run (
    reconcile_id    bigint generated always as identity,
    organization_id text not null,
    as_of           date not null,
    month           date not null,
    requested_at    timestamptz not null,
    requested_by    text not null,
    started_at      timestamptz,
    finished_at     timestamptz,
    session         int,
    calls           int not null default 0,
    compared        int not null default 0,
    differing       int not null default 0,
    not_checked     int not null default 0,
    error           text,
    constraint reconcile_run_pkey primary key (reconcile_id)
);
create index reconcile_run_open_idx on tds.reconcile_run (organization_id) where finished_at is null;
create unique index reconcile_run_waiting_idx on tds.reconcile_run (organization_id, month, as_of, requested_by)
    where started_at is null and finished_at is null;
comment on table  tds.reconcile_run is 'Reconciliations with Zoho''s reports; see tds.reconciliation.';
comment on column tds.reconcile_run.reconcile_id is 'Its number.';
comment on column tds.reconcile_run.organization_id is 'Zoho organisation.';
comment on column tds.reconcile_run.as_of is 'The day of what is owed and in stock, in the organisation''s calendar.';
comment on column tds.reconcile_run.month is 'First day of the month of what was sold, bought and paid.';
comment on column tds.reconcile_run.requested_at is 'When it was asked for.';
comment on column tds.reconcile_run.requested_by is 'By whom.';
comment on column tds.reconcile_run.started_at is 'When somebody began with it.';
comment on column tds.reconcile_run.finished_at is 'When it ended.';
comment on column tds.reconcile_run.session is 'The session that is at it.';
comment on column tds.reconcile_run.calls is 'Calls that it took.';
comment on column tds.reconcile_run.compared is 'Figures that were compared: equal or not.';
comment on column tds.reconcile_run.differing is 'Those that differ.';
comment on column tds.reconcile_run.not_checked is 'What could not be compared.';
comment on column tds.reconcile_run.error is 'Why it ended early; null: it did not.';

create table tds.reconcile_task (
    reconcile_id bigint not null,
    task         int not null,
    report       text,
    party_kind   text,
    party_id     text,
    entity       text,
    zoho_id      text,
    path         text not null,
    parameters   jsonb not null,
    paged        boolean not null,
    done_at      timestamptz,
    error        text,
    error_code   text,
    error_context text,
    constraint reconcile_task_pkey primary key (reconcile_id, task),
    constraint reconcile_task_run_fkey foreign key (reconcile_id) references tds.reconcile_run (reconcile_id) on delete cascade
);
comment on table  tds.reconcile_task is
'What Zoho is asked for a reconciliation: reports first, then the documents of the parties that differ.';
comment on column tds.reconcile_task.reconcile_id is 'The reconciliation.';
comment on column tds.reconcile_task.task is 'Its turn.';
comment on column tds.reconcile_task.report is 'The report; null: documents are read anew.';
comment on column tds.reconcile_task.party_kind is 'Whose documents.';
comment on column tds.reconcile_task.party_id is 'Zoho''s id of that party.';
comment on column tds.reconcile_task.entity is 'Which documents.';
comment on column tds.reconcile_task.zoho_id is 'The one document; null: all of the party.';
comment on column tds.reconcile_task.path is 'Of the API.';
comment on column tds.reconcile_task.parameters is 'Of the query.';
comment on column tds.reconcile_task.paged is 'Whether it has pages.';
comment on column tds.reconcile_task.done_at is 'When it was answered; null: not yet.';
comment on column tds.reconcile_task.error_code is 'The SQLSTATE, where the database could not use the answer.';
comment on column tds.reconcile_task.error_context is 'Where in our functions that happened.';
comment on column tds.reconcile_task.error is 'What went wrong.';

create table tds.reconciliation (
    reconciliation_id bigint generated always as identity,
    reconcile_id      bigint not null,
    organization_id   text not null,
    report            text not null,
    measure           text,
    status            text,
    period_from       date,
    period_to         date,
    currency          text,
    party_kind        text,
    party_id          text,
    party_name        text,
    ours              numeric,
    zoho              numeric,
    difference        numeric generated always as (coalesce(ours, 0) - coalesce(zoho, 0)) stored,
    state             text not null constraint state_is_known check (state in ('equal', 'differs', 'not checked')),
    reason            text,
    compared_at       timestamptz not null,
    constraint reconciliation_pkey primary key (reconciliation_id),
    constraint what_is_not_checked_says_why check (state <> 'not checked' or reason is not null)
);
create index reconciliation_run_idx on tds.reconciliation (reconcile_id, state);
create index reconciliation_compared_at_idx on tds.reconciliation (compared_at);
comment on table  tds.reconciliation is 'A row a comparison of a sum of the mirror with Zoho''s, kept as a series.';
comment on column tds.reconciliation.reconciliation_id is 'Its number.';
comment on column tds.reconciliation.reconcile_id is 'The reconciliation (tds.reconcile_run).';
comment on column tds.reconciliation.organization_id is 'Zoho organisation.';
comment on column tds.reconciliation.report is 'The report or list (tds.report).';
comment on column tds.reconciliation.measure is 'Which of its figures; null: all (not checked).';
comment on column tds.reconciliation.status is 'Status of the records that are counted; null: every one that counts.';
comment on column tds.reconciliation.period_from is 'First day; null: from the beginning.';
comment on column tds.reconciliation.period_to is 'Last day; null: of now.';
comment on column tds.reconciliation.currency is 'Currency of the figure; null: it is no money.';
comment on column tds.reconciliation.party_kind is 'customer, vendor, product, payment, vendor_payment or entity.';
comment on column tds.reconciliation.party_id is 'Zoho''s id of it; of an entity its name.';
comment on column tds.reconciliation.party_name is 'Its name.';
comment on column tds.reconciliation.ours is 'What the mirror says; null: it has no such row.';
comment on column tds.reconciliation.zoho is 'What Zoho says; null: its report has no such row.';
comment on column tds.reconciliation.difference is 'The one less the other.';
comment on column tds.reconciliation.state is 'equal, differs, or not checked.';
comment on column tds.reconciliation.reason is 'Why it was not checked, or what else there is to say.';
comment on column tds.reconciliation.compared_at is 'When.';

create table tds.discrepancy (
    discrepancy_id    bigint generated always as identity,
    organization_id   text not null,
    report            text not null,
    measure           text not null,
    status            text not null,
    period            text not null,
    currency          text not null,
    party_kind        text not null,
    party_id          text not null,
    party_name        text,
    ours              numeric,
    zoho              numeric,
    difference        numeric not null,
    first_seen        timestamptz not null,
    last_seen         timestamptz not null,
    times_seen        int not null default 1,
    resolved_at       timestamptz,
    reconciliation_id bigint not null,
    documents         jsonb,
    explained_at      timestamptz,
    note              text,
    noted_by          text,
    noted_at          timestamptz,
    constraint discrepancy_pkey primary key (discrepancy_id),
    constraint discrepancy_key unique (organization_id, report, measure, status, period, currency, party_kind, party_id)
);
create index discrepancy_open_idx on tds.discrepancy (organization_id, report, period) where resolved_at is null;
comment on table  tds.discrepancy is
'What differs from Zoho''s reports, or did: a row a figure, however often it is seen; see public.tds_discrepancies.';
comment on column tds.discrepancy.discrepancy_id is 'Its number.';
comment on column tds.discrepancy.organization_id is 'Zoho organisation.';
comment on column tds.discrepancy.report is 'The report or list.';
comment on column tds.discrepancy.measure is 'Which of its figures.';
comment on column tds.discrepancy.status is 'Status of the records that are counted; empty: every one that counts.';
comment on column tds.discrepancy.period is 'The month as YYYY-MM, or now.';
comment on column tds.discrepancy.currency is 'Currency; empty: it is no money.';
comment on column tds.discrepancy.party_kind is 'customer, vendor, product, payment, vendor_payment or entity.';
comment on column tds.discrepancy.party_id is 'Zoho''s id of it; of an entity its name.';
comment on column tds.discrepancy.party_name is 'Its name.';
comment on column tds.discrepancy.ours is 'What the mirror said the last time.';
comment on column tds.discrepancy.zoho is 'What Zoho said the last time.';
comment on column tds.discrepancy.difference is 'The one less the other.';
comment on column tds.discrepancy.first_seen is 'Since when it differs without a break.';
comment on column tds.discrepancy.last_seen is 'When it was seen last.';
comment on column tds.discrepancy.times_seen is 'How often, since then.';
comment on column tds.discrepancy.resolved_at is 'When it was equal again; null: it is open.';
comment on column tds.discrepancy.reconciliation_id is 'The last comparison.';
comment on column tds.discrepancy.documents is 'What explains it: entity, id, number, what, fields of each; null: nobody has looked yet.';
comment on column tds.discrepancy.explained_at is 'When the documents were read anew.';
comment on column tds.discrepancy.note is 'What an accountant says of it.';
comment on column tds.discrepancy.noted_by is 'Who.';
comment on column tds.discrepancy.noted_at is 'When.';

create type tds.asked as (report text, party_kind text, entity text, status text, organization_id text, day_from date, day_to date);
comment on type tds.asked is 'The sums that are asked for: of which report, kind of party, list and status, of whom, of which days.';
create type tds.figure as (party_id text, measure text, currency text, amount numeric, is_exact boolean, lacking int);
comment on type tds.figure is
'A sum of the mirror: of a party (of an entity: its name), in a currency; is_exact: nothing was converted or shared out; lacking: '
'documents that cannot be summed yet, because their detail or rate has not come.';
