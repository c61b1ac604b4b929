-- The shards themselves, and the moves of organisations between them: tds shard … calls these.

create or replace function tds.add_shard(name text, conninfo text, admin_conninfo text default null) returns int
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now    constant timestamptz := tds.now();
    v_number int;
begin
    lock table tds.shard in share row exclusive mode;
    insert into tds.shard as s (number, name, conninfo, admin_conninfo, added_at)
    values (coalesce((select s.number from tds.shard s where s.name = add_shard.name), (select max(m.number) + 1 from tds.shard m), 0),
            add_shard.name, add_shard.conninfo, add_shard.admin_conninfo, v_now)
    on conflict on constraint shard_pkey do update
       set conninfo = excluded.conninfo, admin_conninfo = excluded.admin_conninfo, removed_at = null
    returning s.number into v_number;
    update tds.router set cluster_version = cluster_version + 1;
    return v_number;
end
$$;
revoke all on function tds.add_shard(text, text, text) from public;
comment on function tds.add_shard(text, text, text) is 'Registers a shard, or another way to one that is registered; returns its number.';

create or replace function tds.remove_shard(name text) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_number constant int := (select s.number from tds.shard s where s.name = remove_shard.name and s.removed_at is null);
    v_reason text;
begin
    lock table tds.directory, tds.shard in share row exclusive mode;
    v_reason := case
        when v_number is null then 'there is no such shard'
        when v_number = tds.default_shard() then 'it is the default one: what nobody knows goes there'
        when exists (select from tds.directory d where v_number in (d.shard, d.arrives_at)) then 'organisations are there'
        when exists (select from tds.move m where v_number in (m.from_shard, m.to_shard) and m.step <> 'done')
            then 'a move from or to it is not done' end;
    if v_reason is not null then
        raise exception using errcode = 'ZB083', message = 'the shard cannot be removed: ' || v_reason, detail = remove_shard.name,
            hint = 'tds shard list; tds shard move ORG --to ANOTHER';
    end if;
    update tds.shard s set removed_at = tds.now() where s.number = v_number;
    update tds.router set cluster_version = cluster_version + 1;
end
$$;
revoke all on function tds.remove_shard(text) from public;
comment on function tds.remove_shard(text) is 'Forgets a shard that no organisation is on; its database stays as it is. Raises ZB083.';

create or replace function tds.place(organization_id text, shard text) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now    constant timestamptz := tds.now();
    v_number constant int := (select s.number from tds.shard s where s.name = place.shard and s.removed_at is null);
begin
    if v_number is null then
        raise exception using errcode = 'ZB083', message = 'there is no such shard', detail = place.shard, hint = 'tds shard list';
    end if;
    insert into tds.directory as d (organization_id, shard, changed_at) values (place.organization_id, v_number, v_now)
    on conflict on constraint directory_pkey do nothing;
    if not exists (select from tds.directory d where d.organization_id = place.organization_id and d.shard = v_number) then
        raise exception using errcode = 'ZB083', message = 'the organisation is on another shard', detail = place.organization_id,
            hint = format('tds shard move %s --to %s', place.organization_id, place.shard);
    end if;
end
$$;
revoke all on function tds.place(text, text) from public;
comment on function tds.place(text, text) is
'Says that an organisation, of which nothing has come so far, is on a shard. One that is elsewhere is moved: raises ZB083.';

create or replace function tds.begin_move(organization_id text, shard text) returns tds.move
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now  constant timestamptz := tds.now();
    v_to   constant int := (select s.number from tds.shard s where s.name = begin_move.shard and s.removed_at is null);
    v_move tds.move;
begin
    lock table tds.directory in share row exclusive mode;
    select m.* into v_move from tds.move m where m.organization_id = begin_move.organization_id and m.step <> 'done';
    if v_to is null or v_move.to_shard <> v_to then
        raise exception using errcode = 'ZB083',
            message = case when v_to is null then 'there is no such shard' else 'the organisation is being moved to another shard' end,
            detail = begin_move.shard, hint = 'tds shard list';
    elsif v_move.move_id is not null then
        return v_move;
    end if;
    insert into tds.directory (organization_id, shard, changed_at)
    values (begin_move.organization_id, tds.default_shard(), v_now)
    on conflict on constraint directory_pkey do nothing;
    insert into tds.move (organization_id, from_shard, to_shard, step, began_at, changed_at)
    select d.organization_id, d.shard, v_to, 'copy', v_now, v_now
      from tds.directory d where d.organization_id = begin_move.organization_id and d.shard <> v_to
    returning move.* into v_move;
    return v_move;
end
$$;
revoke all on function tds.begin_move(text, text) from public;
comment on function tds.begin_move(text, text) is
'Begins to move an organisation, or goes on with the move that is under way; all null: it is there. Raises ZB083.';

create or replace function tds.forget_move(move_id bigint) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    delete from tds.move m where m.move_id = forget_move.move_id and m.step <> 'done';
    update tds.directory d set arrives_at = null where d.arrives_at is not null and not exists (
        select from tds.move m where m.organization_id = d.organization_id and m.step <> 'done');
end
$$;
revoke all on function tds.forget_move(bigint) from public;
comment on function tds.forget_move(bigint) is
'Takes back a move that is not to be: the organisation is elsewhere by what the shards know, or the router is of before its end.';

create or replace function tds.step_move(move_id bigint, step text, row_count bigint default null) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now  constant timestamptz := tds.now();
    v_move tds.move;
begin
    update tds.move m set step = step_move.step, changed_at = v_now, row_count = coalesce(step_move.row_count, m.row_count)
     where m.move_id = step_move.move_id
    returning m.* into v_move;
    -- from fence on new events go to the other shard and wait there; from remove on it has all, and is read
    update tds.directory d
       set shard = case when step_move.step in ('remove', 'done') then v_move.to_shard else v_move.from_shard end,
           arrives_at = case when step_move.step in ('fence', 'drain', 'carry', 'open') then v_move.to_shard end,
           changed_at = v_now
     where d.organization_id = v_move.organization_id;
end
$$;
revoke all on function tds.step_move(bigint, text, bigint) from public;
comment on function tds.step_move(bigint, text, bigint) is
'A move has come to a step: the directory says what that means, in the same commit.';

create or replace function tds.report_shards() returns table (shard text, number int, organizations bigint, arriving bigint,
    rows bigint, open bigint, dead bigint, health text, migration text, error text, added_at timestamptz)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    select s.name, s.number, (select count(*) from tds.directory d where d.shard = s.number),
           (select count(*) from tds.directory d where d.arrives_at = s.number),
           (a.answer ->> 'rows')::bigint, (a.answer ->> 'open')::bigint, (a.answer ->> 'dead')::bigint,
           coalesce(a.answer ->> 'health', 'away'), a.answer ->> 'migration', a.error, s.added_at
      from tds.shard s
      left join tds.ask_all('report', '{}', true) a on a.shard = s.name
     where s.removed_at is null
     order by s.number;
end
$$;
revoke all on function tds.report_shards() from public;
comment on function tds.report_shards() is 'The shards, how many organisations the directory has on each, and how each stands.';

create or replace function tds.misplaced() returns table (organization_id text, shard text, belongs_to text, told text,
                                                         next_step text)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    with stands as materialized (
        select d.organization_id, d.shard, s.number, s.name, a.answer
          from tds.ask_all('shard_organizations', '{}', true) a
          join tds.shard s on s.name = a.shard
          join tds.directory d on a.answer -> 'left' ? d.organization_id or a.answer -> 'here' ? d.organization_id
         where not exists (select from tds.move m where m.organization_id = d.organization_id and m.step <> 'done'))
    select t.organization_id, t.name, l.name, 'the directory has it on a shard that it has left',
           format('tds shard move %s --to %s, which puts the directory right', t.organization_id, l.name)
      from stands t cross join lateral (select t.answer -> 'left' ->> t.organization_id as name) l
     where t.number = t.shard and l.name is not null
    union all
    select t.organization_id, t.name, s.name, 'it is on both, and Zoho is asked for it by both',
           format('tds org remove %s, with the URL of %s itself', t.organization_id, t.name)
      from stands t
      join tds.shard s on s.number = t.shard
     where t.number <> t.shard and t.answer -> 'here' ? t.organization_id
     order by 1, 2;
end
$$;
revoke all on function tds.misplaced() from public;
comment on function tds.misplaced() is
'Organisations that are elsewhere than the directory says, as after a restore of the router (they have left that shard) or of a shard '
'(they are on that one again). A shard that is away is left out.';
