-- Whether a body has to be looked at more closely is seen once: of a page of a list when it is stored; of any other when it is applied,
-- by the pattern that reads all of it there anyway, and not by a second one while Zoho waits for its answer.
-- depends: 0041_looked_at

alter table tds.inbox_open drop column look_closer;
alter table tds.inbox_held drop column look_closer;
comment on column tds.inbox.look_closer is
'Of a page of a list: whether it may hold a number of more digits than the setting number_digits (tds.has_long_number()), as whoever '
'stored it saw; null: nobody looked yet. Any other body is looked at when it is applied.';

alter type tds.event add attribute look_closer boolean;
comment on type tds.event is
'An event in work: its body parsed once (records, an array), and how many records came before it in its batch '
'(first_ord), so that the n-th of its records is the batch''s first_ord + n-th. modified_at: the version that a detail '
'without a last_modified_time inherits from what asked for it. look_closer: whether its body may hold a number of more digits than the '
'setting number_digits (tds.has_long_number()).';

-- made anew with other results
drop function if exists tds.body_records(text, text, text, text);
