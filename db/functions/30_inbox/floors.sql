-- Where the reading of a table begins whose rows come with rising numbers and go again: a queue, the claims. A row that is deleted leaves
-- its entries in the table and its indexes until no snapshot can see it; one that is held open keeps them all, and who looks for the
-- oldest row walks over every one. So a floor moves behind the reading.

create or replace function tds.floor_of(relation text) returns tds.reading_floor
language plpgsql stable
set search_path = pg_catalog, pg_temp
-- from above, past whatever lies dead below
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
    v_floor tds.reading_floor;
begin
    select f.* into v_floor from tds.reading_floor f where f.relation = floor_of.relation order by f.turn desc limit 1;
    v_floor.relation := floor_of.relation;
    v_floor.turn := coalesce(v_floor.turn, 0);
    if v_floor.file is distinct from pg_relation_filenode(floor_of.relation::regclass) then
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
revoke all on function tds.floor_of(text) from public;
comment on function tds.floor_of(text) is
'Where the reading of a table begins now. file: null where nothing is known of it, so that it begins at the beginning. Raises 42P01 where '
'there is no such table.';

create or replace function tds.senders(relation regclass) returns text[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    -- an INSERT takes this lock before it is given a number, and keeps it until its transaction ends
    return array(
        select distinct l.virtualtransaction
          from pg_locks l
         where l.locktype = 'relation' and l.relation = senders.relation::oid and l.mode = 'RowExclusiveLock' and l.granted
           and l.database = (select d.oid from pg_database d where d.datname = current_database())
           and l.pid is distinct from pg_backend_pid());
end
$$;
revoke all on function tds.senders(regclass) from public;
comment on function tds.senders(regclass) is
'Virtual transactions, but for this session''s, that may have put rows into that table which cannot be seen yet.';

create or replace function tds.settled_until(at tds.reading_floor, sent bigint, senders text[]) returns bigint
language sql immutable
as $$
    select case when $3 = '{}' then $2
                -- one that was prepared has another name after a restart
                when ($1).file is not null and not ($1).senders && $3 and not exists (select from unnest($3) s where s like '-1/%')
                    then ($1).sent end
$$;
comment on function tds.settled_until(tds.reading_floor, bigint, text[]) is
'The number up to which every row has been committed or never will be; null: nobody can say yet.';

create or replace function tds.set_floor(at tds.reading_floor) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
as $$
begin
    insert into tds.reading_floor (relation, turn, file, floor, sent, senders, aside, moved_at)
    values ((set_floor.at).relation, (set_floor.at).turn + 1, (set_floor.at).file, (set_floor.at).floor, (set_floor.at).sent,
            (set_floor.at).senders, (set_floor.at).aside, tds.now())
    on conflict on constraint reading_floor_pkey do nothing;
    delete from tds.reading_floor f where f.relation = (set_floor.at).relation and f.turn = (set_floor.at).turn;
end
$$;
revoke all on function tds.set_floor(tds.reading_floor) from public;
comment on function tds.set_floor(tds.reading_floor) is
'Writes down where the floor of a table is from now on, as the next turn, in place of the one before.';

create or replace function tds.identity_column(relation regclass) returns name
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return (select a.attname from pg_attribute a
             where a.attrelid = identity_column.relation and a.attidentity <> '' and not a.attisdropped);
end
$$;
revoke all on function tds.identity_column(regclass) from public;
comment on function tds.identity_column(regclass) is 'The column that numbers a table''s rows.';

create or replace function tds.last_number(relation regclass) returns bigint
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return coalesce(pg_sequence_last_value(
        pg_get_serial_sequence(last_number.relation::text, tds.identity_column(last_number.relation)::text)::regclass), 0);
end
$$;
revoke all on function tds.last_number(regclass) from public;
comment on function tds.last_number(regclass) is 'The last number that a row of the table was given.';

create or replace function tds.lowest_number(relation regclass, since bigint) returns bigint
language plpgsql stable
set search_path = pg_catalog, pg_temp
-- found by its number, however little is known of the table
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
    v_lowest bigint;
begin
    execute format('select m.%1$I from %2$s m where m.%1$I >= $1 order by m.%1$I limit 1',
                   tds.identity_column(lowest_number.relation), lowest_number.relation)
       into v_lowest using lowest_number.since;
    return v_lowest;
end
$$;
revoke all on function tds.lowest_number(regclass, bigint) from public;
comment on function tds.lowest_number(regclass, bigint) is
'The lowest number that a row of the table has, from that one on; null: none.';

create or replace function tds.next_floor(inout at tds.reading_floor, settled bigint, read bigint)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
    v_relation constant regclass := (next_floor.at).relation::regclass;
    v_key      constant name := tds.identity_column(v_relation);
    -- by this look all that was settled is seen
    v_low      constant bigint := tds.lowest_number(v_relation, (next_floor.at).floor);
    v_ids      bigint[];
begin
    next_floor.at.floor := least(next_floor.settled + 1, coalesce(v_low, next_floor.settled + 1));
    if v_low <= next_floor.settled and tds.holds_up(v_low, next_floor.read) then
        execute format('select array(select m.%1$I from %2$s m where m.%1$I >= $1 and m.%1$I < $2 order by m.%1$I limit 1001)',
                       v_key, v_relation)
           into v_ids using v_low, least(next_floor.read, next_floor.settled + 1);
        if cardinality(v_ids) + cardinality((next_floor.at).aside) <= 1000 then
            next_floor.at.aside := (next_floor.at).aside || v_ids;
            next_floor.at.floor := least(next_floor.read, next_floor.settled + 1);
        end if;
    end if;
    if (next_floor.at).aside <> '{}' then
        execute format('select array(select m.%1$I from %2$s m where m.%1$I = any ($1) order by m.%1$I)', v_key, v_relation)
           into next_floor.at.aside using (next_floor.at).aside;
    end if;
end
$$;
revoke all on function tds.next_floor(tds.reading_floor, bigint, bigint) from public;
comment on function tds.next_floor(tds.reading_floor, bigint, bigint) is
'The floor with its place of now, where all rows up to settled can be seen: at the oldest one there is, or, where that holds the floor '
'up, beyond it, with its number set aside; a thousand such at most.';

create or replace function tds.holds_up(low bigint, read bigint) returns boolean
language sql immutable parallel safe
as $$ select $1 < $2 - 10000 $$;
comment on function tds.holds_up(bigint, bigint) is
'Whether a message that is hidden, or in work, lies so far below the one that was read that its number is better set aside.';

create or replace function tds.is_near(floor bigint, sent bigint) returns boolean
language sql immutable parallel safe
as $$
    -- beyond the next number: the numbers have begun anew
    select $1 between $2 - 498 and $2 + 1
$$;
comment on function tds.is_near(bigint, bigint) is
'Whether a floor may stay: from it to the last number that was given there is little to walk over.';

create or replace function tds.move_floor(at tds.reading_floor, read bigint) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
    v_relation constant regclass := (move_floor.at).relation::regclass;
    v_next     tds.reading_floor := move_floor.at;
    v_low      bigint;
    v_settled  bigint;
begin
    v_next.sent := tds.last_number(v_relation);
    if tds.is_near((move_floor.at).floor, v_next.sent) then
        return;
    end if;
    v_low := tds.lowest_number(v_relation, (move_floor.at).floor);
    -- it stands where it can; and an older look than this moment's would not see what was sent since
    if v_low < (move_floor.at).floor + 500 and not tds.holds_up(v_low, move_floor.read)
       or current_setting('transaction_isolation') <> 'read committed' then
        return;
    end if;
    perform from tds.reading_floor f
      where f.relation = (move_floor.at).relation and f.turn = (move_floor.at).turn for update skip locked;
    if not found and (move_floor.at).turn > 0 then
        return; -- somebody else is moving it
    end if;
    -- after what was sent: who was given a number until then has its lock now, or has ended
    v_next.file := pg_relation_filenode(v_relation);
    v_next.senders := tds.senders(v_relation);
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
revoke all on function tds.move_floor(tds.reading_floor, bigint) from public;
comment on function tds.move_floor(tds.reading_floor, bigint) is
'Moves the floor of a table up, if it can be: to the lowest row that there is, as far as nobody may still bring a lower one. read: the '
'lowest that was read just now, so that what lies far below is set aside; null: none was there; 0: nothing is set aside.';

create or replace function tds.forget_floor(relation text) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    delete from tds.reading_floor f where f.relation = forget_floor.relation;
end
$$;
revoke all on function tds.forget_floor(text) from public;
comment on function tds.forget_floor(text) is 'Has a table read from its beginning again.';

create or replace function tds.queue_table(queue text) returns text
language sql stable
as $$ select format('pgmq.%I', 'q_' || tds.queue_name($1)) $$;
comment on function tds.queue_table(text) is 'The name of the table of pgmq''s that holds the queue.';

create or replace function tds.claims_from() returns bigint
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return (tds.floor_of('tds.claim')).floor;
end
$$;
revoke all on function tds.claims_from() from public;
comment on function tds.claims_from() is 'The number from which on the claims have to be looked through: none is lower.';
