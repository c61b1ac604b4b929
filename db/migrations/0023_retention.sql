-- depends: 0022_health
-- What is kept how long, and the small forms of what is kept for years.

create table tds.retention_rule (
    what          text not null,
    relation      text not null,
    time_column   text,
    condition     text,
    function_name text,
    reason        text,
    description   text not null,
    constraint retention_rule_pkey primary key (what),
    constraint rule_is_a_name check (what ~ '^[a-z][a-z0-9_]{0,39}$'),
    constraint rule_is_of_one_kind check (num_nonnulls(time_column, function_name, reason) = 1)
);
comment on table  tds.retention_rule is
'What is forgotten, or why a table needs no forgetting. Periods in days are rows of tds.setting: keep_<what>_days. Every table that functions write is named here.';
comment on column tds.retention_rule.what is 'Name.';
comment on column tds.retention_rule.relation is 'The table.';
comment on column tds.retention_rule.time_column is 'Its column that tells a row''s age: older rows are deleted.';
comment on column tds.retention_rule.condition is 'SQL over the row t: only where it holds; null: every row.';
comment on column tds.retention_rule.function_name is
'Or the function (at timestamptz, before timestamptz) returning the bigint of rows forgotten: what deleting row by row would not do.';
comment on column tds.retention_rule.reason is 'Or why the table does not grow without an end.';
comment on column tds.retention_rule.description is 'What is kept, and what is forgotten.';

create table tds.retention_state (
    what    text not null,
    ran_at  timestamptz not null,
    removed bigint not null,
    oldest  timestamptz,
    error   text,
    constraint retention_state_pkey primary key (what),
    constraint retention_state_what_fkey foreign key (what) references tds.retention_rule on delete cascade
);
comment on table  tds.retention_state is 'What came of each rule when the job retention last ran.';
comment on column tds.retention_state.what is 'The rule.';
comment on column tds.retention_state.ran_at is 'When.';
comment on column tds.retention_state.removed is 'Rows it has forgotten in all.';
comment on column tds.retention_state.oldest is 'The oldest row that was left.';
comment on column tds.retention_state.error is 'Why it could not; null: it could.';

create table tds.stock_day (
    organization_id   text not null,
    day               date not null,
    zoho_warehouse_id text not null,
    recorded_at       timestamptz not null,
    zoho_item_ids     text[] not null,
    quantities        numeric[] not null,
    constraint stock_day_pkey primary key (organization_id, day, zoho_warehouse_id),
    constraint a_quantity_an_item check (cardinality(zoho_item_ids) = cardinality(quantities))
);
comment on table  tds.stock_day is
'Snapshots of the stock, a row a place and day: days for the setting keep_stock_days_days, then the first of each month. public.tds_stock_days shows them by product.';
comment on column tds.stock_day.organization_id is 'Zoho organisation.';
comment on column tds.stock_day.day is 'The organisation''s day.';
comment on column tds.stock_day.zoho_warehouse_id is 'The place; empty: the products'' stock on hand.';
comment on column tds.stock_day.recorded_at is 'When the snapshot was taken.';
comment on column tds.stock_day.zoho_item_ids is 'The products, in order.';
comment on column tds.stock_day.quantities is 'Their quantities, in that order.';
-- built without lz4, the server takes pglz
comment on column zoho.stock_history.day is 'The day of it, the organisation''s.';

-- hourly, so that each organisation's day begins with its snapshot
update tds.job set schedule = '5 * * * *' where job = 'snapshot_stock' and schedule = '5 0 * * *';

alter table tds.drift_observed add column baseline_at timestamptz;
comment on column tds.drift_observed.baseline_at is
'What was first seen by then is how Zoho''s records look, and no drift: the end of the first migration, or the last tds.accept_drift(); null: none yet.';
