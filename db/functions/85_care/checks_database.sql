-- Checks of the database itself: locks, transactions, space, vacuum, partitions. They look at the server, so they go by its clock.

create or replace function tds.session_told(pid int) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return (select format('pid %s, user %s, application %s, %s%s, query: %s', a.pid, a.usename,
                          coalesce(nullif(a.application_name, ''), '-'),
                          coalesce(a.state, 'state unknown: grant pg_read_all_stats to tds_owner'),
                          coalesce(' since ' || coalesce(a.xact_start, a.state_change)::text, ''),
                              left(regexp_replace(a.query, '\s+', ' ', 'g'), 80))
              from pg_stat_activity a where a.pid = session_told.pid);
end
$$;
revoke all on function tds.session_told(int) from public;
comment on function tds.session_told(int) is 'Who a session is and what it does, in a line.';

create or replace function tds.check_lock_waits() returns tds.finding
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_wait record;
begin
    select l.pid, l.waitstart, a.application_name, (pg_blocking_pids(l.pid))[1] as holder, count(*) over () as waiting into v_wait
      from pg_locks l
      join pg_stat_activity a on a.pid = l.pid
     where not l.granted and l.waitstart is not null and a.datname = current_database()
       and (a.application_name like 'tds/%' or a.application_name like 'pg\_cron%'
            or l.relation in (select c.oid from pg_class c where c.relnamespace in ('tds'::regnamespace, 'zoho'::regnamespace)))
     order by l.waitstart
     limit 1;
    if not found then
        return row(0, 'nobody waits for a lock', null)::tds.finding;
    end if;
    return row(round(extract(epoch from clock_timestamp() - v_wait.waitstart)),
               format('%s wait; the longest is %s (pid %s), for %s', v_wait.waiting, v_wait.application_name, v_wait.pid,
                      coalesce(tds.session_told(v_wait.holder), 'a prepared transaction')),
               v_wait.waitstart)::tds.finding;
end
$$;
revoke all on function tds.check_lock_waits() from public;
comment on function tds.check_lock_waits() is
'Check: how long a session of ours, or one that wants a table of ours, has waited for a lock, and who holds it.';
select tds.register_check('lock_waits', 'database', 'seconds', 60, 600, 15,
    'How long a program of ours, or whoever wants a table of ours, has waited for a lock.',
    'have the holder named commit or roll back; else select pg_terminate_backend(PID)');

create or replace function tds.check_standby() returns tds.finding
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return row(pg_is_in_recovery()::int,
               case when pg_is_in_recovery() then 'this server follows another one' else 'this is the server that is written to' end,
               null)::tds.finding;
end
$$;
revoke all on function tds.check_standby() from public;
comment on function tds.check_standby() is 'Check: whether this server only follows another one, so that nothing can be stored.';
select tds.register_check('standby', 'database', 'servers', null, 1, 15,
    'Whether this is a standby: whoever is connected to one reads what the primary has, and can store nothing.',
    'name the primary in TDS_DATABASE_URL, or both with target_session_attrs=read-write; or promote this one: select pg_promote()');

create or replace function tds.check_commit_waits() returns tds.finding
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_wait record;
begin
    select tds.session_told(a.pid) as told, a.query_start, count(*) over () as waiting into v_wait
      from pg_stat_activity a
     where a.datname = current_database() and a.wait_event_type = 'IPC' and a.wait_event = 'SyncRep'
     order by a.query_start
     limit 1;
    if not found then
        return row(0, 'no commit waits for a standby', null)::tds.finding;
    end if;
    return row(round(extract(epoch from clock_timestamp() - v_wait.query_start)),
               format('%s wait; the longest is %s. synchronous_standby_names: %s; connected: %s', v_wait.waiting, v_wait.told,
                      current_setting('synchronous_standby_names'),
                      coalesce((select string_agg(format('%s (%s)', r.application_name, coalesce(r.sync_state, 'state unknown')), ', '
                                                  order by r.application_name) from pg_stat_replication r), 'none')),
               v_wait.query_start)::tds.finding;
end
$$;
revoke all on function tds.check_commit_waits() from public;
comment on function tds.check_commit_waits() is
'Check: how long a commit has waited for a synchronous standby, and which standbys are connected.';
select tds.register_check('commit_waits', 'database', 'seconds', 15, 60, 15,
    'How long a commit has waited for a synchronous standby: while it is away nothing is stored, no alert either.',
    'start the standby; or take it out of synchronous_standby_names, if its loss may be risked, and select pg_reload_conf()');

create or replace function tds.check_oldest_transaction() returns tds.finding
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_oldest record;
begin
    select o.since, o.told into v_oldest
      from (select a.xact_start as since, tds.session_told(a.pid) as told
              from pg_stat_activity a
             where a.xact_start is not null and (a.backend_xid is not null or a.backend_xmin is not null) and a.pid <> pg_backend_pid()
               and (a.datname = current_database() or a.backend_type = 'walsender')
             union all
            select p.prepared, format('prepared transaction %s of %s: rollback prepared %L, or commit it', p.gid, p.owner, p.gid)
              from pg_prepared_xacts p where p.database = current_database()) o
     order by o.since limit 1;
    return row(greatest(0, round(extract(epoch from clock_timestamp() - v_oldest.since))), coalesce(v_oldest.told, 'none is open'),
               v_oldest.since)::tds.finding;
end
$$;
revoke all on function tds.check_oldest_transaction() from public;
comment on function tds.check_oldest_transaction() is
'Check: the oldest transaction that keeps dead rows from being cleaned away (oldest xmin), and whose it is.';
select tds.register_check('oldest_transaction', 'database', 'seconds', 900, 3600, 15,
    'Age of the oldest transaction that holds back the cleaning of dead rows: a reading of the queue was 100 times slower behind one.',
    'have it end; else select pg_terminate_backend(PID). For good: alter role … set idle_in_transaction_session_timeout = ''10min''');

create or replace function tds.check_idle_transactions() returns tds.finding
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return (
        select row(count(*), coalesce(string_agg(tds.session_told(a.pid), '; ' order by a.state_change), 'none'),
                   min(a.state_change))::tds.finding
          from pg_stat_activity a
         where a.datname = current_database() and a.state like 'idle in transaction%'
           and a.state_change < clock_timestamp() - make_interval(secs => tds.setting_int('idle_transaction_seconds')));
end
$$;
revoke all on function tds.check_idle_transactions() from public;
comment on function tds.check_idle_transactions() is 'Check: sessions that hold a transaction open and do nothing.';
select tds.register_check('idle_transactions', 'database', 'sessions', 1, 5, 15,
    'Sessions that have held a transaction open and done nothing for longer than the setting idle_transaction_seconds.',
    'have them commit or roll back: what they have locked waits for them; else select pg_terminate_backend(PID)');

create or replace function tds.check_xids() returns tds.finding
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_oldest record;
begin
    -- the server stops to write when one of its databases has none left, whichever
    select d.datname, age(d.datfrozenxid) as xids, mxid_age(d.datminmxid) as multixacts into v_oldest
      from pg_database d
     order by greatest(age(d.datfrozenxid), mxid_age(d.datminmxid)) desc, d.datname
     limit 1;
    return row(round(100 * greatest(v_oldest.xids, v_oldest.multixacts) / 2::numeric ^ 31, 1),
               format('the oldest of database %s are %s transactions old, and %s multixacts; the end is at %s', v_oldest.datname,
                      v_oldest.xids, v_oldest.multixacts, 2::bigint ^ 31),
               null)::tds.finding;
end
$$;
revoke all on function tds.check_xids() from public;
comment on function tds.check_xids() is
'Check: how much is used of the transaction ids, without any of which the server stops to write, in the database that has fewest left.';
select tds.register_check('xids', 'database', 'percent', 50, 80, 60,
    'Transaction ids used since the oldest row that is not frozen: at 100 the server writes no more. Autovacuum frees them from 10 on.',
    'end what oldest_transaction, slots and autovacuum tell of; then, in the database named: vacuum (freeze)');

create or replace function tds.check_slots() returns tds.finding
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    if pg_is_in_recovery() then
        return row(null, 'this is a standby', null)::tds.finding;
    end if;
    return (
        select row(count(*), coalesce(string_agg(format('%s (%s) keeps %s', s.slot_name, s.slot_type,
                                                        pg_size_pretty(pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn))), '; '
                                                            order by s.slot_name),
                                      'none is left behind'), null)::tds.finding
          from pg_replication_slots s where not s.active and not s.temporary);
end
$$;
revoke all on function tds.check_slots() from public;
comment on function tds.check_slots() is 'Check: replication slots that nobody reads.';
select tds.register_check('slots', 'database', 'slots', 1, null, 15,
    'Replication slots that nobody reads: each keeps WAL, and dead rows, until the disk is full.',
    'have its standby or subscriber come back, or select pg_drop_replication_slot(NAME)');

create or replace function tds.check_disk_free(at timestamptz) returns tds.finding
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_disk record;
begin
    select d.*, round(100.0 * d.free_bytes / nullif(d.total_bytes, 0), 1) as percent into v_disk
      from tds.disk d where d.noted_at > check_disk_free.at - interval '1 hour' order by percent limit 1;
    return row(v_disk.percent, case when v_disk.path is null then 'no program beside the server tells: a worker on the server''s machine '
                                                                  'does'
                                  else format('%s of %s are free at %s of %s', pg_size_pretty(v_disk.free_bytes),
                                              pg_size_pretty(v_disk.total_bytes), v_disk.path, v_disk.host) end, null)::tds.finding;
end
$$;
revoke all on function tds.check_disk_free(timestamptz) from public;
comment on function tds.check_disk_free(timestamptz) is 'Check: how much of the server''s disk is free.';
select tds.register_check('disk_free', 'database', '% free', 15, 5, 15,
    'What is free of the disk that the server''s data is on, as a worker on the same machine sees it.',
    'see tds_retention for what is large and how long it is kept; make the disk larger', lower_is_worse => true);

create or replace function tds.growth_a_day(at timestamptz) returns numeric
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_old record;
    v_new record;
begin
    select m.measured_at, m.value into v_new from tds.measure m
     where m.name = 'database_bytes' and m.measured_at <= growth_a_day.at order by m.measured_at desc limit 1;
    select m.measured_at, m.value into v_old from tds.measure m
     where m.name = 'database_bytes' and m.measured_at >= growth_a_day.at - interval '7 days' and m.measured_at <= growth_a_day.at
     order by m.measured_at limit 1;
    return case when v_new.measured_at > v_old.measured_at + interval '20 hours'
                then round((v_new.value - v_old.value) * 86400 / extract(epoch from v_new.measured_at - v_old.measured_at)) end;
end
$$;
revoke all on function tds.growth_a_day(timestamptz) from public;
comment on function tds.growth_a_day(timestamptz) is
'Bytes that the database has grown by a day, over the last seven days; null: not measured for long enough.';

create or replace function tds.check_disk_days(at timestamptz) returns tds.finding
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_growth constant numeric := tds.growth_a_day(check_disk_days.at);
    v_free   constant bigint := (select min(d.free_bytes) from tds.disk d where d.noted_at > check_disk_days.at - interval '1 hour');
begin
    return row(case when v_growth > 0 then round(v_free / v_growth, 1) end,
               case when v_growth is null then 'not measured for a day yet'
                    else format('the database grows by %s a day', pg_size_pretty(v_growth::bigint)) end, null)::tds.finding;
end
$$;
revoke all on function tds.check_disk_days(timestamptz) from public;
comment on function tds.check_disk_days(timestamptz) is 'Check: how many days the disk will last.';
select tds.register_check('disk_days', 'database', 'days left', 30, 7, 60,
    'Days until the disk is full, if the database goes on growing as in the last seven days.',
    'see tds_retention; shorten a period, or make the disk larger', lower_is_worse => true);

create or replace function tds.check_database_size(at timestamptz) returns tds.finding
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_growth constant numeric := tds.growth_a_day(check_database_size.at);
    v_bytes  constant numeric := (select m.value from tds.measure m
                                  where m.name = 'database_bytes' and m.measured_at <= check_database_size.at
                                  order by m.measured_at desc limit 1);
begin
    return row(v_bytes, coalesce(pg_size_pretty(v_bytes::bigint), 'not measured yet')
               || coalesce(', ' || pg_size_pretty(v_growth::bigint) || ' more a day', ''),
               null)::tds.finding;
end
$$;
revoke all on function tds.check_database_size(timestamptz) from public;
comment on function tds.check_database_size(timestamptz) is 'Check: how large the database is, and how it grows.';
select tds.register_check('database_size', 'database', 'bytes', null, null, 60,
    'Size of the database, and its growth a day over the last seven days. It tells, and warns of nothing unless thresholds are set.',
    'see tds_retention');

create or replace view tds.hot_table as
select c.oid as relation, c.oid::regclass::text as name
  from pg_class c
 where c.relkind = 'r' and not c.relispartition
   and (c.relnamespace = 'tds'::regnamespace
        and c.relname in ('inbox_open', 'claim', 'outcome_counter', 'wanted_detail', 'api_budget', 'api_call', 'program', 'run',
                          'dead_letter')
        or c.relnamespace = (select n.oid from pg_namespace n where n.nspname = 'pgmq') and c.relname like 'q\_tds\_%'
        or c.relnamespace = 'zoho'::regnamespace)
 union all
select c.oid, c.oid::regclass::text
  from pg_class c where c.relkind = 'r' and c.relispartition and c.relnamespace = 'zoho'::regnamespace;
comment on view tds.hot_table is 'Tables whose rows are written again and again.';
comment on column tds.hot_table.relation is 'The table.';
comment on column tds.hot_table.name is 'Its name.';

create or replace function tds.check_dead_tuples() returns tds.finding
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_worst record;
begin
    select h.name, t.n_dead_tup, t.n_live_tup, greatest(t.last_autovacuum, t.last_vacuum) as vacuumed,
           round(100.0 * t.n_dead_tup / (t.n_dead_tup + t.n_live_tup)) as percent into v_worst
      from tds.hot_table h
      join pg_stat_all_tables t on t.relid = h.relation
     where t.n_dead_tup >= tds.setting_int('dead_tuples_least')
     order by percent desc, t.n_dead_tup desc limit 1;
    return row(coalesce(v_worst.percent, 0),
               case when v_worst.name is null then 'no hot table has many'
                    else format('%s: %s dead rows beside %s, vacuumed %s', v_worst.name, v_worst.n_dead_tup, v_worst.n_live_tup,
                                coalesce(v_worst.vacuumed::text, 'never')) end, null)::tds.finding;
end
$$;
revoke all on function tds.check_dead_tuples() from public;
comment on function tds.check_dead_tuples() is 'Check: the share of dead rows in the hot table that has most.';
select tds.register_check('dead_tuples', 'database', '% dead', 60, 90, 15,
    'Share of dead rows in the hot table where it is greatest, of those with at least as many as the setting dead_tuples_least.',
    'see oldest_transaction, slots and autovacuum for what keeps them; the workers vacuum what is left: tds work; else vacuum TABLE');

create or replace function tds.check_autovacuum() returns tds.finding
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_off text[];
begin
    v_off := array(select format('the server''s setting %s is off', s.name) from pg_settings s
                   where s.name in ('autovacuum', 'track_counts') and s.setting = 'off')
          || array(select format('%s has autovacuum_enabled = off', c.oid::regclass) from pg_class c
                    where c.relnamespace in ('tds'::regnamespace, 'zoho'::regnamespace,
                                             (select n.oid from pg_namespace n where n.nspname = 'pgmq'))
                      and 'false' = any (select case when lower(o.option_value) in ('off', 'false', 'no', '0') then 'false' end
                                           from pg_options_to_table(c.reloptions) o where o.option_name = 'autovacuum_enabled')
                    order by 1);
    return row(cardinality(v_off), coalesce(nullif(array_to_string(v_off, '; '), ''), 'on everywhere'), null)::tds.finding;
end
$$;
revoke all on function tds.check_autovacuum() from public;
comment on function tds.check_autovacuum() is 'Check: where autovacuum is switched off.';
select tds.register_check('autovacuum', 'database', 'places', 1, null, 15,
    'Where autovacuum is switched off: on the server, or for a table of ours.',
    'alter system set autovacuum = on; select pg_reload_conf(). For a table tds.heal() switches it on');

create or replace function tds.check_partitions_ahead(at timestamptz) returns tds.finding
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_today constant date := (check_partitions_ahead.at at time zone 'UTC')::date;
    v_first date;
begin
    select v_today + d.ahead into v_first
      from generate_series(0, 60) d(ahead)
     where tds.lacks_partition(v_today + d.ahead)
     order by d.ahead limit 1;
    return row(coalesce(v_first - v_today, 60), format('the first day without a partition is %s', coalesce(v_first::text, 'far')),
               null)::tds.finding;
end
$$;
revoke all on function tds.check_partitions_ahead(timestamptz) from public;
comment on function tds.check_partitions_ahead(timestamptz) is 'Check: for how many days there are inbox partitions.';
select tds.register_check('partitions_ahead', 'database', 'days', 3, 0, 15,
    'Days from today on that have their inbox partitions; should one be missing, storing makes it, more slowly.',
    'select tds.ensure_partitions(); see jobs_failed for why the job does not', lower_is_worse => true);

create or replace function tds.check_connections() returns tds.finding
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_used constant bigint := (select sum(d.numbackends) from pg_stat_database d);
    v_most constant int := current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int;
begin
    return row(round(100.0 * v_used / v_most), format('%s of %s', v_used, v_most), null)::tds.finding;
end
$$;
revoke all on function tds.check_connections() from public;
comment on function tds.check_connections() is 'Check: how many of the server''s connections are in use.';
select tds.register_check('connections', 'database', '% used', 80, 95, 15,
    'Share of the server''s connections that is in use, by whomever.',
    'select application_name, count(*) from pg_stat_activity group by 1 order by 2 desc; raise max_connections');

insert into tds.setting (name, value, description) values
    ('idle_transaction_seconds', '300', 'After how many seconds a session that holds a transaction open and does nothing is told of.'),
    ('dead_tuples_least', '10000', 'Dead rows that a hot table may have without being looked at.')
on conflict on constraint setting_pkey do nothing;

create or replace function tds.check_changed_by_hand() returns tds.finding
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return (
        select row(count(*), coalesce(left(string_agg(format('%s %s', c.object, c.change), '; ' order by c.object), 1000),
                                      'all is as the last upgrade left it'), null)::tds.finding
          from public.tds_changed_by_hand c);
end
$$;
revoke all on function tds.check_changed_by_hand() from public;
comment on function tds.check_changed_by_hand() is 'Check: functions, views and triggers that somebody has changed or dropped.';
select tds.register_check('changed_by_hand', 'database', 'objects', 1, null, 60,
    'Functions, procedures, views and triggers that are not as the last upgrade left them.',
    'select * from tds_changed_by_hand; tds db upgrade sets them right; what is to stay belongs into its file');

create or replace function tds.check_schema() returns tds.finding
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return (
        select row((select count(*) from pg_index x join pg_class c on c.oid = x.indexrelid
                     where not x.indisvalid and c.relnamespace in ('tds'::regnamespace, 'zoho'::regnamespace)),
                   format('%s migrations, the newest %s, of %s', count(*), max(m.id), max(m.applied_at))
                   || coalesce((select '; invalid indexes: ' || string_agg(x.indexrelid::regclass::text, ', ') from pg_index x
                                  join pg_class c on c.oid = x.indexrelid
                                 where not x.indisvalid and c.relnamespace in ('tds'::regnamespace, 'zoho'::regnamespace)), ''),
                   null)::tds.finding
          from tds.migration m);
end
$$;
revoke all on function tds.check_schema() from public;
comment on function tds.check_schema() is 'Check: the schema''s version, and indexes that are not valid.';
select tds.register_check('schema', 'database', 'invalid indexes', 1, null, 60,
    'Indexes of TDS that are not valid; it tells the schema''s version. Whether a program is of that one, /readyz and tds db status say.',
    'reindex index concurrently NAME');
