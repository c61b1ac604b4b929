-- PL/Proxy: its language is not trusted, so that a superuser makes what is written in it.
reset role;
create extension if not exists plproxy;
create schema if not exists plproxy;
grant usage, create on schema plproxy to tds_owner;
set local role tds_owner;

create or replace function plproxy.get_cluster_version(cluster_name text) returns int
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    -- asked before every call: its plan is kept
    return (select r.cluster_version from tds.router r);
end
$$;
revoke all on function plproxy.get_cluster_version(text) from public;
comment on function plproxy.get_cluster_version(text) is 'PL/Proxy asks: whether it has to read the shards anew.';

create or replace function plproxy.get_cluster_partitions(cluster_name text) returns setof text
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    -- a session of ours begins with what it rests on, whatever the shard, its database or the role is set to; a number without a shard
    -- stands for nobody
    select coalesce(s.conninfo, 'host=/nowhere')
           || ' application_name=tds/router tcp_user_timeout=3000 keepalives_idle=10 keepalives_interval=5 keepalives_count=3'
           || ' options=''-c default_transaction_isolation=read\\ committed -c default_transaction_read_only=off -c statement_timeout='
           || case cluster_name when 'tds' then '4s' when 'tds_probes' then '5s' else '10min' end || ' -c lock_timeout=3s'
           || ' -c idle_session_timeout=0 -c idle_in_transaction_session_timeout=0'''
      from generate_series(0, (select max(m.number) from tds.shard m)) n(number)
      left join tds.shard s on s.number = n.number
     order by n.number
$$;
revoke all on function plproxy.get_cluster_partitions(text) from public;
comment on function plproxy.get_cluster_partitions(text) is
'PL/Proxy asks: the connection strings of the shards, in the order of their numbers.';

create or replace function plproxy.get_cluster_config(in cluster_name text, out key text, out val text) returns setof record
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    -- its query_timeout is not looked at while it waits for one connection: the caller's statement_timeout ends that
    values ('modular_mapping', '1'), ('connection_lifetime', '3600')
$$;
revoke all on function plproxy.get_cluster_config(text) from public;
comment on function plproxy.get_cluster_config(text) is
'PL/Proxy asks: any number of shards will do, and a connection lasts for an hour.';

reset role;
create or replace function tds.receive_on_shard(
    number int, ords int[], entity text[], bodies bytea, lengths int[], organization_id text[], event text[], headers text[], source text,
    shape text, default_organization text, shard text)
returns table (ord int, inbox_id bigint, status text)
language plproxy as $$
    cluster 'tds';
    run on number;
    select r.ord, r.inbox_id, r.status
      from tds.receive_routed(ords, entity, bodies, lengths, organization_id, event, headers, source, shape, default_organization, shard) r;
$$;
create or replace function tds.receive_one_on_shard(
    number int, entity text, body bytea, organization_id text, source text, shape text, event text, observed_at timestamptz, run_id bigint,
    headers jsonb, default_organization text, shard text)
returns table (inbox_id bigint, status text)
language plproxy as $$
    cluster 'tds';
    run on number;
    select r.inbox_id, r.status
      from tds.receive_one_routed(entity, body, organization_id, source, shape, event, observed_at, run_id, headers, default_organization,
                                  shard) r;
$$;
create or replace function tds.ask_shard(number int, what text, args jsonb) returns setof jsonb
language plproxy as $$
    cluster 'tds_operators';
    run on number;
    select a.a from tds.answer_router(what, args) a(a);
$$;
create or replace function tds.probe_shard(number int, what text, args jsonb) returns setof jsonb
language plproxy as $$
    cluster 'tds_probes';
    run on number;
    select a.a from tds.answer_router(what, args) a(a);
$$;
alter function tds.receive_on_shard(int, int[], text[], bytea, int[], text[], text[], text[], text, text, text, text) owner to tds_owner;
alter function tds.receive_one_on_shard(int, text, bytea, text, text, text, text, timestamptz, bigint, jsonb, text, text)
    owner to tds_owner;
alter function tds.ask_shard(int, text, jsonb) owner to tds_owner;
alter function tds.probe_shard(int, text, jsonb) owner to tds_owner;
set local role tds_owner;
revoke all on function tds.receive_on_shard(int, int[], text[], bytea, int[], text[], text[], text[], text, text, text, text),
    tds.receive_one_on_shard(int, text, bytea, text, text, text, text, timestamptz, bigint, jsonb, text, text),
    tds.ask_shard(int, text, jsonb), tds.probe_shard(int, text, jsonb) from public;
comment on function tds.receive_on_shard(int, int[], text[], bytea, int[], text[], text[], text[], text, text, text, text) is
'PL/Proxy: tds.receive_routed() on the shard of that number.';
comment on function tds.receive_one_on_shard(int, text, bytea, text, text, text, text, timestamptz, bigint, jsonb, text, text) is
'PL/Proxy: tds.receive_one_routed() on the shard of that number.';
comment on function tds.ask_shard(int, text, jsonb) is 'PL/Proxy: tds.answer_router() on the shard of that number.';
comment on function tds.probe_shard(int, text, jsonb) is 'PL/Proxy: the same for probes, for which a shard takes 5 s at most.';
