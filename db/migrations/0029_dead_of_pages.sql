-- Which dead letters are records of a page whose other records were used: known when the page is closed, so that
-- counting them reads no outcome.
-- depends: 0025_unknown
alter table tds.dead_letter add column of_page boolean not null default false;
comment on column tds.dead_letter.of_page is 'Whether it is a record of an event that is completed all the same.';
update tds.dead_letter d
   set of_page = true
  from tds.inbox_outcome o
 where o.received_at = d.received_at and o.inbox_id = d.inbox_id and o.status = 'completed' and d.position is not null;
create index dead_letter_of_page_idx on tds.dead_letter (inbox_id) where resolved_at is null and of_page;
