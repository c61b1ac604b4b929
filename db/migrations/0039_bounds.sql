-- What is looked at closer before it is applied: its text may hold a number that is longer than the bound.
-- depends: 0030_signatures
alter table tds.inbox_open add column look_closer boolean not null default true;
comment on column tds.inbox_open.look_closer is
'Whether its body may hold a number of more digits than the setting number_digits (tds.has_long_number()): each of its records is '
'looked at.';

create type tds.excess as (
    ord    bigint,
    path   text,
    value  text,
    reason text
);
comment on type tds.excess is 'A record of a batch (ord) that exceeds a bound: where, what, and why.';
