-- depends: 0014_verify
-- What `tds migrate` is in the middle of, so that one that was stopped reads no list again.

create table tds.full_pull (
    organization_id text not null,
    began_at        timestamptz not null,
    finished_at     timestamptz,
    constraint full_pull_pkey primary key (organization_id)
);
comment on table  tds.full_pull is 'The newest migration of each organisation: every list, then every detail that lists lack.';
comment on column tds.full_pull.organization_id is 'Zoho organisation.';
comment on column tds.full_pull.began_at is 'When it began; lists read since are not read again by it.';
comment on column tds.full_pull.finished_at is 'When it ended by itself; null: it goes on with the next tds migrate.';
