-- How long events took, kept by the hour; and finished events that the counters have forgotten, so that a total only grows.
-- depends: 0041_looked_at
create table tds.delay (
    hour    timestamptz not null,
    entity  text not null,
    under   numeric not null,
    events  bigint not null,
    seconds numeric not null,
    constraint delay_pkey primary key (hour, entity, under),
    constraint something_was_counted check (events > 0 and seconds >= 0)
) with (fillfactor = 70);
comment on table  tds.delay is
'How long webhooks took until their outcome was written, by hour, entity and bucket. Counted by the job health, not by the workers.';
comment on column tds.delay.hour is 'Beginning of the hour in which they were finished.';
comment on column tds.delay.entity is 'The entity.';
comment on column tds.delay.under is 'They took less than so many seconds, and not less than the bound before: tds.delay_bounds().';
comment on column tds.delay.events is 'How many.';
comment on column tds.delay.seconds is 'How long they took in sum.';

create table tds.delay_counted (
    only_row    boolean primary key default true check (only_row),
    finished_at timestamptz not null,
    inbox_id    bigint not null
);
comment on table  tds.delay_counted is 'Up to where tds.count_delays() has read: one row.';
comment on column tds.delay_counted.only_row is 'There is one row.';
comment on column tds.delay_counted.finished_at is 'Outcomes up to this one have been counted.';
comment on column tds.delay_counted.inbox_id is 'Of those of that moment, the last one counted.';
insert into tds.delay_counted (finished_at, inbox_id) values ('-infinity', 0);

create table tds.outcome_past (
    entity text not null,
    status text not null,
    events bigint not null,
    constraint outcome_past_pkey primary key (entity, status)
);
comment on table  tds.outcome_past is
'Finished events that the retention has taken out of tds.outcome_counter: with it, how many there ever were.';
comment on column tds.outcome_past.entity is 'Entity of the events.';
comment on column tds.outcome_past.status is 'completed or dead_letter.';
comment on column tds.outcome_past.events is 'How many.';

-- one check over thirty days, not all of them
create index health_result_check_name_idx on tds.health_result (check_name, looked_at);
