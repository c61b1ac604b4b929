-- Programs that work for this database are known by the turns of their work: what they do tells, at most every ten seconds.

create or replace function tds.beat(clock timestamptz default null) returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now   constant timestamptz := tds.now();
    v_name  constant text := case when current_setting('application_name') like 'pg\_cron%' then 'tds/pg_cron/server/0'
                                  else current_setting('application_name') end;
    v_parts constant text[] := string_to_array(v_name, '/');
    v_known tds.program;
begin
    if v_name not like all (array['tds/%/%/%']) or v_parts[2] <> all (array['worker', 'poller', 'receiver', 'pg_cron']) then
        return false;
    end if;
    select p.* into v_known from tds.program p where p.program = v_name;
    -- a time in the future is none: the clock was set back since
    if v_known.beat_at between v_now - interval '10 seconds' and v_now and v_known.stopped_at is null
       and (beat.clock is null or v_known.skew_seconds is not null) then
        return v_known.restart_wanted_at is not null;
    end if;
    -- another session of the same program tells just now: it need not wait for that
    if v_known.program is not null and not exists (select from tds.program p where p.program = v_name for update skip locked) then
        return v_known.restart_wanted_at is not null;
    end if;
    insert into tds.program as p (program, kind, host, pid, backend_pid, started_at, beat_at, skew_seconds)
    values (v_name, v_parts[2], v_parts[3], case when v_parts[4] ~ '^\d{1,9}$' then v_parts[4]::int else 0 end, pg_backend_pid(), v_now,
            v_now,
            round(extract(epoch from beat.clock - v_now), 1))
    on conflict on constraint program_pkey do update
       set backend_pid = excluded.backend_pid, beat_at = excluded.beat_at, stopped_at = null,
           skew_seconds = coalesce(excluded.skew_seconds, p.skew_seconds);
    return v_known.restart_wanted_at is not null;
end
$$;
revoke all on function tds.beat(timestamptz) from public;
comment on function tds.beat(timestamptz) is
'Notes that the program of this session (by its application_name, tds/<kind>/<host>/<pid>) has done a turn of its work: a write at most '
'every ten seconds. clock: what its own clock says. Returns whether it is to end itself, so that it is started again. Of other sessions it '
'notes nothing.';

create or replace function tds.stop_program() returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    update tds.program p set stopped_at = tds.now(), restart_wanted_at = null where p.program = current_setting('application_name');
end
$$;
revoke all on function tds.stop_program() from public;
comment on function tds.stop_program() is 'Notes that the program of this session stops in order.';

create or replace function tds.restarts_wanted(host text) returns table (program text, pid int, reason text)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    select p.program, p.pid, p.restart_reason from tds.program p
     where p.host = restarts_wanted.host and p.restart_wanted_at is not null and p.stopped_at is null
     order by p.program;
end
$$;
revoke all on function tds.restarts_wanted(text) from public;
comment on function tds.restarts_wanted(text) is
'The programs of a host that hang: whoever started them ends them, starts others, and says so with tds.restarted().';

create or replace function tds.restarted(program text) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    update tds.program p set stopped_at = tds.now(), restart_wanted_at = null where p.program = restarted.program;
end
$$;
revoke all on function tds.restarted(text) from public;
comment on function tds.restarted(text) is 'Notes that a program that hung has been ended.';

create or replace function tds.note_disk(host text, path text, free_bytes bigint, total_bytes bigint) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now constant timestamptz := tds.now();
begin
    insert into tds.disk as d (host, path, free_bytes, total_bytes, noted_at)
    values (note_disk.host, note_disk.path, note_disk.free_bytes, note_disk.total_bytes, v_now)
    on conflict on constraint disk_pkey do update
       set free_bytes = excluded.free_bytes, total_bytes = excluded.total_bytes, noted_at = excluded.noted_at
     where d.noted_at not between v_now - interval '30 seconds' and v_now;
end
$$;
revoke all on function tds.note_disk(text, text, bigint, bigint) from public;
comment on function tds.note_disk(text, text, bigint, bigint) is
'Notes how full the disk of the server''s data is, as a program beside it sees.';

create or replace function tds.note_strays(paths text[], requests int[]) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now constant timestamptz := tds.now();
begin
    insert into tds.stray as s (path, first_at, last_at, requests)
    select left(p.path, 200), v_now, v_now, sum(p.requests)
      from unnest(note_strays.paths, note_strays.requests) p(path, requests)
     -- whoever posts may choose any path: no more rows than that, but what is known goes on being counted
     where (select count(*) from tds.stray) < 200 or left(p.path, 200) in (select k.path from tds.stray k)
     group by left(p.path, 200)
     order by left(p.path, 200)
     limit 50
    on conflict on constraint stray_pkey do update set last_at = excluded.last_at, requests = s.requests + excluded.requests;
end
$$;
revoke all on function tds.note_strays(text[], int[]) from public;
comment on function tds.note_strays(text[], int[]) is
'Notes addresses that something was posted to although nothing is there, and how often.';

grant execute on function tds.beat(timestamptz), tds.stop_program() to tds_worker, tds_poller, tds_receiver, tds_operator;
grant execute on function tds.restarts_wanted(text), tds.restarted(text), tds.note_disk(text, text, bigint, bigint) to tds_worker,
    tds_operator;
grant execute on function tds.note_strays(text[], int[]) to tds_receiver;
