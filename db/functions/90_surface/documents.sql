create or replace view public.tds_document_mismatches as
select c.entity, d.organization_id, d.zoho_id, d.number, c.what, c.expected, c.told as found, c.told - c.expected as difference,
    d.currency, d.status,
       d.zoho_modified_at
  from (select 'invoices' as entity, t.organization_id, t.zoho_invoice_id as zoho_id, t.invoice_number as number, t.currency, t.status,
               t.zoho_modified_at, t.subtotal_differs, t.total_differs, t.balance_differs, t.zoho_metadata as doc
          from zoho.invoices t where t.deleted_at is null and (t.subtotal_differs or t.total_differs or t.balance_differs)
        union all
        select 'bills', t.organization_id, t.zoho_bill_id, t.bill_number, t.currency, t.payment_status,
               t.zoho_modified_at, t.subtotal_differs, t.total_differs, t.balance_differs, t.zoho_metadata
          from zoho.bills t where t.deleted_at is null and (t.subtotal_differs or t.total_differs or t.balance_differs)
        union all
        select 'credit_notes', t.organization_id, t.zoho_creditnote_id, t.credit_note_number, t.currency, t.status,
               t.zoho_modified_at, t.subtotal_differs, t.total_differs, t.balance_differs, t.zoho_metadata
          from zoho.credit_notes t where t.deleted_at is null and (t.subtotal_differs or t.total_differs or t.balance_differs)
        union all
        select 'vendor_credits', t.organization_id, t.zoho_vendor_credit_id, t.vendor_credit_number, t.currency, t.status,
               t.zoho_modified_at, t.subtotal_differs, t.total_differs, t.balance_differs, t.zoho_metadata
          from zoho.vendor_credits t where t.deleted_at is null and (t.subtotal_differs or t.total_differs or t.balance_differs)) d
 cross join lateral tds.expected_sums(d.doc, tds.balance_keys(d.entity)) e
 cross join lateral (values
       ('subtotal', d.subtotal_differs, e.subtotal, tds.amount_of(d.doc -> 'sub_total')),
       ('total', d.total_differs, e.total, tds.amount_of(d.doc -> 'total')),
       ('balance', d.balance_differs, e.balance, tds.amount_of(d.doc -> 'balance'))) c0(what, differs, expected, told)
 cross join lateral (select d.entity, c0.what, c0.expected, c0.told where c0.differs) c
 union all
select p.entity, p.organization_id, p.zoho_payment_id, p.payment_number, 'applied', 0, p.applied, p.applied, p.currency, null,
       p.zoho_modified_at
  from (select 'payments' as entity, t.organization_id, t.zoho_payment_id, t.payment_number,
               t.amount - coalesce(t.unused_amount, 0) as applied, t.currency, t.zoho_modified_at
          from zoho.customer_payments t where t.deleted_at is null and tds.lacks_elements(t.zoho_metadata)
         union all
        select 'vendor_payments', t.organization_id, t.zoho_payment_id, t.payment_number, t.amount - coalesce(t.unused_amount, 0),
               t.currency, t.zoho_modified_at
          from zoho.vendor_payments t where t.deleted_at is null and tds.lacks_elements(t.zoho_metadata)) p;
comment on view public.tds_document_mismatches is
'Documents that do not add up: a row a check that fails. They are mirrored as Zoho tells them; this is the list to look at.';
comment on column public.tds_document_mismatches.entity is 'The entity.';
comment on column public.tds_document_mismatches.organization_id is 'Zoho organisation.';
comment on column public.tds_document_mismatches.zoho_id is 'Zoho''s id of the document.';
comment on column public.tds_document_mismatches.number is 'The document''s number.';
comment on column public.tds_document_mismatches.what is
'subtotal (the lines), total (discount, taxes, charges), balance (payments, credits), or applied (the documents of a payment, none of '
'which is told).';
comment on column public.tds_document_mismatches.expected is 'What the other amounts make of it.';
comment on column public.tds_document_mismatches.found is 'What Zoho says.';
comment on column public.tds_document_mismatches.difference is 'found less expected.';
comment on column public.tds_document_mismatches.currency is 'Currency of the amounts.';
comment on column public.tds_document_mismatches.status is 'The document''s status.';
comment on column public.tds_document_mismatches.zoho_modified_at is 'When it was last edited in Zoho.';
