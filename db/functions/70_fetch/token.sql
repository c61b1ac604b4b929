create or replace function tds.access_token(
    account text, rejected text default null, minute_seconds float8 default 60, credentials text default '',
    out state text, out access_token text, out api_domain text, out good_seconds float8, out wait_seconds float8, out reason text)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now     timestamptz;
    v_minute  constant interval := make_interval(secs => access_token.minute_seconds);
    v_account tds.api_account;
    v_token   tds.api_token;
    v_refused text;
begin
    insert into tds.api_account as a (account) values (access_token.account) on conflict on constraint api_account_pkey do nothing;
    select a.* into v_account from tds.api_account a where a.account = access_token.account for update;
    v_now := tds.now();
    update tds.api_account a set asked_at = v_now where a.account = access_token.account;
    select r.refused into v_refused
      from tds.api_refusal r
     where r.account = access_token.account and r.credentials = access_token.credentials;
    select t.* into v_token from tds.api_token t
     where t.account = access_token.account and t.expires_at > v_now and not tds.is_ahead(t.refreshed_at, v_now)
         and t.access_token is distinct from access_token.rejected;
    access_token.access_token := v_token.access_token;
    access_token.api_domain := v_token.api_domain;
    access_token.good_seconds := extract(epoch from v_token.expires_at - 2 * v_minute - v_now)::float8;
    if v_refused is not null then
        access_token.state := 'refused';
        access_token.reason := v_refused;
    elsif v_token.expires_at - 2 * v_minute > v_now then
        access_token.state := 'ok';
    -- who gets the lease goes and asks; should that session die, it is free again
    elsif not tds.try_lease('tds token', access_token.account) then
        access_token.state := case when v_token.account is null then 'wait' else 'ok' end;
        access_token.wait_seconds := access_token.minute_seconds / 600;
        access_token.reason := 'another process asks for the token';
    else
        select s.wait_seconds, s.reason into access_token.wait_seconds, access_token.reason
          from tds.refresh_allowed(v_account, v_now, v_minute) s;
        if access_token.wait_seconds is null then
            access_token.state := 'refresh';
            update tds.api_account a
               set refreshes = (array_prepend(v_now, a.refreshes))[1:10]
             where a.account = access_token.account;
        else
            perform tds.end_lease('tds token', access_token.account);
            access_token.state := case when v_token.account is null then 'wait' else 'ok' end;
        end if;
    end if;
end
$$;
revoke all on function tds.access_token(text, text, float8, text) from public;
comment on function tds.access_token(text, text, float8, text) is
'The token in force. state: ok (use it, for good_seconds without asking again); refresh (the caller alone asks Zoho now, then calls '
'store_access_token() or refresh_failed() on the same connection); wait (ask again after wait_seconds); refused (Zoho has refused these '
'very credentials for good, reason says what it answered). rejected: a token that the API did not take. Refreshed two minutes early, '
'by one session at a time, at most ten times in ten minutes. credentials: a fingerprint of all that would be sent.';
grant execute on function tds.access_token(text, text, float8, text) to tds_poller;

create or replace function tds.refresh_allowed(known tds.api_account, at timestamptz, minute interval, out wait_seconds float8,
                                               out reason text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_tenth constant timestamptz := (refresh_allowed.known).refreshes[10];
begin
    -- further ahead than either pause lasts: it was set by a clock that had jumped
    if (refresh_allowed.known).closed_until > refresh_allowed.at
       and not tds.is_ahead((refresh_allowed.known).closed_until, refresh_allowed.at + 10 * refresh_allowed.minute) then
        refresh_allowed.wait_seconds := extract(epoch from (refresh_allowed.known).closed_until - refresh_allowed.at)::float8;
        refresh_allowed.reason := 'Zoho gives out no more tokens for now';
    elsif v_tenth + 10 * refresh_allowed.minute > refresh_allowed.at and not tds.is_ahead(v_tenth, refresh_allowed.at) then
        refresh_allowed.wait_seconds := extract(epoch from v_tenth + 10 * refresh_allowed.minute - refresh_allowed.at)::float8;
        refresh_allowed.reason := 'ten tokens were asked for within ten minutes, which is all that Zoho gives out';
    end if;
end
$$;
revoke all on function tds.refresh_allowed(tds.api_account, timestamptz, interval) from public;
comment on function tds.refresh_allowed(tds.api_account, timestamptz, interval) is
'How long an account has to wait before a token may be asked for again, and why; null: not at all.';

create or replace function tds.store_access_token(account text, access_token text, api_domain text, lifetime_seconds float8,
                                                  asked_at timestamptz)
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now constant timestamptz := tds.now();
begin
    insert into tds.api_token as t (account, access_token, api_domain, refreshed_at, expires_at)
    values (store_access_token.account, store_access_token.access_token, store_access_token.api_domain, store_access_token.asked_at,
            store_access_token.asked_at + make_interval(secs => store_access_token.lifetime_seconds))
    on conflict on constraint api_token_pkey do update
       set access_token = excluded.access_token, api_domain = excluded.api_domain,
           refreshed_at = excluded.refreshed_at, expires_at = excluded.expires_at;
    -- Zoho counts it from when it came there, which is before now
    update tds.api_account a
       set refreshes[1] = v_now, refused = null, refused_at = null
     where a.account = store_access_token.account;
    perform tds.end_lease('tds token', store_access_token.account);
end
$$;
revoke all on function tds.store_access_token(text, text, text, float8, timestamptz) from public;
comment on function tds.store_access_token(text, text, text, float8, timestamptz) is
'Keeps the token that access_token() sent the caller for, and lets the others have it. lifetime_seconds from asked_at on.';
grant execute on function tds.store_access_token(text, text, text, float8, timestamptz) to tds_poller;

create or replace function tds.is_final_refusal(error text) returns boolean
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    return is_final_refusal.error in ('invalid_code', 'invalid_client', 'invalid_client_secret', 'invalid_grant',
                                      'unauthorized_client', 'client_not_found');
end
$$;
revoke all on function tds.is_final_refusal(text) from public;
comment on function tds.is_final_refusal(text) is
'Whether what the accounts server answers stays true however often the same credentials are sent: revoked, or mistyped.';

create or replace function tds.refresh_failed(
    account text, error text, minute_seconds float8 default 60, credentials text default '')
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now   constant timestamptz := tds.now();
    v_final constant boolean := tds.is_final_refusal(refresh_failed.error);
begin
    update tds.api_account a
       -- where no token was given out, none counts
       set refreshes = case when v_final then a.refreshes[2:] else array_prepend(v_now, a.refreshes[2:]) end,
           refused = case when v_final then refresh_failed.error else a.refused end,
           refused_at = case when v_final then v_now else a.refused_at end,
           closed_until = case when refresh_failed.error = 'access_denied'
               then v_now + make_interval(secs => 10 * refresh_failed.minute_seconds)
                               else a.closed_until end
     where a.account = refresh_failed.account;
    if v_final and found then
        insert into tds.api_refusal as r (account, credentials, refused, refused_at)
        values (refresh_failed.account, refresh_failed.credentials, refresh_failed.error, v_now)
        on conflict on constraint api_refusal_pkey do update
           set refused = excluded.refused, refused_at = excluded.refused_at;
    end if;
    perform tds.end_lease('tds token', refresh_failed.account);
end
$$;
revoke all on function tds.refresh_failed(text, text, float8, text) from public;
comment on function tds.refresh_failed(text, text, float8, text) is
'Notes that no token came. What is_final_refusal() names stops every process with these credentials (a fingerprint of them) until '
'allow_refresh(); others, the mended ones, may ask at once. access_denied stops asking for ten minutes; anything else only lets the next '
'one try.';
grant execute on function tds.refresh_failed(text, text, float8, text) to tds_poller;

create or replace function tds.allow_refresh(account text default null) returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_rows bigint;
begin
    update tds.api_account a
       set refused = null, refused_at = null, closed_until = null
     where (allow_refresh.account is null or a.account = allow_refresh.account)
       and (a.refused is not null or a.closed_until is not null
            or exists (select from tds.api_refusal r where r.account = a.account));
    get diagnostics v_rows = row_count;
    delete from tds.api_refusal r where allow_refresh.account is null or r.account = allow_refresh.account;
    return v_rows;
end
$$;
revoke all on function tds.allow_refresh(text) from public;
comment on function tds.allow_refresh(text) is
'Lets the pollers try a refresh token again that Zoho had refused; null: all of them. Returns how many were stopped. Other credentials '
'need no such permission.';
grant execute on function tds.allow_refresh(text) to tds_operator;
