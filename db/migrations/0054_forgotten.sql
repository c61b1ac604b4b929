-- Persons whose data was erased, and is not stored again.
-- depends: 0053_history

create table tds.forgotten (
    organization_id text not null,
    zoho_contact_id text not null,
    forgotten_at    timestamptz not null,
    forgotten_by    text not null,
    swept_to        bigint not null,
    report          jsonb not null,
    constraint forgotten_pkey primary key (organization_id, zoho_contact_id)
);
comment on table  tds.forgotten is
'Contacts that tds.forget() erased: what describes them is taken out of every body before it is applied, until tds.remember().';
comment on column tds.forgotten.organization_id is 'Zoho organisation.';
comment on column tds.forgotten.zoho_contact_id is 'Zoho''s id of the contact: all that is kept of whom.';
comment on column tds.forgotten.forgotten_at is 'When.';
comment on column tds.forgotten.forgotten_by is 'The database role that did it.';
comment on column tds.forgotten.swept_to is 'Bodies up to this number hold nothing of the person any more.';
comment on column tds.forgotten.report is 'What was done, in numbers: no data.';

create type tds.person_record as (target text, entity text, zoho_id text, doc jsonb);
comment on type tds.person_record is 'A row of a contact; see tds.person_records().';
