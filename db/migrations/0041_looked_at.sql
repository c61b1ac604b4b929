-- Whether a body has to be looked at more closely is found out while it is at hand, and not once more from the stored row.
-- depends: 0039_bounds
alter table tds.inbox add column look_closer boolean;
comment on column tds.inbox.look_closer is
'Whether the body may hold a number of more digits than the setting number_digits (tds.has_long_number()), as whoever stored it saw; '
'null: nobody looked yet.';
-- made anew with other results
drop function if exists tds.wrappers(text, text);
