-- depends: 0007_trust
-- What runs by the clock, and what came of it.

create table tds.job (
    job         text not null,
    schedule    text not null,
    command     text not null,
    description text not null,
    enabled     boolean not null default true,
    since       timestamptz not null,
    in_pg_cron  boolean not null default false,
    job_number  int generated always as identity,
    constraint job_pkey primary key (job),
    constraint job_number_key unique (job_number),
    constraint job_is_a_name check (job ~ '^[a-z][a-z0-9_]{0,39}$')
);
comment on table  tds.job is 'What runs by the clock: pg_cron runs it where it is, the workers elsewhere. After a change: select * from tds.install_jobs().';
comment on column tds.job.job is 'Name.';
comment on column tds.job.schedule is 'When: minute, hour, day of month, month, day of week, as cron has them; numbers, *, lists, ranges and steps.';
comment on column tds.job.command is 'One SQL statement, run as tds_worker in one transaction.';
comment on column tds.job.description is 'What it is for.';
comment on column tds.job.enabled is 'Whether it runs.';
comment on column tds.job.since is 'Runs that were due before are not made up: when it was entered, or its schedule changed.';
comment on column tds.job.in_pg_cron is 'Whether tds.install_jobs() has given it to the pg_cron of this database; the workers then run it only if it is late.';
comment on column tds.job.job_number is 'Second number of the advisory lock that its run holds.';

create table tds.job_run (
    job_run_id  bigint generated always as identity,
    job         text not null,
    runner      text not null,
    state       text not null,
    started_at  timestamptz not null,
    finished_at timestamptz,
    error_code  text,
    error       text,
    constraint job_run_pkey primary key (job_run_id),
    constraint job_run_job_fkey foreign key (job) references tds.job on delete cascade,
    constraint state_is_known check (state in ('running', 'done', 'failed', 'lost'))
);
create index job_run_job_idx on tds.job_run (job, job_run_id);
comment on table  tds.job_run is 'Runs of jobs: of each job the one going on, the last that was done, and the last failures.';
comment on column tds.job_run.job_run_id is 'Number of the run.';
comment on column tds.job_run.job is 'The job.';
comment on column tds.job_run.runner is 'Who ran it: pg_cron, worker, or by hand.';
comment on column tds.job_run.state is 'running, done, failed, or lost: whoever ran it was gone before the end.';
comment on column tds.job_run.started_at is 'When it began.';
comment on column tds.job_run.finished_at is 'When it ended; of a lost one, when that was noticed.';
comment on column tds.job_run.error_code is 'SQLSTATE, where it failed.';
comment on column tds.job_run.error is 'What it said then.';

comment on column tds.image.state is
'wanted (a fetcher has it), ready (the file exists), failed (tried again later), gone (Zoho has none, or it is nothing that is kept: see error).';
