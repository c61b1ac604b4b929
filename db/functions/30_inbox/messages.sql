create or replace function tds.queue_send(queue text, inbox_ids bigint[], received_ats timestamptz[], pages boolean[]) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    perform pgmq.send_batch(
        tds.queue_name(queue_send.queue),
        (select array_agg(jsonb_build_object('inbox_id', m.inbox_id, 'received_at', m.received_at, 'page', m.page) order by m.n)
           from unnest(queue_send.inbox_ids, queue_send.received_ats, queue_send.pages)
                with ordinality m(inbox_id, received_at, page, n)));
end
$$;
revoke all on function tds.queue_send(text, bigint[], timestamptz[], boolean[]) from public;
comment on function tds.queue_send(text, bigint[], timestamptz[], boolean[]) is
'Puts events into a queue: a message holds the event''s id and partition, and whether it is a page.';

create or replace function tds.read_messages(queue text, max_records int) returns setof pgmq.message_record
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_name    constant text := tds.queue_name(read_messages.queue);
    v_seconds constant int := tds.setting_int('visibility_seconds');
    v_first   constant int := greatest(1, read_messages.max_records / 200);
    v_read    pgmq.message_record[];
begin
    -- a page holds up to 200 records: a few messages at first, and many only where they are single records
    v_read := array(select m from pgmq.read(v_name, v_seconds, v_first) m);
    if cardinality(v_read) = v_first and read_messages.max_records > v_first
       and not exists (select from unnest(v_read) m where (m.message ->> 'page')::boolean)
    then
        v_read := v_read || array(
            select m from pgmq.read(v_name, v_seconds, read_messages.max_records - v_first, '{"page": false}') m);
    end if;
    return query select * from unnest(v_read);
end
$$;
revoke all on function tds.read_messages(text, int) from public;
comment on function tds.read_messages(text, int) is
'Reads as many messages as hold about max_records records and makes them invisible for the setting visibility_seconds.';

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
