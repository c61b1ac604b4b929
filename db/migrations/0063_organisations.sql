-- Organisations as rows: whose data is mirrored, where Zoho keeps it, and where its credentials stand.
-- depends: 0059_backups

create table tds.organization (
    organization_id     text primary key check (organization_id ~ '^[A-Za-z0-9_-]{1,50}$'),
    name                text,
    data_centre         text not null default 'com' check (data_centre in ('com', 'eu', 'in', 'com.au', 'jp', 'ca', 'com.cn', 'sa')),
    accounts_base       text,
    api_base            text,
    time_zone           text,
    credentials         text not null,
    webhook_credentials text not null,
    state               text not null default 'active' check (state in ('active', 'paused', 'removing')),
    state_reason        text,
    state_at            timestamptz not null,
    added_at            timestamptz not null,
    added_by            text not null default session_user,
    removed_rows        bigint not null default 0,
    removal_position    int not null default 0,
    removal_found       bigint not null default 0,
    emptied_at          timestamptz
);
comment on table  tds.organization is
'Organisations that are mirrored besides that of the environment (ZOHO_ORGANIZATION_ID), or in place of it: a row a Zoho organisation.';
comment on column tds.organization.organization_id is 'Zoho organisation.';
comment on column tds.organization.name is 'What people call it; null: as Zoho does.';
comment on column tds.organization.data_centre is 'Where Zoho keeps it: com, eu, in, com.au, jp, ca, com.cn, sa.';
comment on column tds.organization.accounts_base is 'Base URL in place of the data centre''s accounts server, for a sandbox.';
comment on column tds.organization.api_base is 'Base URL in place of the data centre''s API, for a sandbox.';
comment on column tds.organization.time_zone is 'Time zone of its days until Zoho has told it.';
comment on column tds.organization.credentials is
'Where its client and refresh token stand, never what they are: env:PREFIX_ (PREFIX_CLIENT_ID …) or file:/path (ZOHO_CLIENT_ID=…).';
comment on column tds.organization.webhook_credentials is 'Where the secrets and tokens of its webhooks stand, in the same way.';
comment on column tds.organization.state is
'active; paused (nothing is asked of Zoho, webhooks are stored and processed); removing (it is being erased).';
comment on column tds.organization.state_reason is 'Why it is paused, as who paused it said.';
comment on column tds.organization.state_at is 'Since when.';
comment on column tds.organization.added_at is 'When the row was made.';
comment on column tds.organization.added_by is 'By whom.';
comment on column tds.organization.removed_rows is 'Rows erased so far, while it is being removed.';
comment on column tds.organization.removal_position is 'How far the present pass over the tables is, while it is being removed.';
comment on column tds.organization.removal_found is 'Rows that the present pass has found.';
comment on column tds.organization.emptied_at is
'When a pass had found none for the first time; another one follows, once batches of before have ended.';

alter table tds.api_budget
    add column calls_per_day int check (calls_per_day > 0),
    add column refused text,
    add column refused_at timestamptz;
comment on column tds.api_budget.calls_per_day is 'Most calls of a day, where it is to be less than the plan''s; null: the plan''s.';
comment on column tds.api_budget.refused is
'Why nothing can be asked for it until somebody mends that: credentials that are missing, or that Zoho refuses; null: nothing is wrong.';
comment on column tds.api_budget.refused_at is 'Since when.';

create table tds.bound_reader (
    reader          name primary key,
    organization_id text not null,
    bound_at        timestamptz not null,
    bound_by        text not null default session_user
);
comment on table  tds.bound_reader is 'Roles that read one organisation only, by views of a schema of its own (tds.bind_reader()).';
comment on column tds.bound_reader.reader is 'The role.';
comment on column tds.bound_reader.organization_id is 'Zoho organisation.';
comment on column tds.bound_reader.bound_at is 'When it was bound.';
comment on column tds.bound_reader.bound_by is 'By whom.';
