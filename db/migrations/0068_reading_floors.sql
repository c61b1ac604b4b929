-- Where the reading of each queue, and of the claims, begins, so that what was deleted below is not walked over while an old snapshot
-- keeps it.
-- depends: 0064_shards

create table tds.reading_floor (
    relation  text not null,
    turn      bigint not null,
    file      oid not null,
    floor     bigint not null,
    sent      bigint not null,
    senders   text[] not null,
    aside     bigint[] not null,
    moved_at  timestamptz not null,
    constraint reading_floor_pkey primary key (relation, turn)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 0);
comment on table  tds.reading_floor is
'Where the reading of each queue begins, and of the claims. The newest turn holds; each is a row of its own, found from above whatever '
'lies dead below.';
comment on column tds.reading_floor.relation is 'The table, as pgmq.q_tds_products; its identity column numbers its rows.';
comment on column tds.reading_floor.turn is 'Counts the moves.';
comment on column tds.reading_floor.file is 'File of the table that it was found in; of another, as after a TRUNCATE, it says nothing.';
comment on column tds.reading_floor.floor is 'No row has a lower number, but those of aside; none will.';
comment on column tds.reading_floor.sent is 'The last number that had been given then.';
comment on column tds.reading_floor.senders is
'Virtual transactions that were writing into the table then: once they have ended, all rows up to sent can be seen.';
comment on column tds.reading_floor.aside is 'Messages below the floor that were hidden or in work when it moved past them.';
comment on column tds.reading_floor.moved_at is 'When.';

create type tds.message as (
    msg_id  bigint,
    read_ct int,
    message jsonb
);
comment on type tds.message is 'A message as it was read out of its queue: number, how often it was read, and what it says.';

-- it returns tds.message now
drop function if exists tds.read_messages(text, int);
