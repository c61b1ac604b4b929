-- The way in, by a router: each event is stored on its organisation's shard, and durable there, before the answer.

create or replace function tds.check_source(source text, shape text, run_id bigint) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    if check_source.source = 'webhook' and check_source.shape = 'webhook' and check_source.run_id is null then
        return;
    end if;
    -- within a function that runs as its owner these two still say who called it
    if not exists (
           select from pg_catalog.pg_roles r
            where (r.rolname in ('tds_poller', 'tds_worker', 'tds_operator')
                   or r.oid = (select c.relowner from pg_catalog.pg_class c where c.oid = 'tds.router'::regclass))
              and pg_has_role(coalesce(nullif(current_setting('role'), 'none'), session_user)::name, r.oid, 'member')) then
        raise exception using errcode = 'insufficient_privilege', message = 'only a webhook may be told of by this role',
            detail = format('source %s, shape %s', check_source.source, check_source.shape),
            hint = 'answers of Zoho''s API are stored by a member of tds_poller';
    end if;
end
$$;
revoke all on function tds.check_source(text, text, bigint) from public;
comment on function tds.check_source(text, text, bigint) is
'Raises insufficient_privilege where the caller says that Zoho''s API answered so and may not; the shard cannot tell, as it sees the '
'router.';

create or replace function tds.is_down(number int) returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_until constant text := current_setting(format('tds.shard_%s_down_until', is_down.number), true);
begin
    return coalesce(v_until, '') <> '' and extract(epoch from clock_timestamp()) between v_until::float8 - 60 and v_until::float8;
end
$$;
revoke all on function tds.is_down(int) from public;
comment on function tds.is_down(int) is
'Whether this session found a shard away within the last seconds: others need not wait for it again so soon.';

create or replace function tds.note_down(number int, error text, seconds int default 2) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    perform set_config(format('tds.shard_%s_down_until', note_down.number),
                       (extract(epoch from clock_timestamp()) + note_down.seconds)::text, false);
    raise warning 'shard %: %', (select s.name from tds.shard s where s.number = note_down.number), note_down.error;
end
$$;
revoke all on function tds.note_down(int, text, int) from public;
comment on function tds.note_down(int, text, int) is
'Notes for this session that a shard is away for so many seconds, and says so in the log.';

create or replace function tds.is_outage(error_code text) returns boolean
language sql immutable parallel safe
as $$ select left(error_code, 2) = any (array['08', '25', '28', '3D', '3F', '42', '53', '55', '57', '58', 'XX']) or error_code = 'ZB082' $$;
revoke all on function tds.is_outage(text) from public;
comment on function tds.is_outage(text) is
'Whether an error is no fault of any body: the shard is away, full, read-only, another one or without our functions.';

create or replace function tds.store_on_shard(
    number int, ords int[], entity text[], bodies bytea, lengths int[], organization_id text[], event text[], headers text[], source text,
    shape text, default_organization text)
returns table (ord int, inbox_id bigint, status text)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_state text;
    v_error text;
    v_first int := 1;
    v_n     int;
begin
    if store_on_shard.number is null or tds.is_down(store_on_shard.number) then
        return query select o.ord, null::bigint, 'unavailable' from unnest(store_on_shard.ords) o(ord);
        return;
    end if;
    begin
        return query
        select r.ord, r.inbox_id, r.status
          from tds.receive_on_shard(store_on_shard.number, store_on_shard.ords, store_on_shard.entity, store_on_shard.bodies,
                                    store_on_shard.lengths, store_on_shard.organization_id, store_on_shard.event,
                                    store_on_shard.headers, store_on_shard.source,
                                    store_on_shard.shape, store_on_shard.default_organization,
                                    (select s.name from tds.shard s where s.number = store_on_shard.number)) r;
        return;
    exception
        when query_canceled then
            -- the caller's limit of time is over, and will not come again: it hangs, and others are still stored
            perform tds.note_down(store_on_shard.number, 'does not answer', 30);
            return query select o.ord, null::bigint, 'unavailable' from unnest(store_on_shard.ords) o(ord);
            return;
        when others then
            get stacked diagnostics v_state = returned_sqlstate, v_error = message_text;
    end;
    if v_state = 'ZB080' then
        return query select o.ord, null::bigint, 'moved' from unnest(store_on_shard.ords) o(ord);
    elsif tds.is_outage(v_state) or cardinality(store_on_shard.ords) = 1 then
        if tds.is_outage(v_state) then
            perform tds.note_down(store_on_shard.number, v_error);
        else
            raise warning 'an event cannot be stored: % (%)', v_error, v_state;
        end if;
        return query select o.ord, null::bigint, 'unavailable' from unnest(store_on_shard.ords) o(ord);
    else
        -- one of them spoils it for the others
        for v_n in 1 .. cardinality(store_on_shard.ords) loop
            return query
            select r.ord, r.inbox_id, r.status
              from tds.store_on_shard(store_on_shard.number, store_on_shard.ords[v_n:v_n], store_on_shard.entity[v_n:v_n],
                                      substring(store_on_shard.bodies from v_first for store_on_shard.lengths[v_n]),
                                      store_on_shard.lengths[v_n:v_n], store_on_shard.organization_id[v_n:v_n],
                                      store_on_shard.event[v_n:v_n],
                                      store_on_shard.headers[v_n:v_n], store_on_shard.source, store_on_shard.shape,
                                      store_on_shard.default_organization) r;
            v_first := v_first + store_on_shard.lengths[v_n];
        end loop;
    end if;
end
$$;
revoke all on function tds.store_on_shard(int, int[], text[], bytea, int[], text[], text[], text[], text, text, text) from public;
comment on function tds.store_on_shard(int, int[], text[], bytea, int[], text[], text[], text[], text, text, text) is
'Stores bodies on one shard: as tds.receive_many() answers, or unavailable for each (not stored, as far as is known), or moved.';

create or replace function tds.named_organizations(organization_id text[], body bytea[], length int) returns text[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return array(
        select coalesce(b.organization_id,
                        (select d.organization_id from tds.directory d
                          where b.organization_id is null and d.organization_id = tds.named_organization(b.body)),
                        '')
          from unnest(named_organizations.organization_id, named_organizations.body, array_fill(0, array[named_organizations.length]))
               with ordinality b(organization_id, body, _, n)
         where b.n <= named_organizations.length
         order by b.n);
end
$$;
revoke all on function tds.named_organizations(text[], bytea[], int) from public;
comment on function tds.named_organizations(text[], bytea[], int) is
'Whose each of so many bodies is: by the caller''s word, else by the body''s if the directory knows that organisation, else ''''.';

create or replace function tds.receive_many(
    entity text[], body bytea[], organization_id text[] default null, source text default 'webhook',
    shape text default 'webhook', event text[] default null, headers jsonb[] default null)
returns table (ord int, inbox_id bigint, status text)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
declare
    v_default  constant text := tds.default_organization();
    v_until    constant timestamptz := clock_timestamp() + interval '2.5 seconds';
    v_length   constant int := coalesce(cardinality(receive_many.entity), 0);
    v_asked    text[] := receive_many.organization_id;
    v_shards   int[];
    v_number   int;
    v_told     record;
    v_ords     int[] := '{}';
    v_ids      bigint[] := '{}';
    v_statuses text[] := '{}';
    v_open     int[];
    v_moved    int[];
begin
    perform tds.check_source(receive_many.source, receive_many.shape, null);
    if coalesce(cardinality(v_asked), 0) <> v_length or array_position(v_asked, null) is not null then
        v_asked := tds.named_organizations(v_asked, receive_many.body, v_length);
    end if;
    loop
        v_shards := array(select coalesce((select coalesce(d.arrives_at, d.shard) from tds.directory d
                                            where d.organization_id = coalesce(nullif(o.id, ''), v_default)), tds.default_shard())
                            from unnest(v_asked) with ordinality o(id, n)
                           order by o.n);
        v_moved := '{}';
        foreach v_number in array array(select distinct s.number from unnest(v_shards) s(number) order by 1) loop
            select array_agg(r.ord) filter (where r.status <> 'moved') as ords,
                   array_agg(r.inbox_id) filter (where r.status <> 'moved') as ids,
                   array_agg(r.status) filter (where r.status <> 'moved') as statuses,
                   array_agg(r.ord) filter (where r.status = 'moved') as moved
              into v_told
              from (-- in the order of the arrays: this only goes through them
                    select array_agg(b.n::int) as ords, array_agg(b.entity) as entities, string_agg(coalesce(b.body, ''), '') as bodies,
                           array_agg(coalesce(octet_length(b.body), 0)) as lengths, array_agg(b.organization_id) as organization_ids,
                           array_agg(coalesce(b.event, 'upsert')) as events, array_agg(b.headers::text) as headers
                      from unnest(receive_many.entity, receive_many.body, v_asked, receive_many.event, receive_many.headers, v_shards)
                           with ordinality b(entity, body, organization_id, event, headers, number, n)
                     where b.n <= v_length and b.number is not distinct from v_number and (v_open is null or b.n = any (v_open))
                    having count(*) > 0) p
             cross join lateral tds.store_on_shard(v_number, p.ords, p.entities, p.bodies, p.lengths, p.organization_ids, p.events,
                                                   p.headers, receive_many.source, receive_many.shape, v_default) r;
            v_ords := v_ords || v_told.ords;
            v_ids := v_ids || v_told.ids;
            v_statuses := v_statuses || v_told.statuses;
            v_moved := v_moved || v_told.moved;
        end loop;
        -- moved between the look into the directory and the shard: the next look knows where
        exit when v_moved = '{}' or clock_timestamp() > v_until;
        v_open := v_moved;
        perform pg_sleep(0.02);
    end loop;
    if v_moved <> '{}' then
        raise warning using message = 'an organisation has left the shard that the directory names: its events are not stored',
            detail = (select string_agg(distinct coalesce(nullif(o.id, ''), v_default), ', ')
                        from unnest(v_asked) with ordinality o(id, n) where o.n = any (v_moved)),
            hint = 'tds shard list';
    end if;
    return query
    select u.ord, u.inbox_id, coalesce(u.status, 'unavailable')
      from unnest(v_ords || v_moved, v_ids, v_statuses) u(ord, inbox_id, status)
     order by u.ord;
end
$$;
revoke all on function tds.receive_many(text[], bytea[], text[], text, text, text[], jsonb[]) from public;
comment on function tds.receive_many(text[], bytea[], text[], text, text, text[], jsonb[]) is
'Several bodies of any organisations: one row and one status each, in the order given. Each shard commits its part by itself. status as '
'tds.receive(), or unavailable: its shard is away, it is not stored, send it again. inbox_id is the shard''s number of the event.';

create or replace function tds.receive(
    entity text, body bytea, organization_id text default null, source text default 'webhook',
    shape text default 'webhook', event text default 'upsert', observed_at timestamptz default null,
    run_id bigint default null, headers jsonb default null)
returns table (inbox_id bigint, status text)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_default  constant text := tds.default_organization();
    v_asked    constant text := coalesce(receive.organization_id,
                                         case when receive.organization_id is null then (
                                             select d.organization_id from tds.directory d
                                              where d.organization_id = tds.named_organization(receive.body)) end);
    v_until    constant timestamptz := clock_timestamp() + interval '2.5 seconds';
    v_number   int;
    v_state    text;
    v_error    text;
    v_detail   text;
    v_hint     text;
begin
    perform tds.check_source(receive.source, receive.shape, receive.run_id);
    loop
        v_number := coalesce((select coalesce(d.arrives_at, d.shard) from tds.directory d
                               where d.organization_id = coalesce(v_asked, v_default)), tds.default_shard());
        if v_number is null or tds.is_down(v_number) then
            raise exception using errcode = 'connection_exception', message = 'the organisation''s shard is away: nothing was stored',
                detail = format('%s, shard %s', coalesce(v_asked, v_default), v_number), hint = 'tds shard list; send it again';
        end if;
        begin
            return query
            select r.inbox_id, r.status
              from tds.receive_one_on_shard(v_number, receive.entity, receive.body, v_asked, receive.source, receive.shape,
                                            receive.event, receive.observed_at, receive.run_id, receive.headers, v_default,
                                            (select s.name from tds.shard s where s.number = v_number)) r;
            return;
        exception when others then
            get stacked diagnostics v_state = returned_sqlstate, v_error = message_text, v_detail = pg_exception_detail,
                v_hint = pg_exception_hint;
        end;
        if v_state = 'ZB080' and clock_timestamp() < v_until then
            perform pg_sleep(0.02);
            continue;
        end if;
        if tds.is_outage(v_state) then
            perform tds.note_down(v_number, v_error);
        end if;
        raise exception using errcode = case when v_state like 'XX%' then '08006' else v_state end,
            message = regexp_replace(v_error, '^.*?REMOTE ERROR: ', ''), detail = regexp_replace(v_detail, '^Remote detail: ', ''),
            hint = coalesce(nullif(regexp_replace(v_hint, '^Remote hint: ', ''), ''), 'tds shard list; send it again');
    end loop;
end
$$;
revoke all on function tds.receive(text, bytea, text, text, text, text, timestamptz, bigint, jsonb) from public;
comment on function tds.receive(text, bytea, text, text, text, text, timestamptz, bigint, jsonb) is
'Stores a body on the shard of its organisation, which commits by itself before this answers; one that the directory does not know is on '
'the shard of the setting default_shard. Raises class 08 where that shard is away. Otherwise as on a shard.';
