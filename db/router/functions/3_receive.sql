-- The way in, by a router: each event is stored on its organisation's shard, and durable there, before the answer.

create or replace function tds.check_source(source text, shape text, run_id bigint) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    -- within a function that runs as its owner these two still say who called it
    if (check_source.source is distinct from 'webhook' or check_source.shape is distinct from 'webhook' or check_source.run_id is not null)
       and not exists (
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
    v_open     int[] := array(select generate_series(1, cardinality(receive_many.entity)));
    v_part     record;
    v_ords     int[] := '{}';
    v_ids      bigint[] := '{}';
    v_statuses text[] := '{}';
    v_moved    int[];
    v_told     record;
begin
    perform tds.check_source(receive_many.source, receive_many.shape, null);
    while v_open <> '{}' loop
        v_moved := '{}';
        for v_part in
            -- sorted once, so that no list has to be
            select i.number, array_agg(i.n) as ords, array_agg(i.entity) as entities, string_agg(i.body, '') as bodies,
                   array_agg(octet_length(i.body)) as lengths, array_agg(i.organization_id) as organization_ids,
                   array_agg(i.event) as events, array_agg(i.headers) as headers
              from (select coalesce(d.arrives_at, d.shard, tds.default_shard()) as number, b.n::int as n, b.entity,
                           coalesce(b.body, '') as body, coalesce(b.event, 'upsert') as event, b.headers::text as headers,
                           coalesce(o.id, '') as organization_id
                      from unnest(receive_many.entity, receive_many.body, receive_many.organization_id, receive_many.event,
                                  receive_many.headers) with ordinality b(entity, body, organization_id, event, headers, n)
                     cross join lateral (
                            select coalesce(b.organization_id,
                                            (select k.organization_id from tds.directory k
                                              where b.organization_id is null
                                                and k.organization_id = tds.named_organization(b.body))) as id offset 0) o
                      left join tds.directory d on d.organization_id = coalesce(o.id, v_default)
                     where b.n = any (v_open)
                     order by 1, 2) i
             group by i.number
             order by i.number
        loop
            select array_agg(r.ord) as ords, array_agg(r.inbox_id) as ids, array_agg(r.status) as statuses,
                   coalesce(array_agg(r.ord) filter (where r.status = 'moved'), '{}') as moved
              into v_told
              from tds.store_on_shard(v_part.number, v_part.ords, v_part.entities, v_part.bodies, v_part.lengths, v_part.organization_ids,
                                      v_part.events, v_part.headers, receive_many.source, receive_many.shape, v_default) r;
            v_moved := v_moved || v_told.moved;
            v_ords := v_ords || v_told.ords;
            v_ids := v_ids || v_told.ids;
            v_statuses := v_statuses || v_told.statuses;
        end loop;
        -- moved between the look into the directory and the shard: the next look knows where
        exit when v_moved = '{}' or clock_timestamp() > v_until;
        v_open := v_moved;
        perform pg_sleep(0.02);
    end loop;
    if cardinality(v_ords) = cardinality(receive_many.entity) then
        return query
        select u.ord, u.inbox_id, case u.status when 'moved' then 'unavailable' else u.status end
          from unnest(v_ords, v_ids, v_statuses) u(ord, inbox_id, status)
         order by u.ord;
        return;
    end if;
    return query
    select t.ord, t.inbox_id, t.status
      from (select distinct on (u.ord) u.ord, u.inbox_id, case u.status when 'moved' then 'unavailable' else u.status end as status
              from unnest(v_ords, v_ids, v_statuses) with ordinality u(ord, inbox_id, status, n)
             order by u.ord, u.n desc) t
     order by t.ord;
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
