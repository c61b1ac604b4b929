-- Between shards: what an organisation's events may do here while it is on its way to another database, or after it has left.

create or replace function tds.carries() returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select current_setting('tds.carries', true) = 'on'
           and pg_has_role(session_user, (select c.relowner from pg_class c where c.oid = 'tds.gate'::regclass), 'member')
$$;
revoke all on function tds.carries() from public;
comment on function tds.carries() is
'Whether this session carries an organisation''s events over from another shard: they are open there, or done, and need no message here.';

create or replace function tds.refuse_departed(organization_ids text[]) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_gate tds.gate;
begin
    select g.* into v_gate from tds.gate g
     where g.state in ('departed', 'gone') and g.organization_id = any (refuse_departed.organization_ids)
     order by g.organization_id limit 1;
    if v_gate.organization_id is not null then
        raise exception using errcode = 'ZB080', message = 'the organisation has moved to another shard',
            detail = format('%s, to %s', v_gate.organization_id, v_gate.other),
            hint = 'store it by the router, or there';
    end if;
end
$$;
revoke all on function tds.refuse_departed(text[]) from public;
comment on function tds.refuse_departed(text[]) is 'Raises ZB080 where one of the organisations has left this shard.';

create or replace function tds.is_moving(organization_id text) returns boolean
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return exists (select from tds.gate g where g.organization_id = is_moving.organization_id);
end
$$;
revoke all on function tds.is_moving(text) from public;
comment on function tds.is_moving(text) is
'Whether an organisation is on its way from one shard to another, or has left this one: nobody asks Zoho for it here.';
grant execute on function tds.is_moving(text) to tds_poller, tds_operator;

create or replace function tds.refuse_moving(organization_id text) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_gate tds.gate;
begin
    select g.* into v_gate from tds.gate g where g.organization_id = refuse_moving.organization_id;
    if v_gate.state = 'gone' then
        raise exception using errcode = 'ZB080', message = 'the organisation has moved to another shard',
            detail = format('%s, to %s', v_gate.organization_id, v_gate.other), hint = 'ask for it there';
    elsif v_gate.state is not null then
        raise exception using errcode = 'ZB081', message = 'the organisation is being moved',
            detail = format(case v_gate.state when 'arriving' then '%s, from %s' else '%s, to %s' end, v_gate.organization_id,
                            v_gate.other),
            hint = 'once more when tds shard list shows no move, on the shard where it is then';
    end if;
end
$$;
revoke all on function tds.refuse_moving(text) from public;
comment on function tds.refuse_moving(text) is
'Raises ZB081 where an organisation is on its way to or from another shard, ZB080 where it has left this one.';

create or replace function tds.check_shard(shard text, default_organization text) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    if check_shard.shard is distinct from (select s.name from tds.own_shard s) then
        raise exception using errcode = 'ZB082', message = 'this is not the shard that the router takes it for',
            detail = format('%s, called %s', coalesce((select s.name from tds.own_shard s), 'none'), check_shard.shard),
            hint = 'tds shard list; mend the connection string: tds shard add NAME CONNINFO';
    end if;
    perform set_config('tds.organization_id', coalesce(check_shard.default_organization, ''), true);
end
$$;
revoke all on function tds.check_shard(text, text) from public;
comment on function tds.check_shard(text, text) is
'Raises ZB082 where this is not the shard that the router takes it for; what names no organisation is, in this transaction, '
'default_organization''s.';

create or replace function tds.receive_routed(
    ords int[], entity text[], bodies bytea, lengths int[], organization_id text[], event text[], headers text[], source text, shape text,
    default_organization text, shard text)
returns table (ord int, inbox_id bigint, status text)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform tds.check_shard(receive_routed.shard, receive_routed.default_organization);
    return query
    select receive_routed.ords[m.ord], m.inbox_id, m.status
      from tds.receive_many(receive_routed.entity,
                            array(select substring(receive_routed.bodies from b.first::int for b.length)
                                    from (select l.n, l.length, 1 + sum(l.length) over (order by l.n) - l.length as first
                                            from unnest(receive_routed.lengths) with ordinality l(length, n)) b
                                   order by b.n),
                            array(select nullif(o.id, '') from unnest(receive_routed.organization_id) with ordinality o(id, n)
                                   order by o.n),
                            receive_routed.source, receive_routed.shape, receive_routed.event,
                            receive_routed.headers::jsonb[]) m;
end
$$;
revoke all on function tds.receive_routed(int[], text[], bytea, int[], text[], text[], text[], text, text, text, text) from public;
grant execute on function tds.receive_routed(int[], text[], bytea, int[], text[], text[], text[], text, text, text, text) to tds_receiver;
comment on function tds.receive_routed(int[], text[], bytea, int[], text[], text[], text[], text, text, text, text) is
'tds.receive_many() for a router, the bodies one after the other, as PL/Proxy sends an array of them as text: answers with '
'the numbers that the bodies have there. An organisation of '''' is named by the body, or is '
'default_organization. shard: who the router takes this for; raises ZB082.';

create or replace function tds.receive_one_routed(
    entity text, body bytea, organization_id text, source text, shape text, event text, observed_at timestamptz, run_id bigint,
    headers jsonb, default_organization text, shard text)
returns table (inbox_id bigint, status text)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform tds.check_shard(receive_one_routed.shard, receive_one_routed.default_organization);
    return query
    select r.inbox_id, r.status
      from tds.receive(receive_one_routed.entity, receive_one_routed.body, receive_one_routed.organization_id, receive_one_routed.source,
                       receive_one_routed.shape, receive_one_routed.event, receive_one_routed.observed_at, receive_one_routed.run_id,
                       receive_one_routed.headers) r;
end
$$;
revoke all on function tds.receive_one_routed(text, bytea, text, text, text, text, timestamptz, bigint, jsonb, text, text) from public;
grant execute on function tds.receive_one_routed(text, bytea, text, text, text, text, timestamptz, bigint, jsonb, text, text)
    to tds_receiver;
comment on function tds.receive_one_routed(text, bytea, text, text, text, text, timestamptz, bigint, jsonb, text, text) is
'tds.receive() for a router; as tds.receive_routed().';
