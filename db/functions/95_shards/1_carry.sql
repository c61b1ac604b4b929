-- An organisation's way from this database to another one, in steps that may be repeated: tds shard move calls them.

create or replace function tds.become_shard(name text, number int) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now   constant timestamptz := tds.now();
    v_first constant bigint := become_shard.number * 1000000000000;
    v_taken text;
begin
    if exists (select from tds.own_shard s where s.number <> become_shard.number or s.name <> become_shard.name) then
        raise exception using errcode = 'ZB082', message = 'this database is another shard already',
            detail = (select format('%s, number %s', s.name, s.number) from tds.own_shard s), hint = 'tds shard list';
    end if;
    -- numbers of different shards must never be the same: rows keep theirs when they move
    select string_agg(q.sequencename, ', ' order by q.sequencename) into v_taken
      from pg_sequences q
     where v_first > 0 and q.last_value < v_first
       and (q.schemaname = 'zoho' or q.schemaname = 'tds' and q.sequencename in ('inbox_id_seq', 'run_run_id_seq'));
    if v_taken is not null then
        raise exception using errcode = 'ZB082', message = 'this database has rows with numbers that belong to shard 0',
            detail = v_taken, hint = 'add it to the router first, as number 0, and others after it, or begin with an empty one';
    end if;
    insert into tds.own_shard (name, number, since) values (become_shard.name, become_shard.number, v_now)
    on conflict on constraint own_shard_pkey do nothing;
    perform setval(format('%I.%I', q.schemaname, q.sequencename)::regclass, v_first)
       from pg_sequences q
      where q.schemaname in ('tds', 'zoho') and q.data_type = 'bigint'::regtype and v_first > 0
        and coalesce(q.last_value, 0) < v_first;
end
$$;
revoke all on function tds.become_shard(text, int) from public;
comment on function tds.become_shard(text, int) is
'Makes this database the shard of that name and number: whatever it numbers from now on begins at number × 10^12. May be called again. '
'Raises ZB082.';

create or replace function tds.moved_tables(only_of text default null) returns table (
    place int, relation text, columns text[], key_columns text[], condition text, is_exact boolean, is_numbered boolean)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    select row_number() over (order by r.rank, r.relation)::int, r.relation, r.columns, r.key_columns, r.condition, r.is_exact,
           'inbox_id' = any (r.columns) and r.relation in ('tds.inbox', 'tds.inbox_held', 'tds.inbox_outcome', 'tds.dead_letter')
      from (
        select format('%I.%I', n.nspname, c.relname) as relation,
               array_agg(a.attname::text order by a.attnum) filter (where a.attgenerated = '') as columns,
               (select array_agg(k.attname::text order by x.n)
                  from pg_index i
                 cross join unnest(i.indkey::int2[]) with ordinality x(attnum, n)
                  join pg_attribute k on k.attrelid = c.oid and k.attnum = x.attnum
                 where i.indrelid = c.oid and i.indisprimary) as key_columns,
               coalesce(o.condition, 't.organization_id = %L') as condition,
               -- what a shard notes by itself of an organisation that is only arriving is not taken away
               c.relname <> all (array['wanted_detail', 'zoho_clock', 'unknown_asked', 'alert_mute', 'image_file',
                                       'column_to_fill']) as is_exact,
               -- what others are found by comes first; a row that goes may still note its stock
               case when c.relname = 'forgotten' then 0 when c.relname = 'inbox' then 1 when c.relname = 'stock_history' then 9
                    when o.condition is null then 2 else 3 end as rank
          from pg_class c
          join pg_namespace n on n.oid = c.relnamespace
          join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
          left join (values
                ('tds', 'inbox_outcome', 'exists (select from tds.inbox i where i.received_at = t.received_at and i.inbox_id = t.inbox_id'
                                         ' and i.organization_id = %L)'),
                ('tds', 'run_page', 't.run_id in (select r.run_id from tds.run r where r.organization_id = %L)'),
                ('tds', 'reconcile_task', 't.reconcile_id in (select r.reconcile_id from tds.reconcile_run r '
                                          'where r.organization_id = %L)'),
                ('tds', 'image_file', 't.sha256 in (select i.sha256 from tds.image i where i.organization_id = %L)')
                ) o(schema, name, condition) on o.schema = n.nspname and o.name = c.relname
         where n.nspname in ('tds', 'zoho') and c.relkind in ('r', 'p') and not c.relispartition
           and (moved_tables.only_of is null or c.oid = moved_tables.only_of::regclass)
           -- of this server, or of a moment
           and c.relname <> all (array['gate', 'alert', 'asking', 'lease', 'inbox_open'])
           and (o.condition is not null or exists (select from pg_attribute g
                                                    where g.attrelid = c.oid and g.attname = 'organization_id' and not g.attisdropped))
         group by n.nspname, c.relname, c.oid, o.condition) r;
end
$$;
revoke all on function tds.moved_tables(text) from public;
comment on function tds.moved_tables(text) is
'What is an organisation''s, in the order in which it is carried: each table, which of its rows (alias t; %L the organisation), whether '
'the other side may have no others, and whether rows count that came there by themselves. only_of: this table alone.';

create or replace function tds.rows_of(relation text, condition text, is_numbered boolean, organization_id text) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_own text;
begin
    if rows_of.is_numbered then
        -- what came here by itself meanwhile stays
        select format(' and not (t.inbox_id >= %s and t.inbox_id / 1000000000000 = %s)', g.first_inbox_id, s.number) into v_own
          from tds.gate g cross join tds.own_shard s
         where g.organization_id = rows_of.organization_id and g.state = 'arriving';
    end if;
    -- a relation's name comes quoted from the catalogue
    return format('from %s t where ', rows_of.relation) || format(rows_of.condition, rows_of.organization_id) || coalesce(v_own, '');
end
$$;
revoke all on function tds.rows_of(text, text, boolean, text) from public;
comment on function tds.rows_of(text, text, boolean, text) is
'tds.moved_rows() of a row of tds.moved_tables(): to find that takes longer than most of what is done with it.';

create or replace function tds.moved_rows(relation text, organization_id text) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return (select tds.rows_of(m.relation, m.condition, m.is_numbered, moved_rows.organization_id)
              from tds.moved_tables(moved_rows.relation) m);
end
$$;
revoke all on function tds.moved_rows(text, text) from public;
comment on function tds.moved_rows(text, text) is
'FROM and WHERE of an organisation''s rows of a table, those left out that came here by themselves.';

create or replace function tds.bucket_of(key_columns text[], buckets int) returns text
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
    select format('(''x'' || left(md5(row(%s)::text), 8))::bit(32)::bigint %% %s',
                  (select string_agg(format('t.%I', k.name), ', ' order by k.n)
                     from unnest(bucket_of.key_columns) with ordinality k(name, n)), bucket_of.buckets)
$$;
revoke all on function tds.bucket_of(text[], int) from public;
comment on function tds.bucket_of(text[], int) is 'An expression: the bucket of a row of t by its key, the same on every server.';

create or replace function tds.organization_sums(organization_id text, buckets int, relation_name text default null)
returns table (relation text, bucket int, row_count bigint, total numeric)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set intervalstyle = 'postgres'
set extra_float_digits = 1
set bytea_output = 'hex'
as $$
declare
    v_table record;
begin
    for v_table in select m.* from tds.moved_tables(organization_sums.relation_name) m order by m.place loop
        organization_sums.relation := v_table.relation;
        for organization_sums.bucket, organization_sums.row_count, organization_sums.total in execute format(
            'select (%s)::int, count(*), sum((''x'' || left(md5(row(%s)::text), 15))::bit(60)::bigint) %s group by 1',
            tds.bucket_of(v_table.key_columns, organization_sums.buckets),
            (select string_agg(format('t.%I', c.name), ', ' order by c.n) from unnest(v_table.columns) with ordinality c(name, n)),
            tds.rows_of(v_table.relation, v_table.condition, v_table.is_numbered, organization_sums.organization_id))
        loop
            return next;
        end loop;
    end loop;
end
$$;
revoke all on function tds.organization_sums(text, int, text) from public;
comment on function tds.organization_sums(text, int, text) is
'Of each table that has rows of an organisation (relation_name: of this one), how many there are in each of so many buckets, and a sum '
'over all that is in them: two shards are compared so.';

create or replace function tds.begin_carrying(organization_id text) returns void
language sql volatile
set search_path = pg_catalog, pg_temp
as $$ select tds.take_turn('tds.move', $1) $$;
revoke all on function tds.begin_carrying(text) from public;
comment on function tds.begin_carrying(text) is
'Waits for what a mover that was killed had just begun here; rows of the organisation are carried in this transaction.';

create or replace function tds.remove_moved(relation text, organization_id text, buckets int, chosen int[], at_most int default null)
returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_keys    constant text[] := (select m.key_columns from tds.moved_tables(remove_moved.relation) m);
    v_removed bigint;
begin
    perform set_config('tds.folds_history', 'on', true);
    execute format('delete from %I.%I d where (d.tableoid, d.ctid) in (select t.tableoid, t.ctid %s%s%s)',
                   split_part(remove_moved.relation, '.', 1), split_part(remove_moved.relation, '.', 2),
                   tds.moved_rows(remove_moved.relation, remove_moved.organization_id),
                   case when remove_moved.chosen is not null
                        then format(' and %s = any (%L)', tds.bucket_of(v_keys, remove_moved.buckets), remove_moved.chosen) end,
                   case when remove_moved.at_most is not null then format(' limit %s', remove_moved.at_most) end);
    get diagnostics v_removed = row_count;
    perform set_config('tds.folds_history', 'off', true);
    return v_removed;
end
$$;
revoke all on function tds.remove_moved(text, text, int, int[], int) from public;
comment on function tds.remove_moved(text, text, int, int[], int) is
'Removes an organisation''s rows of a table: those of the chosen buckets, or at most so many; returns how many.';

create or replace function tds.remove_left(organization_id text, at_most int) returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_table   record;
    v_removed bigint := 0::bigint;
begin
    -- other organisations may show the same picture; what hangs on others goes before them
    for v_table in select m.* from tds.moved_tables() m where m.relation <> 'tds.image_file' order by m.place desc loop
        v_removed := v_removed + tds.remove_moved(v_table.relation, remove_left.organization_id, null, null,
                                                  (remove_left.at_most - v_removed)::int);
        exit when v_removed >= remove_left.at_most;
    end loop;
    return v_removed;
end
$$;
revoke all on function tds.remove_left(text, int) from public;
comment on function tds.remove_left(text, int) is
'Removes at most so many rows of an organisation that has left; returns how many. Again until that is 0: what goes may leave a note of '
'that.';

create or replace function tds.set_gate(organization_id text, state text, other text) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now constant timestamptz := tds.now();
begin
    -- waits for whatever was stored by those who have not seen it yet; new ones wait for this
    lock table tds.gate in access exclusive mode;
    insert into tds.gate as g (organization_id, state, other, first_inbox_id, since)
    values (set_gate.organization_id, set_gate.state, set_gate.other,
            case when set_gate.state = 'arriving' then nextval('tds.inbox_id_seq') end, v_now)
    on conflict on constraint gate_pkey do update
       set state = excluded.state, other = excluded.other, first_inbox_id = excluded.first_inbox_id, since = excluded.since
     where g.state <> excluded.state;
end
$$;
revoke all on function tds.set_gate(text, text, text) from public;
comment on function tds.set_gate(text, text, text) is
'From its commit on an organisation''s events wait here (arriving) or are refused (departed, gone). Call it with a '
'lock_timeout, and again.';

create or replace function tds.let_go(organization_id text) returns int
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now    constant timestamptz := tds.now();
    v_living constant int[] := tds.living_sessions();
    v_asking constant int := (select count(*)::int from tds.asking a
                               where a.organization_id = let_go.organization_id and a.session = any (v_living));
begin
    if v_asking = 0 then
        -- of those that died: sessions have other numbers where it goes
        update tds.api_call c set settled_at = v_now where c.organization_id = let_go.organization_id and c.settled_at is null;
    end if;
    return v_asking;
end
$$;
revoke all on function tds.let_go(text) from public;
comment on function tds.let_go(text) is
'How many sessions ask Zoho for an organisation still, which is leaving: no further call is granted to them. 0: what they had asked for is '
'stored, and every call of it is ended.';

create or replace function tds.hold_queue(queue text, organization_id text) returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_held bigint;
begin
    -- what a worker that died had in hand
    perform tds.free_claims(hold_queue.queue);
    execute format($sql$
        with own as materialized (
            select o.inbox_id, o.retry_at from tds.inbox_open o
              join tds.inbox i on i.received_at = o.received_at and i.inbox_id = o.inbox_id
             where o.queue = $1 and i.organization_id = $2
        ), message as materialized (
            select m.msg_id, (m.message ->> 'inbox_id')::bigint as inbox_id from pgmq.%1$I m
             where (m.message ->> 'inbox_id')::bigint in (select o.inbox_id from own o)
        ), gone as (
            delete from pgmq.%1$I q
             where q.msg_id in (select f.msg_id from pgmq.%1$I f join message m on m.msg_id = f.msg_id
                                 where f.vt <= clock_timestamp() for update of f skip locked)
            returning (q.message ->> 'inbox_id')::bigint as inbox_id
        ), free as (
            select g.inbox_id from gone g
             union
            -- parked, or its message was lost
            select o.inbox_id from own o
             where o.inbox_id not in (select m.inbox_id from message m)
               and not exists (select from tds.claim c where o.inbox_id = any (c.inbox_ids))
        ), away as (
            delete from tds.inbox_open o
             where o.inbox_id in (select l.inbox_id from tds.inbox_open l join free f on f.inbox_id = l.inbox_id
                                   order by l.inbox_id for update of l)
            returning o.*)
        insert into tds.inbox_held (inbox_id, received_at, queue, entity, attempts, crashes, error_code, error, error_context,
                                    waiting_since, waits, at_most, organization_id)
        select a.inbox_id, a.received_at, a.queue, a.entity, a.attempts, a.crashes, a.error_code, a.error, a.error_context,
               a.waiting_since, a.waits, a.at_most, $2
          from away a order by a.inbox_id
        $sql$, 'q_' || tds.queue_name(hold_queue.queue))
      using hold_queue.queue, hold_queue.organization_id;
    get diagnostics v_held = row_count;
    return v_held;
end
$$;
revoke all on function tds.hold_queue(text, text) from public;
comment on function tds.hold_queue(text, text) is
'Takes an organisation''s events out of a queue, those that a worker has in hand excepted; returns how many.';

create or replace function tds.hold_events(organization_id text, out held bigint, out working bigint)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    select coalesce(sum(tds.hold_queue(q.queue, hold_events.organization_id)), 0)::bigint into hold_events.held
      from (select n.queue from tds.entity n group by n.queue order by n.queue) q;
    delete from pgmq.q_tds_pull m where m.message ->> 'organization_id' = hold_events.organization_id;
    hold_events.working := (
        select count(*) from tds.inbox_open o where o.organization_id = hold_events.organization_id);
end
$$;
revoke all on function tds.hold_events(text) from public;
comment on function tds.hold_events(text) is
'Takes an organisation''s open events and pulls out of all queues; held: how many it took, working: how many a worker has in hand. Again '
'until that is 0.';

create or replace function tds.open_gate(organization_id text) returns int
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_due  record;
    v_sent int := 0;
begin
    lock table tds.gate in access exclusive mode;
    delete from tds.gate g where g.organization_id = open_gate.organization_id and g.state = 'arriving';
    if not found then
        return 0;
    end if;
    -- whoever had taken it works for another database; what is answered has come along, and is processed here
    update tds.wanted_detail w set leased_until = null, leased_for = null, leased_by = null
     where w.organization_id = open_gate.organization_id and w.leased_by is not null;
    update tds.run r set session = null where r.organization_id = open_gate.organization_id and r.finished_at is null;
    perform tds.send_pull(r.run_id) from tds.run r
      where r.organization_id = open_gate.organization_id and r.message_id is not null and r.state in ('queued', 'running');
    for v_due in
        with gone as (
            delete from tds.inbox_held h where h.organization_id = open_gate.organization_id returning h.*
        ), opened as (
            insert into tds.inbox_open (inbox_id, received_at, queue, entity, attempts, crashes, error_code, error, error_context,
                                        waiting_since, waits, at_most, organization_id)
            select g.inbox_id, g.received_at, g.queue, g.entity, g.attempts, g.crashes, g.error_code, g.error, g.error_context,
                   g.waiting_since, g.waits, g.at_most, g.organization_id
              from gone g order by g.inbox_id
            returning inbox_id, received_at, queue)
        select o.queue, array_agg(o.inbox_id order by o.inbox_id) as inbox_ids,
               array_agg(o.received_at order by o.inbox_id) as received_ats,
               array_agg(coalesce(i.shape = 'list', false) order by o.inbox_id) as pages
          from opened o
          left join tds.inbox i on i.received_at = o.received_at and i.inbox_id = o.inbox_id
         group by o.queue
         order by o.queue
    loop
        perform tds.queue_send(v_due.queue, v_due.inbox_ids, v_due.received_ats, v_due.pages);
        v_sent := v_sent + cardinality(v_due.inbox_ids);
    end loop;
    perform pg_notify('tds_inbox', '');
    return v_sent;
end
$$;
revoke all on function tds.open_gate(text) from public;
comment on function tds.open_gate(text) is
'An organisation has arrived: what waited is open, and in its queues; returns how many events. Nothing where it had arrived before.';

create or replace function tds.take_back(organization_id text) returns boolean
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    lock table tds.gate in access exclusive mode;
    update tds.gate g set state = 'arriving' where g.organization_id = take_back.organization_id and g.state in ('departed', 'gone');
    if not found then
        return false;
    end if;
    perform tds.open_gate(take_back.organization_id);
    return true;
end
$$;
revoke all on function tds.take_back(text) from public;
comment on function tds.take_back(text) is
'Has an organisation here again that had left for a shard which no longer has it, with what there still is of it, its open events too; '
'false: it had not left.';
