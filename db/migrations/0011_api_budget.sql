-- depends: 0007_trust
-- What all processes that ask Zoho share: one access token, and one budget of calls an organisation.

create table tds.api_account (
    account      text primary key check (account ~ '^[0-9a-f]{64}$'),
    refreshes    timestamptz[] not null default '{}',
    closed_until timestamptz,
    refused      text,
    refused_at   timestamptz
);
comment on table  tds.api_account is 'Refresh tokens by their SHA-256, never the token itself: how often each was used, and whether Zoho still takes it.';
comment on column tds.api_account.account is 'SHA-256 of the refresh token, in hexadecimal.';
comment on column tds.api_account.refreshes is 'When access tokens were asked for with it: the newest ten, for Zoho gives out ten in ten minutes.';
comment on column tds.api_account.closed_until is 'Nobody asks for an access token before then.';
comment on column tds.api_account.refused is 'What Zoho refused it with for good (invalid_code); nobody asks again until tds.allow_refresh().';
comment on column tds.api_account.refused_at is 'When.';

-- unlogged, so that the token is in no WAL archive, standby or base backup; pg_dump leaves it out with --no-unlogged-table-data
create unlogged table tds.api_token (
    account      text primary key,
    access_token text not null,
    api_domain   text not null,
    refreshed_at timestamptz not null,
    expires_at   timestamptz not null
);
comment on table  tds.api_token is
'The access token in force for each account. Only tds.access_token() reads it. pg_dump --no-unlogged-table-data leaves it out; a token lives an hour at most.';
comment on column tds.api_token.account is 'SHA-256 of the refresh token.';
comment on column tds.api_token.access_token is 'The token.';
comment on column tds.api_token.api_domain is 'Host of the organisation''s data centre, as the accounts server told it; empty where it told none.';
comment on column tds.api_token.refreshed_at is 'When it was asked for.';
comment on column tds.api_token.expires_at is 'When it ends; it is replaced two minutes before.';

create table tds.api_budget (
    organization_id  text primary key,
    calls_per_minute int check (calls_per_minute > 0),
    concurrency      int check (concurrency > 0),
    minute_seconds   float8 not null default 60 check (minute_seconds > 0),
    day_limit        int,
    day_left         int,
    day_resets_at    timestamptz,
    day_told_at      timestamptz,
    day_untold       int not null default 0,
    paused_until     timestamptz,
    pause_reason     text,
    lowered_to       int check (lowered_to > 0),
    lowered_at       timestamptz
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_cost_delay = 0);
comment on table  tds.api_budget is 'What each organisation may still ask of Zoho. Its row lock orders all reservations.';
comment on column tds.api_budget.organization_id is 'Zoho organisation.';
comment on column tds.api_budget.calls_per_minute is 'Most calls in any minute; null: the setting api_calls_per_minute.';
comment on column tds.api_budget.concurrency is 'Most calls at once; null: the setting api_concurrency.';
comment on column tds.api_budget.minute_seconds is 'Length of a minute in seconds: less than 60 only against a sandbox whose clock runs faster. All of Zoho''s spans shrink with it.';
comment on column tds.api_budget.day_limit is 'The plan''s calls a day, as Zoho''s newest answer told; null: none told yet.';
comment on column tds.api_budget.day_left is 'Calls left of the day, those under way taken off already; null: not told yet.';
comment on column tds.api_budget.day_resets_at is 'When the day''s calls begin anew (midnight of the organisation).';
comment on column tds.api_budget.day_told_at is 'When the call was reserved whose answer told.';
comment on column tds.api_budget.day_untold is 'Calls taken off day_left that ended without an answer since: Zoho may not have counted them.';
comment on column tds.api_budget.paused_until is 'Nobody calls before then.';
comment on column tds.api_budget.pause_reason is 'Why.';
comment on column tds.api_budget.lowered_to is 'Calls at once after code 1070; one more is tried each minute since lowered_at.';
comment on column tds.api_budget.lowered_at is 'When it was lowered.';

create table tds.api_call (
    call_id         bigint generated always as identity primary key,
    organization_id text not null,
    purpose         text not null,
    endpoint        text not null,
    backend_pid     int not null,
    reserved_at     timestamptz not null,
    settled_at      timestamptz,
    told            boolean
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 0);
create index api_call_window_idx on tds.api_call (organization_id, settled_at);
comment on table  tds.api_call is 'Calls under way, and those that ended within the last minute.';
comment on column tds.api_call.call_id is 'The call.';
comment on column tds.api_call.organization_id is 'Zoho organisation.';
comment on column tds.api_call.purpose is 'What it is for.';
comment on column tds.api_call.endpoint is 'Path below /books/v3, ids as {id}.';
comment on column tds.api_call.backend_pid is 'Session that reserved it: it holds the advisory lock (tds.api_lock_class(), backend_pid) while it lives.';
comment on column tds.api_call.reserved_at is 'When it was reserved: it is sent after that.';
comment on column tds.api_call.settled_at is 'When its answer was there: it reached Zoho before that. Null: under way.';
comment on column tds.api_call.told is 'Whether its answer told how many calls are left of the day; null: under way, or not let in (401), which costs none.';

create table tds.api_spending (
    organization_id text not null,
    day             date not null,
    purpose         text not null,
    endpoint        text not null,
    outcome         text not null,
    calls           bigint not null,
    constraint api_spending_pkey primary key (organization_id, day, purpose, endpoint, outcome)
) with (fillfactor = 50);
comment on table  tds.api_spending is 'Calls counted as they end, by what they were for and what became of them.';
comment on column tds.api_spending.organization_id is 'Zoho organisation.';
comment on column tds.api_spending.day is 'Day (UTC) it ended.';
comment on column tds.api_spending.purpose is 'What it was for.';
comment on column tds.api_spending.endpoint is 'Path below /books/v3, ids as {id}.';
comment on column tds.api_spending.outcome is
'ok, not_found, unauthorized, refused, limit_<code>, server_error, no_answer, or lost (its process died).';
comment on column tds.api_spending.calls is 'How many.';
