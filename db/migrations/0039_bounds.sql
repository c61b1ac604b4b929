-- What is looked at closer before it is applied: its text may hold a number that is longer than the bound.
-- depends: 0030_signatures
alter table tds.inbox_open add column look_closer boolean not null default true;
comment on column tds.inbox_open.look_closer is
'Whether its body may hold a number of more digits than the setting number_digits (tds.has_long_number(text, boolean)): each of its '
'records is looked at.';

create type tds.excess as (
    ord    bigint,
    path   text,
    value  text,
    reason text
);
comment on type tds.excess is 'A record of a batch (ord) that exceeds a bound: where, what, and why.';

create table tds.set_aside (
    job           text not null,
    item          text not null,
    error_code    text not null,
    error         text not null,
    error_context text,
    set_aside_at  timestamptz not null,
    constraint set_aside_pkey primary key (job, item)
);
comment on table  tds.set_aside is
'What a job could not do, item by item: it went on without. Delete a row once its reason is gone.';
comment on column tds.set_aside.job is 'The job or function that set it aside.';
comment on column tds.set_aside.item is 'What: an event, a record, a table, by its name.';
comment on column tds.set_aside.error_code is 'SQLSTATE.';
comment on column tds.set_aside.error is 'Why.';
comment on column tds.set_aside.error_context is 'Where it happened: the functions and lines, the innermost first.';
comment on column tds.set_aside.set_aside_at is 'When, for the last time.';
