-- Where the reading of a queue begins. A message that is deleted leaves its entries in the table and its indexes until no snapshot can see
-- it; one that is held open keeps them all, and who looks for the oldest message walks over every one. So a floor moves behind the reading.

create or replace function tds.queue_table(queue text) returns regclass
language sql stable
set search_path = pg_catalog, pg_temp
as $$ select format('pgmq.%I', 'q_' || tds.queue_name($1))::regclass $$;
comment on function tds.queue_table(text) is 'The table of pgmq''s that holds the queue. Raises 42P01 where there is none.';

create or replace function tds.queue_floor(queue text) returns tds.queue_floor
language plpgsql stable
set search_path = pg_catalog, pg_temp
-- from above, past whatever lies dead below
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
    v_floor tds.queue_floor;
begin
    select f.* into v_floor from tds.queue_floor f where f.queue = queue_floor.queue order by f.turn desc limit 1;
    v_floor.queue := queue_floor.queue;
    v_floor.turn := coalesce(v_floor.turn, 0);
    if v_floor.file is distinct from pg_relation_filenode(tds.queue_table(queue_floor.queue)) then
        -- the table was emptied or made anew: nothing is known of this one
        v_floor.file := null;
        v_floor.floor := 0;
        v_floor.sent := 0;
        v_floor.senders := '{}';
        v_floor.aside := '{}';
    end if;
    return v_floor;
end
$$;
revoke all on function tds.queue_floor(text) from public;
comment on function tds.queue_floor(text) is
'Where the reading of a queue begins now. file: null where nothing is known of its table, so that it begins at the beginning.';

create or replace function tds.senders(queue_table regclass) returns text[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    -- an INSERT takes this lock before it is given a number, and keeps it until its transaction ends
    return array(
        select distinct l.virtualtransaction
          from pg_locks l
         where l.locktype = 'relation' and l.relation = senders.queue_table::oid and l.mode = 'RowExclusiveLock' and l.granted
           and l.database = (select d.oid from pg_database d where d.datname = current_database())
           and l.pid is distinct from pg_backend_pid());
end
$$;
revoke all on function tds.senders(regclass) from public;
comment on function tds.senders(regclass) is
'Virtual transactions, but for this session''s, that may have put messages into that table which cannot be seen yet.';

create or replace function tds.settled_until(at tds.queue_floor, sent bigint, senders text[]) returns bigint
language sql immutable
as $$
    select case when $3 = '{}' then $2
                -- one that was prepared has another name after a restart
                when ($1).file is not null and not ($1).senders && $3 and not exists (select from unnest($3) s where s like '-1/%')
                    then ($1).sent end
$$;
comment on function tds.settled_until(tds.queue_floor, bigint, text[]) is
'The msg_id up to which every message has been committed or never will be; null: nobody can say yet.';

create or replace function tds.set_floor(at tds.queue_floor) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
as $$
begin
    insert into tds.queue_floor (queue, turn, file, floor, sent, senders, aside, moved_at)
    values ((set_floor.at).queue, (set_floor.at).turn + 1, (set_floor.at).file, (set_floor.at).floor, (set_floor.at).sent,
            (set_floor.at).senders, (set_floor.at).aside, tds.now())
    on conflict on constraint queue_floor_pkey do nothing;
    delete from tds.queue_floor f where f.queue = (set_floor.at).queue and f.turn = (set_floor.at).turn;
end
$$;
revoke all on function tds.set_floor(tds.queue_floor) from public;
comment on function tds.set_floor(tds.queue_floor) is
'Writes down where the floor of a queue is from now on, as the next turn, in place of the one before.';

create or replace function tds.lowest_message(queue_table regclass, since bigint) returns bigint
language plpgsql stable
set search_path = pg_catalog, pg_temp
-- found by its number, however little is known of the table
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
    v_lowest bigint;
begin
    execute format('select m.msg_id from %s m where m.msg_id >= $1 order by m.msg_id limit 1', lowest_message.queue_table)
       into v_lowest using lowest_message.since;
    return v_lowest;
end
$$;
revoke all on function tds.lowest_message(regclass, bigint) from public;
comment on function tds.lowest_message(regclass, bigint) is
'The lowest number of a message there is, from that one on, hidden or not; null: none.';

create or replace function tds.next_floor(inout at tds.queue_floor, settled bigint, read bigint)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_table constant regclass := tds.queue_table((next_floor.at).queue);
    -- by this look all that was settled is seen
    v_low   constant bigint := tds.lowest_message(v_table, (next_floor.at).floor);
    v_ids   bigint[];
begin
    next_floor.at.floor := least(next_floor.settled + 1, coalesce(v_low, next_floor.settled + 1));
    if v_low <= next_floor.settled and tds.holds_up(v_low, next_floor.read) then
        execute format('select array(select m.msg_id from %s m where m.msg_id >= $1 and m.msg_id < $2 order by m.msg_id limit 1001)',
                       v_table)
           into v_ids using v_low, least(next_floor.read, next_floor.settled + 1);
        if cardinality(v_ids) + cardinality((next_floor.at).aside) <= 1000 then
            next_floor.at.aside := (next_floor.at).aside || v_ids;
            next_floor.at.floor := least(next_floor.read, next_floor.settled + 1);
        end if;
    end if;
    if (next_floor.at).aside <> '{}' then
        execute format('select array(select m.msg_id from %s m where m.msg_id = any ($1) order by m.msg_id)', v_table)
           into next_floor.at.aside using (next_floor.at).aside;
    end if;
end
$$;
revoke all on function tds.next_floor(tds.queue_floor, bigint, bigint) from public;
comment on function tds.next_floor(tds.queue_floor, bigint, bigint) is
'The floor with its place of now, where all messages up to settled can be seen: at the oldest one there is, or, where that holds the floor '
'up, beyond it, with its number set aside; a thousand such at most.';

create or replace function tds.holds_up(low bigint, read bigint) returns boolean
language sql immutable parallel safe
as $$ select $1 < $2 - 10000 $$;
comment on function tds.holds_up(bigint, bigint) is
'Whether a message that is hidden, or in work, lies so far below the one that was read that its number is better set aside.';

create or replace function tds.move_floor(at tds.queue_floor, read bigint) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
    v_table   constant regclass := tds.queue_table((move_floor.at).queue);
    v_next    tds.queue_floor := move_floor.at;
    v_low     bigint;
    v_settled bigint;
begin
    execute format('select s.last_value from pgmq.%I s', 'q_' || tds.queue_name((move_floor.at).queue) || '_msg_id_seq')
       into v_next.sent;
    if (move_floor.at).floor between v_next.sent - 498 and v_next.sent + 1 then
        return; -- there is little to walk over
    end if;
    v_low := tds.lowest_message(v_table, (move_floor.at).floor);
    -- it stands where it can; and an older look than this moment's would not see what was sent since
    if v_low < (move_floor.at).floor + 500 and not tds.holds_up(v_low, move_floor.read)
       or current_setting('transaction_isolation') <> 'read committed' then
        return;
    end if;
    perform from tds.queue_floor f where f.queue = (move_floor.at).queue and f.turn = (move_floor.at).turn for update skip locked;
    if not found and (move_floor.at).turn > 0 then
        return; -- somebody else is moving it
    end if;
    -- after what was sent: who was given a number until then has its lock now, or has ended
    v_next.file := pg_relation_filenode(v_table);
    v_next.senders := tds.senders(v_table);
    v_settled := tds.settled_until(move_floor.at, v_next.sent, v_next.senders);
    if v_next.sent + 1 < (move_floor.at).floor then
        v_next.floor := 0; -- the numbers begin anew
    elsif v_settled is not null then
        v_next := tds.next_floor(v_next, v_settled, coalesce(move_floor.read, v_next.sent + 1));
    end if;
    if v_next.floor <> (move_floor.at).floor or (move_floor.at).file is null then
        perform tds.set_floor(v_next);
    end if;
end
$$;
revoke all on function tds.move_floor(tds.queue_floor, bigint) from public;
comment on function tds.move_floor(tds.queue_floor, bigint) is
'Moves the floor of a queue up, if it can be: to the lowest message that there is, as far as nobody may still send a lower one. read: the '
'lowest that was read just now; null: none was there.';

create or replace function tds.forget_floor(queue text) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    delete from tds.queue_floor f where f.queue = forget_floor.queue;
end
$$;
revoke all on function tds.forget_floor(text) from public;
comment on function tds.forget_floor(text) is 'Has a queue read from its beginning again.';
