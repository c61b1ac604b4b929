-- depends: 0041_looked_at
-- What the dashboard draws over time, jobs that are wanted now, and numbers of documents that records are looked for by.

create table tds.sample (
    span_seconds  int not null,
    at            timestamptz not null,
    received      jsonb not null,
    completed     jsonb not null,
    dead          bigint not null,
    parked        bigint not null,
    waiting       bigint not null,
    oldest_seconds numeric not null,
    delay_seconds numeric not null,
    delay_events  bigint not null,
    calls         bigint not null,
    constraint sample_pkey primary key (span_seconds, at),
    constraint span_is_known check (span_seconds in (60, 900, 21600))
) with (fillfactor = 50);
comment on table  tds.sample is
'What came and what became of it, as a series in three steps: minutes for two days, quarters of an hour for '
'eight, six hours for keep_samples_days.';
comment on column tds.sample.span_seconds is 'Length of the step in seconds: 60, 900 or 21600.';
comment on column tds.sample.at is 'Its beginning.';
comment on column tds.sample.received is 'Events that came, by entity; an entity without any is left out.';
comment on column tds.sample.completed is 'Events that were completed, by entity.';
comment on column tds.sample.dead is 'Dead letters that were made.';
comment on column tds.sample.parked is 'Events that waited for another try after a failure, at most.';
comment on column tds.sample.waiting is 'Events that waited to be processed, at most.';
comment on column tds.sample.oldest_seconds is 'How long the oldest of them had waited, at most.';
comment on column tds.sample.delay_seconds is 'Sum of what events took from coming to their outcome, of the newest 2,000 each minute.';
comment on column tds.sample.delay_events is 'How many events that sum is of.';
comment on column tds.sample.calls is 'Calls of Zoho''s API.';

create table tds.sample_mark (
    only_row   boolean primary key default true check (only_row),
    sampled_at timestamptz not null,
    from_day   date not null,
    seen       jsonb not null,
    completed  jsonb not null,
    calls_day  date not null,
    calls      bigint not null
) with (fillfactor = 50);
comment on table  tds.sample_mark is 'The totals of the last sample, which the next one is the growth of: one row.';
comment on column tds.sample_mark.only_row is 'There is one row.';
comment on column tds.sample_mark.sampled_at is 'When it was taken.';
comment on column tds.sample_mark.from_day is 'Events received before that day (UTC) are not in the totals: they are forgotten soon.';
comment on column tds.sample_mark.seen is 'Events that had come by then, by entity.';
comment on column tds.sample_mark.completed is 'Events that were completed by then, by entity.';
comment on column tds.sample_mark.calls_day is 'The day (UTC) that calls counts.';
comment on column tds.sample_mark.calls is 'Calls of Zoho''s API on that day by then.';

create table tds.mirror_count (
    entity     text not null,
    rows       bigint not null,
    deleted    bigint,
    estimated  boolean not null,
    counted_at timestamptz not null,
    changed_at timestamptz,
    constraint mirror_count_pkey primary key (entity)
) with (fillfactor = 50);
comment on table  tds.mirror_count is
'How many rows the mirror has of each entity, counted by the job sample every quarter of an hour, and when one '
'last changed.';
comment on column tds.mirror_count.entity is 'The entity.';
comment on column tds.mirror_count.rows is 'Rows, those that are deleted in Zoho included.';
comment on column tds.mirror_count.deleted is 'Rows that are deleted in Zoho; null where rows is an estimate.';
comment on column tds.mirror_count.estimated is
'Whether the table is so large that the server''s estimate is taken: setting count_rows_at_most.';
comment on column tds.mirror_count.counted_at is 'When it was counted.';
comment on column tds.mirror_count.changed_at is 'When an event last changed a row of it; null: not since it is noted.';

alter table tds.job add column wanted_at timestamptz, add column wanted_by text;
comment on column tds.job.wanted_at is 'Since when it is wanted out of its turn: tds.want_job(); null: it is not.';
comment on column tds.job.wanted_by is 'Who wants it.';

-- what may hold a record without naming it: pages, and bodies that could not be read
create index inbox_nameless_idx on tds.inbox (entity, received_at) where record_id is null;

-- the newest pull of each entity
create index run_entity_idx on tds.run (entity, run_id) where finished_at is not null;

-- a record is looked for by the number that people know, whatever its organisation
create index invoices_number_idx on zoho.invoices (invoice_number) where invoice_number is not null;
create index bills_number_idx on zoho.bills (bill_number) where bill_number is not null;
create index credit_notes_number_idx on zoho.credit_notes (credit_note_number) where credit_note_number is not null;
create index vendor_credits_number_idx on zoho.vendor_credits (vendor_credit_number) where vendor_credit_number is not null;
create index sales_orders_number_idx on zoho.sales_orders (order_number) where order_number is not null;
create index customer_payments_number_idx on zoho.customer_payments (payment_number) where payment_number is not null;
create index vendor_payments_number_idx on zoho.vendor_payments (payment_number) where payment_number is not null;

-- the dashboard has a function a page now
drop function if exists tds.dashboard();
