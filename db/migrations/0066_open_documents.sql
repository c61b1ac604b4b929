-- What is open, of the documents and payments that had no index for it: few of many years', and what reports of balances ask for. What
-- is settled is in none of them. And the day of vendor credits: purchases of a month ask for it as for that of bills.
-- depends: 0064_shards
create index bills_open_idx on zoho.bills (organization_id, zoho_vendor_id) where balance <> 0 and deleted_at is null;
create index credit_notes_open_idx on zoho.credit_notes (organization_id, zoho_customer_id) where balance <> 0 and deleted_at is null;
create index vendor_credits_open_idx on zoho.vendor_credits (organization_id, zoho_vendor_id) where balance <> 0 and deleted_at is null;
create index customer_payments_unused_idx on zoho.customer_payments (organization_id, zoho_customer_id)
    where unused_amount <> 0 and deleted_at is null;
create index vendor_payments_unused_idx on zoho.vendor_payments (organization_id, zoho_vendor_id)
    where unused_amount <> 0 and deleted_at is null;
create index vendor_credits_day_idx on zoho.vendor_credits (organization_id, credit_date);

-- A difference is looked at twice: what is due is pulled, and Zoho's report asked once more.
alter table tds.reconcile_run
    add column again_at timestamptz,
    add column pulls    bigint[] not null default '{}';
comment on column tds.reconcile_run.again_at is 'From when on the reports that differ are asked once more; null: none is.';
comment on column tds.reconcile_run.pulls is 'The pulls of what was due that are waited for until then (tds.run).';
alter table tds.reconcile_task add column look int not null default 1;
comment on column tds.reconcile_task.look is 'Of a report: 2 is the second look at what differed.';
