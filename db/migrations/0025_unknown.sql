-- What only webhooks have told of is asked for at a bounded rate.
-- depends: 0024_evidence

alter table tds.wanted_detail add column unknown boolean not null default false;
comment on column tds.wanted_detail.unknown is 'Whether only webhooks have ever told of the record: such are asked for at a bounded rate.';
create table tds.unknown_asked (
    organization_id text not null,
    hour            timestamptz not null,
    in_hour         int not null,
    day             date not null,
    in_day          int not null,
    constraint unknown_asked_pkey primary key (organization_id)
);
comment on table  tds.unknown_asked is 'How many details were asked for of records that only webhooks have told of.';
comment on column tds.unknown_asked.organization_id is 'Zoho organisation.';
comment on column tds.unknown_asked.hour is 'The beginning of an hour.';
comment on column tds.unknown_asked.in_hour is 'How many, in it.';
comment on column tds.unknown_asked.day is 'A day (UTC).';
comment on column tds.unknown_asked.in_day is 'How many, on it.';
