-- What people look documents up by beside their number: their day, and what is open and due. Each costs a load something, so that they are
-- few.
-- depends: 0050_reconciliation
create index invoices_day_idx on zoho.invoices (organization_id, invoice_date);
create index invoices_due_idx on zoho.invoices (organization_id, due_date)
    where balance <> 0 and deleted_at is null and status is distinct from 'draft' and status is distinct from 'void';
create index bills_day_idx on zoho.bills (organization_id, bill_date);
create index credit_notes_day_idx on zoho.credit_notes (organization_id, credit_note_date);
create index customer_payments_day_idx on zoho.customer_payments (organization_id, payment_date);
create index vendor_payments_day_idx on zoho.vendor_payments (organization_id, payment_date);
