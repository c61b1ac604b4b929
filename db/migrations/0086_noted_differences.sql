-- A note is of the difference that it was written of: one that has become another since is no known one.
-- depends: 0085_several_at_once

alter table tds.discrepancy add column noted_difference numeric;
comment on column tds.discrepancy.noted_difference is 'How much it was when the note was written.';
update tds.discrepancy d set noted_difference = d.difference where d.note is not null;
