-- Files of pictures are known by the database, so that those that no product shows any more can be removed.
-- depends: 0031_outcome_indexes
create table tds.image_file (
    sha256      text not null,
    bytes       bigint,
    stored_at   timestamptz not null,
    unneeded_at timestamptz,
    constraint image_file_pkey primary key (sha256)
);
create index image_file_unneeded_idx on tds.image_file (unneeded_at) where unneeded_at is not null;
create index image_sha256_idx on tds.image (sha256) where sha256 is not null;
comment on table  tds.image_file is 'Files of pictures that have been stored, a row a file, whoever shows it.';
comment on column tds.image_file.sha256 is 'The file''s name, and the SHA-256 of what is in it.';
comment on column tds.image_file.bytes is 'Its size.';
comment on column tds.image_file.stored_at is 'When it was stored last.';
comment on column tds.image_file.unneeded_at is 'Since when no picture is this file; null: one is, or it was stored just now.';
insert into tds.image_file (sha256, bytes, stored_at)
select i.sha256, max(i.bytes), max(i.changed_at) from tds.image i where i.sha256 is not null group by i.sha256 order by i.sha256;
