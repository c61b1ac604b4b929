-- A restored database has the rows of backups that the one it comes from made, and that one still keeps their files: perhaps in the very
-- directory that this one's backups go to. Each removes what it made itself.
-- depends: 0086_noted_differences

alter table tds.backup add column is_anothers boolean not null default false;
comment on column tds.backup.is_anothers is
'Whether it came with a restore: the database it was made of keeps the file, and this one never removes it.';
