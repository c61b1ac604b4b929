-- Organisations as rows: added, paused, listed; who serves them asks here.

create or replace function tds.organization_row(organization_id text) returns tds.organization
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_row tds.organization;
begin
    select o.* into v_row from tds.organization o where o.organization_id = organization_row.organization_id;
    if not found then
        raise exception using errcode = 'ZB070', message = 'there is no such organisation',
            detail = coalesce(organization_row.organization_id, ''), hint = 'tds org list shows those there are; tds org add makes one';
    elsif v_row.state = 'removing' then
        raise exception using errcode = 'ZB071', message = 'the organisation is being removed', detail = organization_row.organization_id,
            hint = 'tds org remove goes on with that; afterwards it can be added anew';
    end if;
    return v_row;
end
$$;
revoke all on function tds.organization_row(text) from public;
comment on function tds.organization_row(text) is
'The row of an organisation. Raises ZB070 where there is none, ZB071 where it is being removed.';

create or replace function tds.check_organization(told tds.organization) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_reference text;
begin
    if not coalesce(tds.is_id((check_organization.told).organization_id), false) then
        raise exception using errcode = 'ZB015', message = 'this is no id of an organisation',
            detail = coalesce(left((check_organization.told).organization_id, 100), ''),
            hint = 'Zoho shows it under Settings, Organisation Profile; tds connect lists those that a token sees';
    end if;
    if (check_organization.told).data_centre is null
       or (check_organization.told).data_centre not in ('com', 'eu', 'in', 'com.au', 'jp', 'ca', 'com.cn', 'sa') then
        raise exception using errcode = 'ZB072', message = 'there is no such data centre',
            detail = coalesce(left((check_organization.told).data_centre, 100), ''), hint = 'com, eu, in, com.au, jp, ca, com.cn or sa';
    end if;
    foreach v_reference in array array[(check_organization.told).credentials, (check_organization.told).webhook_credentials] loop
        -- what is neither may be a secret: it is not shown
        if v_reference is null or v_reference !~ '^(env:[A-Za-z][A-Za-z0-9_]{0,99}|file:/.+)$' then
            raise exception using errcode = 'ZB073', message = 'this does not say where credentials stand',
                hint = 'env:PREFIX_ (variables PREFIX_CLIENT_ID …) or file:/path of a file with ZOHO_CLIENT_ID=…; never the secret itself';
        end if;
    end loop;
    if (check_organization.told).time_zone is not null and not tds.is_time_zone((check_organization.told).time_zone) then
        raise exception using errcode = 'ZB074', message = 'there is no such time zone',
            detail = left((check_organization.told).time_zone, 100), hint = 'as in Asia/Baghdad; select name from pg_timezone_names';
    end if;
end
$$;
revoke all on function tds.check_organization(tds.organization) from public;
comment on function tds.check_organization(tds.organization) is
'Refuses an organisation''s row that makes no sense. Raises ZB015 (id), ZB072 (data centre), ZB073 (reference), ZB074 (time zone).';

create or replace function tds.limit_calls(organization_id text, calls_per_minute int, calls_per_day int, concurrency int) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    if least(limit_calls.calls_per_minute, limit_calls.calls_per_day, limit_calls.concurrency) < 1 then
        raise exception using errcode = 'ZB075', message = 'a limit of calls is at least 1', hint = 'leave out what is as the plan has it';
    end if;
    insert into tds.api_budget as b (organization_id, calls_per_minute, calls_per_day, concurrency)
    values (limit_calls.organization_id, limit_calls.calls_per_minute, limit_calls.calls_per_day, limit_calls.concurrency)
    on conflict on constraint api_budget_pkey do update
       set calls_per_minute = coalesce(excluded.calls_per_minute, b.calls_per_minute),
           calls_per_day = coalesce(excluded.calls_per_day, b.calls_per_day),
           concurrency = coalesce(excluded.concurrency, b.concurrency);
end
$$;
revoke all on function tds.limit_calls(text, int, int, int) from public;
comment on function tds.limit_calls(text, int, int, int) is
'Sets an organisation''s own limits of calls; null leaves one as it is. Raises ZB075.';

create or replace function tds.org_add(
    organization_id text, data_centre text default 'com', credentials text default null, name text default null,
    webhook_credentials text default null, calls_per_minute int default null, calls_per_day int default null,
    concurrency int default null, time_zone text default null, accounts_base text default null, api_base text default null)
returns tds.organization
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now constant timestamptz := tds.now();
    v_row tds.organization;
begin
    v_row.organization_id := org_add.organization_id;
    v_row.name := org_add.name;
    v_row.data_centre := org_add.data_centre;
    v_row.accounts_base := org_add.accounts_base;
    v_row.api_base := org_add.api_base;
    v_row.time_zone := org_add.time_zone;
    v_row.credentials := org_add.credentials;
    v_row.webhook_credentials := coalesce(org_add.webhook_credentials, org_add.credentials);
    perform tds.check_organization(v_row);
    insert into tds.organization as o (organization_id, name, data_centre, accounts_base, api_base, time_zone, credentials,
                                       webhook_credentials, state_at, added_at)
    values (v_row.organization_id, v_row.name, v_row.data_centre, v_row.accounts_base, v_row.api_base, v_row.time_zone, v_row.credentials,
            v_row.webhook_credentials, v_now, v_now)
    on conflict on constraint organization_pkey do nothing
    returning o.* into v_row;
    if v_row.state is null then
        perform tds.organization_row(org_add.organization_id);
        raise exception using errcode = 'ZB076', message = 'the organisation is there already', detail = org_add.organization_id,
            hint = 'tds org set changes it, tds org resume goes on with one that is paused';
    end if;
    perform tds.limit_calls(v_row.organization_id, org_add.calls_per_minute, org_add.calls_per_day, org_add.concurrency);
    return v_row;
end
$$;
revoke all on function tds.org_add(text, text, text, text, text, int, int, int, text, text, text) from public;
comment on function tds.org_add(text, text, text, text, text, int, int, int, text, text, text) is
'Adds an organisation: pollers and receivers serve it from their next look on, some seconds later. credentials, webhook_credentials: where '
'they stand (env:PREFIX_ or file:/path), the latter where the former do unless told. Raises ZB015, ZB071 to ZB076.';
grant execute on function tds.org_add(text, text, text, text, text, int, int, int, text, text, text) to tds_operator;

create or replace function tds.org_set(
    organization_id text, data_centre text default null, credentials text default null, name text default null,
    webhook_credentials text default null, calls_per_minute int default null, calls_per_day int default null,
    concurrency int default null, time_zone text default null, accounts_base text default null, api_base text default null)
returns tds.organization
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_row tds.organization := tds.organization_row(org_set.organization_id);
begin
    v_row.name := coalesce(org_set.name, v_row.name);
    v_row.data_centre := coalesce(org_set.data_centre, v_row.data_centre);
    v_row.accounts_base := coalesce(org_set.accounts_base, v_row.accounts_base);
    v_row.api_base := coalesce(org_set.api_base, v_row.api_base);
    v_row.time_zone := coalesce(org_set.time_zone, v_row.time_zone);
    v_row.credentials := coalesce(org_set.credentials, v_row.credentials);
    v_row.webhook_credentials := coalesce(org_set.webhook_credentials, v_row.webhook_credentials);
    perform tds.check_organization(v_row);
    update tds.organization o
       set name = v_row.name, data_centre = v_row.data_centre, accounts_base = v_row.accounts_base, api_base = v_row.api_base,
           time_zone = v_row.time_zone, credentials = v_row.credentials, webhook_credentials = v_row.webhook_credentials
     where o.organization_id = v_row.organization_id;
    perform tds.limit_calls(v_row.organization_id, org_set.calls_per_minute, org_set.calls_per_day, org_set.concurrency);
    return v_row;
end
$$;
revoke all on function tds.org_set(text, text, text, text, text, int, int, int, text, text, text) from public;
comment on function tds.org_set(text, text, text, text, text, int, int, int, text, text, text) is
'Changes what is given of an organisation and leaves the rest. Raises ZB070 to ZB075.';
grant execute on function tds.org_set(text, text, text, text, text, int, int, int, text, text, text) to tds_operator;

create or replace function tds.org_pause(organization_id text, reason text default null) returns tds.organization
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_row tds.organization := tds.organization_row(org_pause.organization_id);
begin
    update tds.organization o
       set state = 'paused', state_reason = left(org_pause.reason, 1000), state_at = case when o.state = 'paused' then o.state_at
                                                                                     else tds.now() end
     where o.organization_id = v_row.organization_id
    returning o.* into v_row;
    return v_row;
end
$$;
revoke all on function tds.org_pause(text, text) from public;
comment on function tds.org_pause(text, text) is
'Nothing more is asked of Zoho for an organisation, from the pollers'' next look on; its webhooks are stored and processed as ever. Raises '
'ZB070, ZB071.';
grant execute on function tds.org_pause(text, text) to tds_operator;

create or replace function tds.org_resume(organization_id text) returns tds.organization
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_row tds.organization := tds.organization_row(org_resume.organization_id);
begin
    update tds.organization o
       set state = 'active', state_reason = null, state_at = case when o.state = 'active' then o.state_at else tds.now() end
     where o.organization_id = v_row.organization_id
    returning o.* into v_row;
    return v_row;
end
$$;
revoke all on function tds.org_resume(text) from public;
comment on function tds.org_resume(text) is 'Goes on with an organisation that was paused. Raises ZB070, ZB071.';
grant execute on function tds.org_resume(text) to tds_operator;

create or replace function tds.organizations_listed() returns setof tds.organization
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return query select o.* from tds.organization o order by o.organization_id;
end
$$;
revoke all on function tds.organizations_listed() from public;
comment on function tds.organizations_listed() is
'The rows of all organisations, for the programs that serve them: where credentials stand, never what they are.';
grant execute on function tds.organizations_listed() to tds_receiver, tds_poller, tds_operator, tds_worker;

create or replace function tds.is_served(organization_id text) returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return not exists (select from tds.organization o where o.organization_id = is_served.organization_id and o.state <> 'active')
       and not exists (select from tds.gate g where g.organization_id = is_served.organization_id);
end
$$;
revoke all on function tds.is_served(text) from public;
comment on function tds.is_served(text) is
'Whether Zoho is asked for an organisation: it is neither paused nor being removed, nor on its way to another shard.';

create or replace function tds.late_from(told timestamptz, resumed_at timestamptz, at timestamptz) returns timestamptz
language sql immutable parallel safe
as $$ select greatest($1, case when not tds.is_ahead($2, $3) then $2 end) $$;
comment on function tds.late_from(timestamptz, timestamptz, timestamptz) is
'From when on something of an organisation is late that was told last then: nothing was due while it was paused. resumed_at: its state_at.';

create or replace function tds.note_refusal(organization_id text, refused text) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    if note_refusal.refused is null then
        update tds.api_budget b set refused = null, refused_at = null
         where b.organization_id = note_refusal.organization_id and b.refused is not null;
    else
        insert into tds.api_budget as b (organization_id, refused, refused_at)
        values (note_refusal.organization_id, left(note_refusal.refused, 1000), tds.now())
        on conflict on constraint api_budget_pkey do update
           set refused = excluded.refused, refused_at = coalesce(b.refused_at, excluded.refused_at)
         where b.refused is distinct from excluded.refused;
    end if;
end
$$;
revoke all on function tds.note_refusal(text, text) from public;
comment on function tds.note_refusal(text, text) is
'A poller cannot ask for an organisation, and why: the others are served. null: it can.';
grant execute on function tds.note_refusal(text, text) to tds_poller, tds_operator;

create or replace view public.tds_organizations as
select coalesce(o.organization_id, b.organization_id) as organization_id, coalesce(o.name, z.name) as name,
       coalesce(o.state, 'not listed') as state, o.state_reason, o.state_at, o.data_centre, coalesce(z.time_zone, o.time_zone) as time_zone,
       b.calls_per_minute, b.calls_per_day, b.concurrency, o.credentials, o.webhook_credentials, b.refused, b.refused_at,
       b.paused_until, b.pause_reason, o.added_at, o.added_by, case when o.state = 'removing' then o.removed_rows end as removed_rows
  from tds.organization o
  full join (select k.organization_id, k.calls_per_minute, k.calls_per_day, k.concurrency, k.refused, k.refused_at,
                    case when k.paused_until > t.now then k.paused_until end as paused_until,
                    case when k.paused_until > t.now then k.pause_reason end as pause_reason
               from tds.api_budget k cross join (select tds.now() as now) t) b on b.organization_id = o.organization_id
  left join zoho.organizations z on z.organization_id = coalesce(o.organization_id, b.organization_id)
                                and z.zoho_organization_id = z.organization_id;
comment on view public.tds_organizations is
'The organisations: those that are rows (tds org add), and those that Zoho was asked for without being one, as that of the environment is.';
comment on column public.tds_organizations.organization_id is 'Zoho organisation.';
comment on column public.tds_organizations.name is 'Its name.';
comment on column public.tds_organizations.state is 'active, paused, removing; not listed: it is no row of tds.organization.';
comment on column public.tds_organizations.state_reason is 'Why it is paused.';
comment on column public.tds_organizations.state_at is 'Since when.';
comment on column public.tds_organizations.data_centre is 'Where Zoho keeps it.';
comment on column public.tds_organizations.time_zone is 'Time zone of its days.';
comment on column public.tds_organizations.calls_per_minute is 'Its own limit of calls a minute; null: the setting api_calls_per_minute.';
comment on column public.tds_organizations.calls_per_day is 'Its own limit of calls a day; null: the plan''s.';
comment on column public.tds_organizations.concurrency is 'Its own limit of calls at once; null: the setting api_concurrency.';
comment on column public.tds_organizations.credentials is 'Where its credentials stand.';
comment on column public.tds_organizations.webhook_credentials is 'Where the secrets of its webhooks stand.';
comment on column public.tds_organizations.refused is 'Why nothing can be asked for it until somebody mends that; null: nothing is wrong.';
comment on column public.tds_organizations.refused_at is 'Since when.';
comment on column public.tds_organizations.paused_until is 'Zoho has asked for a pause until then.';
comment on column public.tds_organizations.pause_reason is 'Why.';
comment on column public.tds_organizations.added_at is 'When it was added.';
comment on column public.tds_organizations.added_by is 'By whom.';
comment on column public.tds_organizations.removed_rows is 'Rows erased so far, while it is being removed.';
