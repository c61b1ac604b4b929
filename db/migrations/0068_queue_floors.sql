-- Where the reading of each queue begins, so that what was deleted below is not walked over while an old snapshot keeps it.
-- depends: 0064_shards

create table tds.queue_floor (
    queue     text not null,
    turn      bigint not null,
    file      oid not null,
    floor     bigint not null,
    sent      bigint not null,
    senders   text[] not null,
    aside     bigint[] not null,
    moved_at  timestamptz not null,
    constraint queue_floor_pkey primary key (queue, turn)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 0);
comment on table  tds.queue_floor is
'Where the reading of each queue begins. The newest turn holds; each is a row of its own, found from above whatever lies dead below.';
comment on column tds.queue_floor.queue is 'The queue.';
comment on column tds.queue_floor.turn is 'Counts the moves.';
comment on column tds.queue_floor.file is
'File of the queue''s table that it was found in; of another, as after a TRUNCATE, it says nothing.';
comment on column tds.queue_floor.floor is 'No message has a lower msg_id, but those of aside; none will.';
comment on column tds.queue_floor.sent is 'The last msg_id that had been given then.';
comment on column tds.queue_floor.senders is
'Virtual transactions that were writing into the queue then: once they have ended, all messages up to sent can be seen.';
comment on column tds.queue_floor.aside is 'Messages below the floor that were hidden or in work when it moved past them.';
comment on column tds.queue_floor.moved_at is 'When.';

create type tds.message as (
    msg_id  bigint,
    read_ct int,
    message jsonb
);
comment on type tds.message is 'A message as it was read out of its queue: number, how often it was read, and what it says.';

-- it returns tds.message now
drop function if exists tds.read_messages(text, int);
