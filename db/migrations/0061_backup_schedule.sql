-- Backups by the clock: what is wanted, and what came of each try, so that health knows the last one that failed, too.
-- depends: 0059_backups
alter table tds.backup
    alter column bytes drop not null,
    alter column row_count drop not null,
    add column seconds    numeric check (seconds >= 0),
    add column removed_at timestamptz,
    add column error      text,
    add constraint backup_is_whole_or_failed check (error is not null or (bytes is not null and row_count is not null));
comment on table  tds.backup is 'Backups that tds backup wrote, and those that failed.';
comment on column tds.backup.file is 'Where it was written, on the machine of whoever did; of one that failed: the directory, if no file.';
comment on column tds.backup.bytes is 'Size of the file; null: none was written.';
comment on column tds.backup.row_count is 'Rows in it; null: none was written.';
comment on column tds.backup.seconds is 'How long it took, with its verification.';
comment on column tds.backup.removed_at is 'When it made room for newer ones; null: it was not removed by TDS.';
comment on column tds.backup.error is 'Why it failed, or why it could not be restored when it was verified.';

create table tds.backup_wanted (
    one        boolean primary key default true constraint backup_wanted_is_one check (one),
    wanted_at  timestamptz not null,
    wanted_by  text not null,
    tries      int not null default 0 check (tries >= 0),
    not_before timestamptz
);
comment on table  tds.backup_wanted is 'A backup that is to be made by whoever may; at most one row.';
comment on column tds.backup_wanted.one is 'There is one.';
comment on column tds.backup_wanted.wanted_at is 'Since when.';
comment on column tds.backup_wanted.wanted_by is 'Who wants it.';
comment on column tds.backup_wanted.tries is 'How many tries failed.';
comment on column tds.backup_wanted.not_before is 'When the next try may begin, after one that failed.';

create table tds.restoring (
    taken_at timestamptz primary key,
    requeued bigint not null
);
comment on table  tds.restoring is 'The backup whose rows are all there, while tds restore does what comes after them; no row otherwise.';
comment on column tds.restoring.taken_at is 'The moment whose state the backup holds.';
comment on column tds.restoring.requeued is 'How many events were queued anew.';
