-- depends: 0017_pace
-- Health and healing: what is looked at and what it said, what is mended and when, who works.

create table tds.health_check (
    check_name     text not null,
    area           text not null,
    function_name  text not null,
    unit           text not null,
    lower_is_worse boolean not null,
    meaning        text not null,
    next_step      text not null,
    constraint health_check_pkey primary key (check_name),
    constraint check_is_a_name check (check_name ~ '^[a-z][a-z0-9_]{0,39}$')
);
comment on table  tds.health_check is
'What tds.health() looks at, a row a check. Its thresholds and how often it is looked at are its row of tds.setting, health_<check_name>.';
comment on column tds.health_check.check_name is 'Name.';
comment on column tds.health_check.area is 'What it is about: services, queue, errors, database, jobs, api, entities.';
comment on column tds.health_check.function_name is 'The function (at timestamptz, or no argument) returning tds.finding: what it finds. What it raises makes the check unknown, and no other.';
comment on column tds.health_check.unit is 'Unit of its value.';
comment on column tds.health_check.lower_is_worse is 'Whether the thresholds count downwards: what is left of something.';
comment on column tds.health_check.meaning is 'What the value is, in a sentence.';
comment on column tds.health_check.next_step is 'What to do if it is not well.';

create type tds.finding as (
    value numeric,
    told  text,
    since timestamptz
);
comment on type tds.finding is
'What a check finds: the value that is held against its thresholds (null: there is nothing to be measured, which is well), what there is to say, '
'names included, and since when it has been so, where that is known.';

create table tds.health_state (
    check_name text not null,
    state      text not null,
    value      numeric,
    threshold  numeric,
    told       text not null,
    since      timestamptz not null,
    looked_at  timestamptz not null,
    constraint health_state_pkey primary key (check_name),
    constraint health_state_check_name_fkey foreign key (check_name) references tds.health_check on delete cascade,
    constraint state_is_known check (state in ('ok', 'warning', 'critical', 'unknown'))
) with (fillfactor = 50);
comment on table  tds.health_state is 'What each check said last: the job health writes it, tds.health_summary() reads it.';
comment on column tds.health_state.check_name is 'The check.';
comment on column tds.health_state.state is 'ok, warning, critical, or unknown: the check itself failed.';
comment on column tds.health_state.value is 'What was measured; null: nothing was there to be measured.';
comment on column tds.health_state.threshold is 'The threshold it has crossed, or, while it is well, would cross first.';
comment on column tds.health_state.told is 'What it said.';
comment on column tds.health_state.since is 'Since when it has been in this state.';
comment on column tds.health_state.looked_at is 'When it was looked at.';

create table tds.health_result (
    looked_at  timestamptz not null,
    check_name text not null,
    state      text not null,
    value      numeric,
    told       text,
    constraint health_result_pkey primary key (looked_at, check_name),
    constraint state_is_known check (state in ('ok', 'warning', 'critical', 'unknown'))
);
comment on table  tds.health_result is 'What the checks said, as a series.';
comment on column tds.health_result.looked_at is 'When.';
comment on column tds.health_result.check_name is 'The check.';
comment on column tds.health_result.state is 'ok, warning, critical, unknown.';
comment on column tds.health_result.value is 'What was measured.';
comment on column tds.health_result.told is 'What it said, where it was not well.';

create table tds.measure (
    name       text not null,
    measured_at timestamptz not null,
    value      numeric not null,
    constraint measure_pkey primary key (name, measured_at)
);
comment on table  tds.measure is 'Totals measured with every look at the health, so that checks can tell what became of them in an hour or a day.';
comment on column tds.measure.name is 'database_bytes; completed: events finished so far.';
comment on column tds.measure.measured_at is 'When.';
comment on column tds.measure.value is 'How much.';

create table tds.heal_step (
    step          text not null,
    position      int not null,
    function_name text not null,
    description   text not null,
    constraint heal_step_pkey primary key (step),
    constraint step_is_a_name check (step ~ '^[a-z][a-z0-9_]{0,39}$')
);
comment on table  tds.heal_step is 'What tds.heal() can mend, a row a step.';
comment on column tds.heal_step.step is 'Name.';
comment on column tds.heal_step.position is 'Lower is done first.';
comment on column tds.heal_step.function_name is
'The function (at timestamptz, dry_run boolean, or dry_run alone) returning setof tds.healed: a row an act, done or, on a dry run, that would be done; none: nothing was '
'ill. Its work is bounded. What it raises undoes this step and no other. tds_worker and tds_operator may execute it.';
comment on column tds.heal_step.description is 'What it mends.';

create type tds.healed as (
    subject text,
    act     text,
    ok      boolean,
    detail  text
);
comment on type tds.healed is
'An act of healing: to whom or what (the same words each time, so that what is healed again and again is seen), what was done, whether it was possible, '
'and what there is to say.';

create table tds.heal_log (
    heal_id   bigint generated always as identity,
    healed_at timestamptz not null,
    step      text not null,
    subject   text not null,
    act       text not null,
    ok        boolean not null,
    detail    text,
    constraint heal_log_pkey primary key (heal_id)
);
create index heal_log_healed_at_idx on tds.heal_log (healed_at);
comment on table  tds.heal_log is 'What tds.heal() did, a row an act.';
comment on column tds.heal_log.heal_id is 'Number of the act.';
comment on column tds.heal_log.healed_at is 'When.';
comment on column tds.heal_log.step is 'The step.';
comment on column tds.heal_log.subject is 'To whom or what.';
comment on column tds.heal_log.act is 'What was done.';
comment on column tds.heal_log.ok is 'Whether it was possible.';
comment on column tds.heal_log.detail is 'What there is to say.';

create table tds.program (
    program             text not null,
    kind                text not null,
    host                text not null,
    pid                 int not null,
    backend_pid         int not null,
    started_at          timestamptz not null,
    beat_at             timestamptz not null,
    skew_seconds        numeric,
    restart_wanted_at   timestamptz,
    restart_reason      text,
    constraint program_pkey primary key (program)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_cost_delay = 0);
comment on table  tds.program is 'Programs at work, each known by what it does and not by its connection: see tds.beat().';
comment on column tds.program.program is 'Its application_name: tds/<kind>/<host>/<pid>.';
comment on column tds.program.kind is 'worker, poller, receiver; pg_cron: a job that it ran.';
comment on column tds.program.host is 'Where it runs.';
comment on column tds.program.pid is 'Its process there.';
comment on column tds.program.backend_pid is 'The session that last told.';
comment on column tds.program.started_at is 'When it first told.';
comment on column tds.program.beat_at is 'When it last did a turn of its work, to ten seconds.';
comment on column tds.program.skew_seconds is 'How far its clock was ahead of the database''s then; null: it did not say.';
comment on column tds.program.restart_wanted_at is 'Since when it should be started again; whoever looks after it (tds up, tds work) does so, or it ends itself at its next turn.';
comment on column tds.program.restart_reason is 'Why.';

create table tds.disk (
    host        text not null,
    path        text not null,
    free_bytes  bigint not null,
    total_bytes bigint not null,
    noted_at    timestamptz not null,
    constraint disk_pkey primary key (host, path)
) with (fillfactor = 50);
comment on table  tds.disk is 'How full the disks of the server are, as a program that runs beside it sees: SQL itself cannot tell.';
comment on column tds.disk.host is 'The machine.';
comment on column tds.disk.path is 'The data directory.';
comment on column tds.disk.free_bytes is 'What is free, in bytes.';
comment on column tds.disk.total_bytes is 'Size of the file system.';
comment on column tds.disk.noted_at is 'When.';

create table tds.arrival (
    entity   text not null,
    hour     timestamptz not null,
    webhooks bigint not null,
    last_at  timestamptz not null,
    constraint arrival_pkey primary key (entity, hour)
) with (fillfactor = 50);
comment on table  tds.arrival is 'Webhooks by entity and hour: the rhythm that a silence is held against. Counted by the job health, not by the receiver.';
comment on column tds.arrival.entity is 'The entity.';
comment on column tds.arrival.hour is 'Beginning of the hour.';
comment on column tds.arrival.webhooks is 'Webhooks stored in it.';
comment on column tds.arrival.last_at is 'The last of them.';

create table tds.arrival_counted (
    only_row    boolean primary key default true check (only_row),
    received_at timestamptz not null,
    inbox_id    bigint not null
);
comment on table  tds.arrival_counted is 'Up to where tds.count_arrivals() has read: one row.';
comment on column tds.arrival_counted.only_row is 'There is one row.';
comment on column tds.arrival_counted.received_at is 'Events up to this one have been counted.';
comment on column tds.arrival_counted.inbox_id is 'Of those of that moment, the last one counted.';
insert into tds.arrival_counted (received_at, inbox_id) values ('-infinity', 0);

create table tds.stray (
    path     text not null,
    first_at timestamptz not null,
    last_at  timestamptz not null,
    requests bigint not null,
    constraint stray_pkey primary key (path)
);
comment on table  tds.stray is 'Addresses that something was posted to although nothing is there: a webhook wired to a wrong one never arrives.';
comment on column tds.stray.path is 'Path of the URL, cut at 200 characters.';
comment on column tds.stray.first_at is 'When it first came.';
comment on column tds.stray.last_at is 'When it last came.';
comment on column tds.stray.requests is 'How often.';

-- whether a reason is new, and what came in the last hour
create index dead_letter_reason_idx on tds.dead_letter (entity, error_code, path, dead_at);
create index dead_letter_dead_at_idx on tds.dead_letter (dead_at);

alter table tds.program add column stopped_at timestamptz;
comment on column tds.program.stopped_at is 'When it said that it stops; null: it works, or died.';

create table tds.vacuum_wish (
    relation  text not null,
    wished_at timestamptz not null,
    constraint vacuum_wish_pkey primary key (relation)
);
comment on table  tds.vacuum_wish is 'Tables that autovacuum has left: the workers vacuum them, which no function can.';
comment on column tds.vacuum_wish.relation is 'The table.';
comment on column tds.vacuum_wish.wished_at is 'Since when.';
