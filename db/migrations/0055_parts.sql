-- What was known by name is a row of the registry.
-- depends: 0049_feeds

alter table tds.entity
    add column parts jsonb not null default '{}',
    add column empty_twice text;
comment on column tds.entity.parts is
'Tables that its function complete writes, and their columns that hold the record''s id: its children besides those of tds.child.';
comment on column tds.entity.empty_twice is
'Function that believes a record whose array is empty against what is known of it, once a second detail says so: '
'tds.<empty_twice>(organization_id, zoho_ids, at, true).';
