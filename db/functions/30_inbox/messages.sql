create or replace function tds.queue_send(queue text, inbox_ids bigint[], received_ats timestamptz[], pages boolean[]) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    -- as pgmq.send_batch(), whose four functions take longer than storing twenty events
    execute format($sql$
        insert into %s (vt, message)
        select clock_timestamp(), jsonb_build_object('inbox_id', m.inbox_id, 'received_at', m.received_at, 'page', m.page)
          from unnest($1, $2, $3) m(inbox_id, received_at, page)$sql$, tds.queue_table(queue_send.queue))
        using queue_send.inbox_ids, queue_send.received_ats, queue_send.pages;
end
$$;
revoke all on function tds.queue_send(text, bigint[], timestamptz[], boolean[]) from public;
comment on function tds.queue_send(text, bigint[], timestamptz[], boolean[]) is
'Puts events into a queue: a message holds the event''s id and partition, and whether it is a page.';

create or replace function tds.read_messages(queue_table regclass, since bigint, numbers bigint[], pages boolean, at_most int, seconds int)
returns setof tds.message
language plpgsql volatile
set search_path = pg_catalog, pg_temp
-- found by their number, however little is known of the table
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
    v_now     constant timestamptz := clock_timestamp();
    -- versions of pgmq before 1.10 have no such column
    v_is_told constant boolean := exists (select from pg_attribute a
                                           where a.attrelid = read_messages.queue_table and a.attname = 'last_read_at');
begin
    return query execute format($sql$
        with due as materialized (
            select m.msg_id from %1$s m
             where m.msg_id >= $2 and ($3 is null or m.msg_id = any ($3))
               -- not by the index of vt: all that is dead can be seen by it
               and m.vt + interval '0' <= $1 and ($4 or m.message @> '{"page": false}')
             order by m.msg_id
             limit $5
               for update skip locked)
        update %1$s m
           set %2$s vt = $1 + $6, read_ct = m.read_ct + 1
         where m.msg_id = any (array(select d.msg_id from due d))
        returning m.msg_id, m.read_ct, m.message$sql$,
        read_messages.queue_table, case when v_is_told then 'last_read_at = $1, ' else '' end)
        using v_now, read_messages.since, read_messages.numbers, read_messages.pages, read_messages.at_most,
              make_interval(secs => read_messages.seconds);
end
$$;
revoke all on function tds.read_messages(regclass, bigint, bigint[], boolean, int, int) from public;
comment on function tds.read_messages(regclass, bigint, bigint[], boolean, int, int) is
'As pgmq.read(), of messages with a number from since on, and of these numbers where they are given: those that can be seen, the oldest '
'first.';

create or replace function tds.read_messages(queue text, max_records int, unseen_seconds int default null) returns setof tds.message
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_table   constant regclass := tds.queue_table(read_messages.queue)::regclass;
    v_seconds constant int := coalesce(read_messages.unseen_seconds, tds.setting_int('visibility_seconds'));
    v_first   constant int := greatest(1, read_messages.max_records / 200);
    v_floor   constant tds.reading_floor := tds.floor_of(tds.queue_table(read_messages.queue));
    v_read    tds.message[] := array[]::tds.message[];
    v_lowest  bigint;
begin
    if v_floor.aside <> '{}' then
        v_read := array(select m from tds.read_messages(v_table, v_floor.aside[1], v_floor.aside, true, v_first, v_seconds) m);
    end if;
    -- a page holds up to 200 records: a few messages at first, and many only where they are single records
    if cardinality(v_read) < v_first then
        v_read := v_read || array(select m from tds.read_messages(v_table, v_floor.floor, null, true,
                                                                  v_first - cardinality(v_read), v_seconds) m);
        v_lowest := (select min(m.msg_id) from unnest(v_read) m where m.msg_id >= v_floor.floor);
        if v_lowest is null or v_lowest >= v_floor.floor + 500 then
            perform tds.move_floor(v_floor, v_lowest);
        end if;
    end if;
    if cardinality(v_read) = v_first and read_messages.max_records > v_first
       and not exists (select from unnest(v_read) m where (m.message ->> 'page')::boolean)
    then
        v_read := v_read || array(
            select m from tds.read_messages(v_table, coalesce(v_lowest, v_floor.floor), null, false,
                                            read_messages.max_records - v_first, v_seconds) m);
    end if;
    return query select * from unnest(v_read);
end
$$;
revoke all on function tds.read_messages(text, int, int) from public;
comment on function tds.read_messages(text, int, int) is
'Reads as many messages as hold about max_records records, from the queue''s floor on, and makes them invisible for the setting '
'visibility_seconds (unseen_seconds, of whoever has read it).';

create or replace function tds.is_idle(queue text) returns boolean
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_table constant text := tds.queue_table(is_idle.queue);
    v_floor constant tds.reading_floor := tds.floor_of(v_table);
begin
    return v_floor.aside = '{}'
           and tds.lowest_number(v_table::regclass, v_floor.floor) is null
           -- else the floor has to move, which a reading does
           and tds.is_near(v_floor.floor, tds.last_number(v_table::regclass));
end
$$;
revoke all on function tds.is_idle(text) from public;
comment on function tds.is_idle(text) is
'Whether nothing is in a queue, and nothing has to be done about it. Most queues are, whenever a worker looks, and a look costs less than '
'a reading.';

create or replace function tds.queue_show(queue text, msg_ids bigint[], seconds int) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    perform pgmq.set_vt(tds.queue_name(queue_show.queue), queue_show.msg_ids, queue_show.seconds);
end
$$;
revoke all on function tds.queue_show(text, bigint[], int) from public;
comment on function tds.queue_show(text, bigint[], int) is 'Makes messages visible again after so many seconds.';

create or replace function tds.queue_done(queue text, msg_ids bigint[]) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    perform pgmq.delete(tds.queue_name(queue_done.queue), queue_done.msg_ids);
end
$$;
revoke all on function tds.queue_done(text, bigint[]) from public;
comment on function tds.queue_done(text, bigint[]) is 'Deletes messages: the inbox is their history.';

create or replace function tds.missing_queues() returns text[]
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_queue   text;
    v_missing text[] := array[]::text[];
begin
    foreach v_queue in array array(select distinct tds.queue_name(n.queue) from tds.entity n union all select 'tds_pull' order by 1) loop
        begin
            -- as a worker would, but for no message
            perform pgmq.set_vt(v_queue, 0::bigint, 0);
        exception when undefined_table or undefined_function or insufficient_privilege or invalid_schema_name then
            v_missing := v_missing || v_queue;
        end;
    end loop;
    return v_missing;
end
$$;
revoke all on function tds.missing_queues() from public;
comment on function tds.missing_queues() is 'The pgmq queues that cannot be reached; none: {}.';
