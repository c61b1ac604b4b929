-- What is kept of an error for whoever looks at it later.

create or replace function tds.error_context(told text) returns text
language sql immutable parallel safe
as $$
    select left(ltrim(regexp_replace(E'\n' || $1, '\nSQL statement ".*?"(?=\nPL/pgSQL function |\nSQL function |\nSQL statement "|$)', '',
                                      'g'), E'\n'), 4000)
$$;
comment on function tds.error_context(text) is
'Where an error happened, of what the server tells (pg_exception_context): the functions and lines, the innermost first, without the text '
'of the statements, which stand in the functions (\sf+).';

create or replace function tds.set_aside(job text, item text, error_code text, error text, error_context text, at timestamptz) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    insert into tds.set_aside (job, item, error_code, error, error_context, set_aside_at)
    values (set_aside.job, set_aside.item, set_aside.error_code, left(set_aside.error, 1000), tds.error_context(set_aside.error_context),
            set_aside.at)
    on conflict on constraint set_aside_pkey do update
       set error_code = excluded.error_code, error = excluded.error, error_context = excluded.error_context,
           set_aside_at = excluded.set_aside_at;
    raise warning using errcode = set_aside.error_code, message = format('%s: %s was left out: %s', set_aside.job, set_aside.item,
        set_aside.error), hint = 'select * from tds.set_aside';
end
$$;
revoke all on function tds.set_aside(text, text, text, text, text, timestamptz) from public;
comment on function tds.set_aside(text, text, text, text, text, timestamptz) is
'Notes an item that a job could not do and goes on without; a warning names it.';

create or replace view public.tds_error_codes as
select c.code, c.meaning, c.next
  from (values
        ('ZB001', 'a value, a record or a body cannot be read', 'mend it at the source, then tds.replay() the dead letter'),
        ('ZB002', 'there is no such entity or queue', 'select entity, queue from tds.entity'),
        ('ZB003', 'a page out of turn: another process goes on with its run, or it was cancelled', 'select * from tds_sync_runs'),
        ('ZB004', 'there is no such dead letter, or it is resolved', 'select * from tds_dead_letter_queue'),
        ('ZB005', 'a setting that is needed is missing', 'select * from tds.setting; tds db upgrade enters what is missing'),
        ('ZB006', 'the history of stock is insert-only', 'write a row that corrects it; tds.snapshot_stock() does'),
        ('ZB007', 'a setting cannot have that value', 'the DETAIL says what is wanted; select * from tds.setting'),
        ('ZB008', 'what Zoho answered is no list of records', 'the HINT shows what came; tds doctor says whether Zoho can be asked'),
        ('ZB010', 'an option that the pull does not take, or a value that it cannot have',
         'the HINT names the options; tds.pull_option_names()'),
        ('ZB011', 'bulk sync is switched off', 'update tds.setting set value = ''true'' where name = ''bulk_sync_enabled'''),
        ('ZB012', 'there is no such run', 'select * from tds_sync_runs'),
        ('ZB013', 'none or several organisations are known, and none is named', 'name it, or set organization_id in tds.setting'),
        ('ZB014', 'a key of that name is in force, or there is none', 'select * from tds_api_keys'),
        ('ZB015', 'what was given is not the id of a record', 'give Zoho''s id: up to 50 letters, digits, _ and -'),
        ('ZB016', 'more deletions than the guard lets through: they are held back',
         'tds deletions list; then tds.confirm_deletions(entity) or tds.refuse_deletions(entity)'),
        ('ZB020', 'a schedule that cannot be understood, or never comes',
         'five fields as cron has them: minute, hour, day of month, month, day of week'),
        ('ZB021', 'there is no such job', 'select * from tds_jobs'),
        ('ZB022', 'jobs in pg_cron belong to tds_worker', 'set role tds_worker, then select * from tds.install_jobs()'),
        ('ZB030', 'a template of the made functions names what nothing is given for, or the reverse',
         'a fault of functions/65_made: the DETAIL names it'),
        ('ZB040', 'a batch was taken from a session that hung, and is somebody else''s now', 'nothing; see the setting claim_seconds'),
        ('ZB041', 'a record could not be linked to another', 'it is tried again; call tds.rebuild() links all'),
        ('ZB042', 'replaying so many dead letters would cost more calls than are given without asking',
         'select tds.replay(entity, details => false), or true'),
        ('ZB043', 'the body of an event is gone that was not processed yet', 'the next pull of its list brings what it said'),
        ('ZB044', 'there is no such contact, or several organisations have it',
            'select organization_id, zoho_contact_id from zoho.contacts'),
        ('ZB045', 'a person cannot be forgotten while events that name it are not finished', 'CALL tds.process_batch(); then once more'),
        ('ZB046', 'a run cannot be taken back now', 'the HINT says what to do first'),
        ('ZB047', 'a run changed records of which no history is kept', 'select * from tds.undo_run(run_id); tds.keep_history(entity)'),
        ('ZB048', 'dead letters are to be dismissed without a reason', 'tds.dismiss(dead_letter_ids, reason => ''…'')'),
        ('ZB060', 'there is no such alert, or it is resolved', 'select * from tds_alerts where state <> ''resolved'''),
        ('ZB061', 'an alert is to be muted or acknowledged until a time that has passed, or never comes', 'now() + interval ''2 hours'''),
        ('ZB062', 'there is no such kind of alert', 'select name from tds_health, or low_stock, negative_stock, or *'),
        ('ZB063', 'there is no such discrepancy', 'select discrepancy_id, report, party_name from tds_discrepancies'),
        ('ZB070', 'there is no such organisation', 'tds org list; tds org add'),
        ('ZB071', 'the organisation is being removed', 'tds org remove goes on with that'),
        ('ZB072', 'there is no such data centre of Zoho''s', 'com, eu, in, com.au, jp, ca, com.cn or sa'),
        ('ZB073', 'what was given does not say where credentials stand', 'env:PREFIX_ or file:/path; never the secret itself'),
        ('ZB074', 'there is no such time zone', 'select name from pg_timezone_names'),
        ('ZB075', 'a limit of calls is less than 1', 'leave out what is as the plan has it'),
        ('ZB076', 'the organisation is there already', 'tds org set changes it, tds org resume goes on with it'),
        ('ZB077', 'the organisation is not being removed', 'tds org remove begins that'),
        ('ZB078', 'a role that is to be bound to one organisation may read more', 'bind another role'),
        ('ZB080', 'the organisation has moved to another shard', 'store it by the router, or there'),
        ('ZB081', 'the organisation is being moved: what is asked for cannot be kept now', 'once more when tds shard list shows no move'),
        ('ZB082', 'a database is not the shard that it is taken for', 'tds shard list'),
        ('ZB083', 'a shard or a move is not as is asked for', 'tds shard list'))
       c(code, meaning, next);
comment on view public.tds_error_codes is 'The SQLSTATEs of TDS: what each means and what to do.';
comment on column public.tds_error_codes.code is 'SQLSTATE; in tds.dead_letter, tds.inbox_open and tds.job_run it is error_code.';
comment on column public.tds_error_codes.meaning is 'What is the matter.';
comment on column public.tds_error_codes.next is 'What to do; the error''s own DETAIL and HINT say it of the case in hand.';
