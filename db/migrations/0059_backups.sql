-- Which backups were made, so that health knows how old the newest is.
-- depends: 0052_refused_credentials
create table tds.backup (
    backup_id   bigint generated always as identity primary key,
    taken_at    timestamptz not null,
    file        text not null,
    bytes       bigint not null check (bytes > 0),
    row_count   bigint not null check (row_count >= 0),
    verified_at timestamptz
);
comment on table  tds.backup is 'Backups that tds backup wrote.';
comment on column tds.backup.backup_id is 'Number.';
comment on column tds.backup.taken_at is 'The moment whose state it holds.';
comment on column tds.backup.file is 'Where it was written, on the machine of whoever wrote it.';
comment on column tds.backup.bytes is 'Size of the file.';
comment on column tds.backup.row_count is 'Rows in it.';
comment on column tds.backup.verified_at is 'When it was restored into a scratch database and compared; null: it was not.';
