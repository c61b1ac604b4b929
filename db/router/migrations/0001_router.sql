-- The books of a router: which shards there are, which organisation is where, and the moves from one to another.
-- nobody may call a function of ours unless a grant says so
alter default privileges revoke execute on functions from public;

create table tds.router (
    only_row        boolean primary key default true check (only_row),
    cluster_version int not null default 1
);
insert into tds.router default values;
comment on table  tds.router is 'This database is a router: it has no mirror of its own. One row.';
comment on column tds.router.only_row is 'Always true: keeps the table at one row.';
comment on column tds.router.cluster_version is 'Changes with the shards, so that sessions look at them anew.';

create table tds.setting (
    name        text primary key,
    value       jsonb not null,
    description text not null
);
comment on table  tds.setting is 'Settings of the router.';
comment on column tds.setting.name is 'Name.';
comment on column tds.setting.value is 'Value.';
comment on column tds.setting.description is 'What it is for.';

create table tds.shard (
    number         int primary key check (number between 0 and 999),
    name           text not null unique check (name ~ '^[a-z][a-z0-9_-]{0,40}$'),
    conninfo       text not null check (conninfo !~* '\mpassword\s*=\s*[^\s'']'),
    admin_conninfo text check (admin_conninfo !~* '\mpassword\s*=\s*[^\s'']'),
    added_at       timestamptz not null default now(),
    removed_at     timestamptz
);
comment on table  tds.shard is 'The shards: ordinary databases of TDS. Their numbers are never used again.';
comment on column tds.shard.number is 'Its number; what it counts begins at this, times 10^12.';
comment on column tds.shard.name is 'What it is called.';
comment on column tds.shard.conninfo is
'How this server reaches it, as libpq has it: without a password, which is in a passfile or service file of the server''s account.';
comment on column tds.shard.admin_conninfo is
'How the tds command reaches it for upgrades and moves, as its owner; null: as conninfo says.';
comment on column tds.shard.added_at is 'Since when.';
comment on column tds.shard.removed_at is 'Until when; null: it is in use.';

create table tds.directory (
    organization_id text primary key,
    shard           int not null references tds.shard,
    arrives_at      int references tds.shard,
    changed_at      timestamptz not null default now()
);
comment on table  tds.directory is
'Which organisation is where. One that is not here is on the shard of the setting default_shard.';
comment on column tds.directory.organization_id is 'Zoho''s organisation.';
comment on column tds.directory.shard is 'The shard that has its rows: who reads is sent there.';
comment on column tds.directory.arrives_at is 'While it is being moved: the shard where its new events wait already.';
comment on column tds.directory.changed_at is 'When that was so decided.';

create table tds.move (
    move_id         bigint generated always as identity primary key,
    organization_id text not null,
    from_shard      int not null references tds.shard,
    to_shard        int not null references tds.shard,
    step            text not null check (step in ('copy', 'fence', 'drain', 'carry', 'open', 'remove', 'done')),
    began_at        timestamptz not null default now(),
    changed_at      timestamptz not null default now(),
    row_count       bigint
);
create unique index move_under_way on tds.move (organization_id) where step <> 'done';
comment on table  tds.move is 'Moves of organisations (tds shard move), and how far each has come: the same command goes on there.';
comment on column tds.move.move_id is 'Number.';
comment on column tds.move.organization_id is 'Zoho''s organisation.';
comment on column tds.move.from_shard is 'Where it was.';
comment on column tds.move.to_shard is 'Where it goes.';
comment on column tds.move.step is
'copy: its rows are copied while all goes on; fence: its new events go to the other shard and wait there; drain: workers end what they '
'have in hand; carry: what is left is copied and all is compared; open: it is read and worked on there; remove: its rows go here; done.';
comment on column tds.move.began_at is 'When it began.';
comment on column tds.move.changed_at is 'When this step began.';
comment on column tds.move.row_count is 'Rows compared, once they are.';

create table tds.mover (
    organization_id text primary key
);
comment on table  tds.mover is 'Whoever moves an organisation keeps its row locked.';
comment on column tds.mover.organization_id is 'Zoho''s organisation.';

create table tds.api_key (
    api_key_id   bigint generated always as identity primary key,
    name         text not null constraint name_is_short check (name ~ '^[^[:cntrl:]]{1,100}$'),
    sha256       bytea not null constraint api_key_sha256_key unique check (octet_length(sha256) = 32),
    created_at   timestamptz not null,
    created_by   text not null,
    last_used_at timestamptz,
    revoked_at   timestamptz,
    scope        text not null default 'operate' check (scope in ('read', 'operate'))
);
create unique index api_key_name_key on tds.api_key (name) where revoked_at is null;
comment on table  tds.api_key is
'Keys of the bulk-sync API that this router''s receivers ask for; none of them is stored, only their hashes.';
comment on column tds.api_key.api_key_id is 'Number.';
comment on column tds.api_key.name is 'Whose key it is.';
comment on column tds.api_key.sha256 is 'SHA-256 of the key.';
comment on column tds.api_key.created_at is 'When it was made.';
comment on column tds.api_key.created_by is 'The role that made it.';
comment on column tds.api_key.last_used_at is 'When it was used last, to the minute.';
comment on column tds.api_key.revoked_at is 'When it was revoked; null: it is in force.';
comment on column tds.api_key.scope is 'read or operate.';

create table tds.api_session (
    sha256     bytea primary key,
    key_sha256 bytea not null,
    begun_at   timestamptz not null,
    ends_at    timestamptz not null
);
comment on table  tds.api_session is 'Browsers that have shown a key.';
comment on column tds.api_session.sha256 is 'SHA-256 of the cookie.';
comment on column tds.api_session.key_sha256 is 'SHA-256 of the key.';
comment on column tds.api_session.begun_at is 'When it was shown.';
comment on column tds.api_session.ends_at is 'Until when the cookie is good.';
