create or replace function tds.check_backup(at timestamptz) returns tds.finding
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_last tds.backup;
begin
    select b.* into v_last from tds.backup b order by b.taken_at desc limit 1;
    if not found then
        return row(0, 'tds backup has made none here', null)::tds.finding;
    end if;
    return row(round(extract(epoch from check_backup.at - v_last.taken_at) / 3600, 1),
               format('%s, %s rows, %s', v_last.file, v_last.row_count,
                      coalesce('verified at ' || v_last.verified_at::text, 'not verified')),
               v_last.taken_at)::tds.finding;
end
$$;
revoke all on function tds.check_backup(timestamptz) from public;
comment on function tds.check_backup(timestamptz) is 'Check: how old the last backup is, once there was one.';
select tds.register_check('backup', 'database', 'hours', 36, 168, 60,
    'How old the newest backup of tds backup is; 0 where none was ever made by it.',
    'tds backup, and see why the last one of the schedule did not run');
select tds.register_retention('backups', 'tds.backup', 400, 'Backups that were made; the files are kept by tds backup --keep.', 'taken_at');
