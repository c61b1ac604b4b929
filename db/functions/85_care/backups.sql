-- Backups by the clock. The job request_backup only says that one is wanted, for to write it needs a file system: a worker of tds up, or
-- tds backups take of a timer, asks tds.take_backup() and tells tds.note_backup() what came of it. One that failed is wanted still.

insert into tds.setting (name, value, description) values
    ('backup_directory', 'null', 'Where backups by the clock go, on the machine of whoever makes them; null: none are made by the clock. '
                                 'tds backups schedule DIR sets it.'),
    ('backup_keep', '7', 'How many backups by the clock stay in backup_directory.'),
    ('backup_verify', 'true', 'Whether a backup by the clock is restored into a scratch database and compared: it takes as long again.'),
    ('backup_retry_minutes', '60', 'After how many minutes a backup by the clock that failed is tried again.')
on conflict on constraint setting_pkey do nothing;

create or replace function tds.request_backup(wanted_by text default session_user) returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    if tds.setting_text('backup_directory') is null then
        return false;
    end if;
    insert into tds.backup_wanted as w (wanted_at, wanted_by)
    values (tds.now(), request_backup.wanted_by)
    on conflict on constraint backup_wanted_pkey do update set not_before = null where w.not_before is not null;
    return true;
end
$$;
revoke all on function tds.request_backup(text) from public;
comment on function tds.request_backup(text) is
'Asks for a backup into the setting backup_directory, made by the next program that may; false: that setting is null. One that is wanted '
'already is tried at once, if its last try failed.';
grant execute on function tds.request_backup(text) to tds_worker, tds_operator;

create or replace function tds.schedule_backups(directory text, keep int default null, schedule text default null,
                                                verify boolean default null)
returns table (goes_to text, keeps int, cron text, verifies boolean)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    update tds.setting s
       set value = n.value
      from (values ('backup_directory', to_jsonb(schedule_backups.directory)), ('backup_keep', to_jsonb(schedule_backups.keep)),
                   ('backup_verify', to_jsonb(schedule_backups.verify))) n(name, value)
     where s.name = n.name and n.value is not null;
    update tds.job j set schedule = schedule_backups.schedule
     where j.job = 'request_backup' and j.schedule <> schedule_backups.schedule;
    if schedule_backups.directory is null then
        update tds.setting s set value = 'null' where s.name = 'backup_directory';
        delete from tds.backup_wanted;
    end if;
    return query
    select tds.setting_text('backup_directory'), tds.setting_int('backup_keep'),
           (select j.schedule from tds.job j where j.job = 'request_backup'), tds.setting_text('backup_verify')::boolean;
end
$$;
revoke all on function tds.schedule_backups(text, int, text, boolean) from public;
comment on function tds.schedule_backups(text, int, text, boolean) is
'Has backups made by the clock into a directory of the machine of whoever makes them; null: none any more. What is not given stays as it '
'is: how many are kept, when (as cron has it, 15 2 * * *), whether each is verified. Returns how it is now. Raises ZB020.';
grant execute on function tds.schedule_backups(text, int, text, boolean) to tds_operator;

create or replace function tds.is_backup_due(at timestamptz) returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return tds.setting_text('backup_directory') is not null
       and exists (select from tds.backup_wanted w
                    -- a pause that is longer than any was set by a clock that was ahead
                    where w.not_before is null
                       or w.not_before not between is_backup_due.at + interval '1 microsecond'
                          and is_backup_due.at + make_interval(mins => tds.setting_int('backup_retry_minutes')));
end
$$;
revoke all on function tds.is_backup_due(timestamptz) from public;
comment on function tds.is_backup_due(timestamptz) is 'Whether a backup by the clock is to be made now.';

create or replace function tds.backup_due() returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return pg_has_role(session_user, 'tds_owner', 'member') and tds.is_backup_due(tds.now()) and not tds.is_leased('backup');
end
$$;
revoke all on function tds.backup_due() from public;
comment on function tds.backup_due() is
'Whether a backup by the clock is to be made, by somebody who may as this login may, and nobody is at it.';
grant execute on function tds.backup_due() to tds_worker;

create or replace function tds.take_backup(out directory text, out keep int, out verify boolean, out outcome text)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    take_backup.outcome := case when tds.setting_text('backup_directory') is null then 'not scheduled'
                                when not exists (select from tds.backup_wanted) then 'not due'
                                when not tds.is_backup_due(tds.now()) then 'failed lately'
                                when not tds.try_lease('backup') then 'running already'
                                else 'taken' end;
    if take_backup.outcome = 'taken' then
        take_backup.directory := tds.setting_text('backup_directory');
        take_backup.keep := greatest(tds.setting_int('backup_keep'), 1);
        take_backup.verify := tds.setting_text('backup_verify') is distinct from 'false';
    end if;
end
$$;
revoke all on function tds.take_backup() from public;
comment on function tds.take_backup() is
'Takes the backup by the clock for this session, until it ends. outcome: taken, or why not: not scheduled, not due, failed lately, running '
'already.';

create or replace function tds.note_backup(taken_at timestamptz, file text, bytes bigint, row_count bigint, verified boolean,
                                           error text, seconds numeric, scheduled boolean, removed text[]) returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now constant timestamptz := tds.now();
    v_id  bigint;
begin
    insert into tds.backup as b (taken_at, file, bytes, row_count, verified_at, error, seconds)
    values (note_backup.taken_at, note_backup.file, note_backup.bytes, note_backup.row_count,
            case when note_backup.verified then v_now end, note_backup.error, note_backup.seconds)
    returning b.backup_id into v_id;
    update tds.backup b
       set removed_at = v_now
     where b.removed_at is null and b.file = any (note_backup.removed);
    if note_backup.scheduled and note_backup.error is null then
        delete from tds.backup_wanted;
    elsif note_backup.scheduled then
        update tds.backup_wanted w
           set tries = w.tries + 1, not_before = v_now + make_interval(mins => tds.setting_int('backup_retry_minutes'));
    end if;
    return v_id;
end
$$;
revoke all on function tds.note_backup(timestamptz, text, bigint, bigint, boolean, text, numeric, boolean, text[]) from public;
comment on function tds.note_backup(timestamptz, text, bigint, bigint, boolean, text, numeric, boolean, text[]) is
'Notes a backup, or why there is none, and which files it replaced. scheduled: it is the one that was wanted, which is wanted no more, or, '
'after an error, again in backup_retry_minutes.';

create or replace function tds.check_backup(at timestamptz) returns tds.finding
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_last  tds.backup;
    v_is_on constant boolean := tds.setting_text('backup_directory') is not null;
    v_since timestamptz;
    v_more  interval;
    v_hours numeric;
begin
    -- one of a clock that was ahead is as old as nobody knows
    select b.* into v_last from tds.backup b
     where b.error is null and b.taken_at <= check_backup.at order by b.taken_at desc limit 1;
    v_since := coalesce(v_last.taken_at, (select w.wanted_at from tds.backup_wanted w));
    if v_since is null then
        return row(0, case when v_is_on then 'the first is made at the next ' || (select j.schedule from tds.job j
                                                                                    where j.job = 'request_backup')
                           else 'tds backup has made none here, and the setting backup_directory is null: none is made by the clock' end,
                   null)::tds.finding;
    end if;
    if v_is_on then
        -- where they are not daily, the days until the next one are not counted; one that was made just before its time was that time's
        select tds.cron_next(j.schedule, v_since + interval '1 hour', tds.job_time_zone()) - v_since - interval '1 day' into v_more
          from tds.job j where j.job = 'request_backup';
    end if;
    v_hours := extract(epoch from check_backup.at - v_since - greatest(v_more, interval '0')) / 3600;
    return row(round(greatest(v_hours, 0), 1),
               case when v_last.file is null then format('none so far; wanted since %s', v_since)
                    else format('%s of %s, %s rows, %s%s', v_last.file, v_last.taken_at, v_last.row_count,
                                case when v_last.verified_at is null then 'not verified'
                                     else 'verified at ' || v_last.verified_at::text end,
                                case when v_is_on then '' else '; none is made by the clock: the setting backup_directory is null' end)
               end,
               v_since)::tds.finding;
end
$$;
revoke all on function tds.check_backup(timestamptz) from public;
comment on function tds.check_backup(timestamptz) is
'Check: how old the last backup is, once there was one or one is wanted.';
select tds.register_check('backup', 'database', 'hours', 36, 168, 60,
    'How old the newest backup of tds backup is; 0 where none was ever made by it or wanted by the clock. Where the job request_backup is '
    'not daily, the days until the next one is due are not counted.',
    'tds backups list; tds backups take tells why none is made; tds backups schedule DIR has them made by the clock');

create or replace function tds.check_backup_failed(at timestamptz) returns tds.finding
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_all record;
begin
    select count(*) as failures, min(b.taken_at) as since, (array_agg(b.error order by b.taken_at desc))[1] as error,
           (array_agg(b.file order by b.taken_at desc))[1] as file
      into v_all
      from tds.backup b
     where b.error is not null and b.taken_at <= check_backup_failed.at
       and b.taken_at > coalesce((select max(g.taken_at) from tds.backup g where g.error is null and g.taken_at <= check_backup_failed.at),
                                 '-infinity');
    return row(v_all.failures, coalesce(format('%s: %s', v_all.file, v_all.error), 'the last one did not fail'), v_all.since)::tds.finding;
end
$$;
revoke all on function tds.check_backup_failed(timestamptz) from public;
comment on function tds.check_backup_failed(timestamptz) is 'Check: how many backups have failed since the last one that did not.';
select tds.register_check('backup_failed', 'database', 'failures', 1, 3, 15,
    'Backups that failed, or could not be restored when they were verified, since the last one that did not.',
    'do what the message says, then tds backup DIR; the clock tries again by itself');
select tds.register_retention('backups', 'tds.backup', 400,
    'Backups that failed, or whose files tds backup --keep removed; what may still be there is known for ten years.', 'taken_at',
    't.error is not null or t.removed_at is not null or t.is_anothers or t.taken_at < tds.now() - interval ''10 years''');
select tds.register_retention('backup_wanted', 'tds.backup_wanted', null, 'one row at most', reason => 'one row at most');
select tds.register_retention('restoring', 'tds.restoring', null, 'no row but during a restore', reason => 'no row but during a restore');

insert into tds.job (job, schedule, command, description) values
    ('request_backup', '15 2 * * *', 'select tds.request_backup(''the clock'')',
     'Asks for a backup, where the setting backup_directory says where to; tds up makes it, or tds backups take of a timer.')
on conflict on constraint job_pkey do update
   set command = excluded.command, description = excluded.description
 where (tds.job.command, tds.job.description) is distinct from (excluded.command, excluded.description);

create or replace view public.tds_backups as
select b.taken_at, b.file, b.bytes, b.row_count, b.seconds, b.verified_at,
       case when b.error is not null then 'failed' when b.removed_at is not null then 'removed'
            when b.verified_at is not null then 'verified' else 'written' end as state,
       b.removed_at, b.error
  from tds.backup b;
comment on view public.tds_backups is 'Backups that tds backup and the clock made, and those that failed: docs/backup.md.';
comment on column public.tds_backups.taken_at is 'The moment whose state it holds; of one that failed, when it was tried.';
comment on column public.tds_backups.file is 'Where it was written, on the machine of whoever wrote it.';
comment on column public.tds_backups.bytes is 'Size of the file.';
comment on column public.tds_backups.row_count is 'Rows in it.';
comment on column public.tds_backups.seconds is 'How long it took, with its verification.';
comment on column public.tds_backups.verified_at is 'When it was restored into a scratch database and compared; null: it was not.';
comment on column public.tds_backups.state is 'verified, written (not verified), removed (newer ones took its place), failed.';
comment on column public.tds_backups.removed_at is 'When it made room for newer ones.';
comment on column public.tds_backups.error is 'Why it failed.';
