-- What shards told of their organisations: who is served, and where the secrets of its webhooks stand.
-- depends: 0001_router
create table tds.organization_told (
    organization_id text primary key,
    shard           int not null references tds.shard,
    told            jsonb not null,
    told_at         timestamptz not null
);
comment on table  tds.organization_told is
'The rows of tds.organization of all shards, as they were told last: good while a shard is away.';
comment on column tds.organization_told.organization_id is 'Zoho''s organisation.';
comment on column tds.organization_told.shard is 'The shard that told of it.';
comment on column tds.organization_told.told is 'Its row there: where credentials stand, never what they are.';
comment on column tds.organization_told.told_at is 'Since when that is so.';
