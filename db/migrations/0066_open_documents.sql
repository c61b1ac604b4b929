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
