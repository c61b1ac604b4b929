-- An organisation is removed in bounded steps: each a transaction of some rows, and whoever is killed goes on where he was.

insert into tds.setting (name, value, description) values
    ('org_remove_grace_seconds', '15',
        'How long an organisation''s row is kept at least after its removal began, in seconds, so that pollers and receivers let go of it.')
on conflict on constraint setting_pkey do nothing;

create or replace function tds.org_remove(organization_id text) returns tds.organization
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now constant timestamptz := tds.now();
    v_row tds.organization;
begin
    if not coalesce(tds.is_id(org_remove.organization_id), false)
       or not tds.is_own(org_remove.organization_id)
          and not exists (select from zoho.organizations z where z.organization_id = org_remove.organization_id)
          and not exists (select from tds.api_budget b where b.organization_id = org_remove.organization_id) then
        -- raises
        perform tds.organization_row(org_remove.organization_id);
    end if;
    insert into tds.organization as o (organization_id, credentials, webhook_credentials, state, state_at, added_at)
    values (org_remove.organization_id, 'env:NONE_', 'env:NONE_', 'removing', v_now, v_now)
    on conflict on constraint organization_pkey do update
       set state = 'removing', state_at = case when o.state = 'removing' then o.state_at else excluded.state_at end, state_reason = null
    returning o.* into v_row;
    return v_row;
end
$$;
revoke all on function tds.org_remove(text) from public;
comment on function tds.org_remove(text) is
'Begins the removal of an organisation, also of one that is no row but has data here: nothing more is asked of Zoho for it, its webhooks '
'are refused. tds.org_remove_step() erases, CALL tds.remove_organization() does both. Raises ZB070.';
grant execute on function tds.org_remove(text) to tds_operator;

create or replace function tds.org_erasers() returns table (pos int, relation text, statement text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    -- what is not begun first, then what would make rows of it anew, the bodies last but for the history that deletions write
    select q.n::int, format('pgmq.%s', q.name),
           format('with m as (select k.msg_id from pgmq.%1$I k where k.message ->> ''organization_id'' = $1 order by k.msg_id limit $2 '
                  'for update skip locked) delete from pgmq.%1$I k using m where k.msg_id = m.msg_id', q.name)
      from (select c.relname as name, row_number() over (order by c.relname) as n
              from pg_class c where c.relnamespace = 'pgmq'::regnamespace and c.relname in ('q_tds_pull', 'a_tds_pull')) q
     union all
    select 10, 'tds.run_page',
           'delete from tds.run_page p where p.ctid = any (array(select g.ctid from tds.run r join tds.run_page g on g.run_id = r.run_id '
           'where r.organization_id = $1 limit $2))'
     union all
    select 11, 'tds.alert_delivery',
           'delete from tds.alert_delivery d where d.ctid = any (array(select g.ctid from tds.alert a '
           'join tds.alert_delivery g on g.alert_ids @> array[a.alert_id] where a.organization_id = $1 limit $2))'
     union all
    select 100 + row_number() over (order by c.relname = 'stock_history', n.nspname desc, c.relname)::int,
           format('%s.%s', n.nspname, c.relname),
           format('delete from only %1$s t where t.ctid = any (array(select g.ctid from only %1$s g '
                  'where g.organization_id = $1 limit $2))',
                  c.oid::regclass)
      from pg_class c
      join pg_namespace n on n.oid = c.relnamespace
     where n.nspname in ('tds', 'zoho') and c.relkind = 'r'
       and exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'organization_id' and not a.attisdropped)
       and c.oid not in ('tds.organization'::regclass, 'tds.api_budget'::regclass, 'tds.inbox_open'::regclass)
       and not exists (select from pg_inherits i
                        where i.inhrelid = c.oid and i.inhparent in ('tds.inbox'::regclass, 'tds.inbox_outcome'::regclass))
     union all
    select 10000 + v.n, v.relation, v.statement
      from (values
        (1, 'tds.set_aside', 'delete from tds.set_aside s where $2 > 0 and s.item like ''% of '' || $1'),
        (2, 'tds.stray', 'delete from tds.stray s where $2 > 0 and s.path like ''%/'' || $1 || ''/%'''),
        (3, 'tds.health_result', 'delete from tds.health_result h where $2 > 0 and length($1) > 5 and position($1 in h.told) > 0'),
        (4, 'tds.health_state', 'update tds.health_state h set told = null where $2 > 0 and length($1) > 5 and position($1 in h.told) > 0'),
        (6, 'tds.lease', 'delete from tds.lease l where $2 > 0 and $1 = any (regexp_split_to_array(l.of, ''[^A-Za-z0-9_-]+''))'),
        (5, 'tds.heal_log', 'delete from tds.heal_log h where $2 > 0 and length($1) > 5 and (position($1 in h.subject) > 0 or '
                            'position($1 in h.detail) > 0)')) v(n, relation, statement);
end
$$;
revoke all on function tds.org_erasers() from public;
comment on function tds.org_erasers() is
'What erases an organisation ($1), so many rows at a time ($2), in that order: a statement for each table with an organization_id, found '
'in the catalogue, and those for what hangs on one without naming it. Events and bodies are tds.org_erase_events()''s.';

create or replace function tds.org_erase_open(organization_id text, most int) returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_queue record;
    v_rows  bigint := 0::bigint;
begin
    for v_queue in
        select k.queue, array_agg(k.inbox_id order by k.inbox_id) as inbox_ids
          from (select o.queue, o.inbox_id
                  from tds.inbox_open o
                 where exists (select from tds.inbox i where i.received_at = o.received_at and i.inbox_id = o.inbox_id
                                                         and i.organization_id = org_erase_open.organization_id)
                 order by o.inbox_id limit org_erase_open.most for update of o skip locked) k
         group by k.queue order by k.queue
    loop
        execute format('delete from pgmq.%I q where (q.message ->> ''inbox_id'')::bigint = any ($1)', 'q_' || tds.queue_name(v_queue.queue))
          using v_queue.inbox_ids;
        delete from tds.inbox_open o where o.inbox_id = any (v_queue.inbox_ids);
        v_rows := v_rows + cardinality(v_queue.inbox_ids);
    end loop;
    return v_rows;
end
$$;
revoke all on function tds.org_erase_open(text, int) from public;
comment on function tds.org_erase_open(text, int) is
'Erases events of an organisation that are not finished, and their messages; those in hand just now stay for the next time.';

create or replace function tds.org_erase_bodies(organization_id text, most int) returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_rows bigint;
begin
    with taken as materialized (
        select i.received_at, i.inbox_id
          from tds.inbox i
         where i.organization_id = org_erase_bodies.organization_id
           and not exists (select from tds.inbox_open o where o.inbox_id = i.inbox_id)
         limit org_erase_bodies.most
    ), bodiless as materialized (
        select o.received_at, o.inbox_id
          from tds.inbox_outcome o
         where o.organization_id = org_erase_bodies.organization_id
           and not exists (select from tds.inbox i where i.received_at = o.received_at and i.inbox_id = o.inbox_id)
         limit org_erase_bodies.most
    ), outcomes as (
        delete from tds.inbox_outcome o
         using (select t.received_at, t.inbox_id from taken t union all select b.received_at, b.inbox_id from bodiless b) s
         where o.received_at = s.received_at and o.inbox_id = s.inbox_id
        returning o.entity, (o.received_at at time zone 'UTC')::date as day, o.status
    ), counted as (
        select o.entity, o.day, o.status, count(*) as events from outcomes o group by o.entity, o.day, o.status
    ), counters as (
        insert into tds.outcome_counter as c (entity, day, status, slot, events)
        select k.entity, k.day, k.status, 0, -k.events from counted k order by k.entity, k.day, k.status
        on conflict on constraint outcome_counter_pkey do update set events = c.events + excluded.events
    ), past as (
        -- so that how many there ever were only grows
        insert into tds.outcome_past as p (entity, status, events)
        select k.entity, k.status, sum(k.events) from counted k group by k.entity, k.status order by k.entity, k.status
        on conflict on constraint outcome_past_pkey do update set events = p.events + excluded.events
    ), samples as (
        delete from tds.drift d using taken s where d.first_inbox_id = s.inbox_id
    ), bodies as (
        delete from tds.inbox i using taken s where i.received_at = s.received_at and i.inbox_id = s.inbox_id
    )
    select (select count(*) from taken) + (select count(*) from bodiless) into v_rows;
    return v_rows;
end
$$;
revoke all on function tds.org_erase_bodies(text, int) from public;
comment on function tds.org_erase_bodies(text, int) is
'Erases finished events of an organisation: bodies, outcomes, also of bodies that are gone, and what was noted of unknown keys in them; '
'the counters say what is left.';

create or replace function tds.org_erase_some(told tds.organization, most int, out pos int, out relation text, out removed bigint)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_eraser record;
begin
    perform set_config('tds.folds_history', 'on', true);
    for v_eraser in
        select e.pos, e.relation, e.statement from tds.org_erasers() e
        union all select 5, 'tds.inbox_open', null
        union all select 9000, 'tds.inbox', null
        order by 1
    loop
        continue when v_eraser.pos < (org_erase_some.told).removal_position;
        org_erase_some.pos := v_eraser.pos;
        org_erase_some.relation := v_eraser.relation;
        if v_eraser.pos = 5 then
            org_erase_some.removed := tds.org_erase_open((org_erase_some.told).organization_id, org_erase_some.most);
        elsif v_eraser.pos = 9000 then
            org_erase_some.removed := tds.org_erase_bodies((org_erase_some.told).organization_id, org_erase_some.most);
        else
            execute v_eraser.statement using (org_erase_some.told).organization_id, org_erase_some.most;
            get diagnostics org_erase_some.removed = row_count;
        end if;
        exit when org_erase_some.removed > 0;
    end loop;
    perform set_config('tds.folds_history', 'off', true);
end
$$;
revoke all on function tds.org_erase_some(tds.organization, int) from public;
comment on function tds.org_erase_some(tds.organization, int) is
'Erases some rows of the next table that has any of an organisation, from the position on that its removal has reached.';

create or replace function tds.org_forget_settings(organization_id text) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    update tds.setting s set value = s.value - org_forget_settings.organization_id
     where s.name = 'organization_ids' and s.value ? org_forget_settings.organization_id;
    update tds.setting s set value = '"default"'
     where s.name = 'organization_id' and s.value #>> '{}' = org_forget_settings.organization_id;
    -- the views of readers that were bound to it; their roles are the administrator's
    execute format('drop schema if exists %I cascade', 'tds_org_' || org_forget_settings.organization_id);
    delete from tds.api_budget b where b.organization_id = org_forget_settings.organization_id;
    delete from tds.organization o where o.organization_id = org_forget_settings.organization_id;
end
$$;
revoke all on function tds.org_forget_settings(text) from public;
comment on function tds.org_forget_settings(text) is 'Erases what names an organisation of which nothing else is left.';

create or replace function tds.org_remove_step(
    organization_id text, most int default 5000, out relation text, out removed bigint, out removed_rows bigint, out is_done boolean)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now constant timestamptz := tds.now();
    v_row tds.organization;
    v_pos int;
begin
    select o.* into v_row from tds.organization o where o.organization_id = org_remove_step.organization_id for update;
    if v_row.state is distinct from 'removing' then
        raise exception using errcode = 'ZB077', message = 'the organisation is not being removed',
            detail = coalesce(org_remove_step.organization_id, ''), hint = 'tds org remove begins that';
    end if;
    select e.pos, e.relation, e.removed into v_pos, org_remove_step.relation, org_remove_step.removed
      from tds.org_erase_some(v_row, greatest(1, org_remove_step.most)) e;
    org_remove_step.is_done := false;
    if org_remove_step.removed > 0 then
        update tds.organization o
           set removal_position = v_pos, removal_found = o.removal_found + org_remove_step.removed,
               removed_rows = o.removed_rows + org_remove_step.removed
         where o.organization_id = v_row.organization_id
        returning o.removed_rows into org_remove_step.removed_rows;
        return;
    end if;
    org_remove_step.relation := null;
    org_remove_step.removed_rows := v_row.removed_rows;
    -- a pass that found nothing, begun after batches and calls of before the first such had ended: nothing is left
    if v_row.removal_found = 0 and v_row.emptied_at is not null and v_row.removal_position = 0
       and not exists (select from tds.claim c where c.claimed_at <= v_row.emptied_at)
       and v_now >= v_row.state_at + make_interval(secs => tds.setting_int('org_remove_grace_seconds')) then
        perform tds.org_forget_settings(v_row.organization_id);
        org_remove_step.is_done := true;
        return;
    end if;
    update tds.organization o
       set removal_position = 0, removal_found = 0,
           emptied_at = case when v_row.removal_found = 0 then coalesce(v_row.emptied_at, v_now) end
     where o.organization_id = v_row.organization_id;
end
$$;
revoke all on function tds.org_remove_step(text, int) from public;
comment on function tds.org_remove_step(text, int) is
'Erases at most so many rows of an organisation that is being removed: of which table, how many, how many so far, and whether nothing is '
'left. Each call is a transaction; call it until is_done, and with none removed wait a little. Raises ZB077.';
grant execute on function tds.org_remove_step(text, int) to tds_operator;

create or replace procedure tds.remove_organization(organization_id text, most int default 5000)
language plpgsql
as $$
declare
    v_step record;
begin
    perform tds.org_remove(remove_organization.organization_id);
    commit;
    loop
        select s.relation, s.removed, s.is_done into v_step
          from tds.org_remove_step(remove_organization.organization_id, remove_organization.most) s;
        commit;
        exit when v_step.is_done;
        if v_step.removed = 0 then
            perform pg_catalog.pg_sleep(0.5);
        end if;
    end loop;
end
$$;
revoke all on procedure tds.remove_organization(text, int) from public;
comment on procedure tds.remove_organization(text, int) is
'Removes an organisation and all that is known of it, in transactions of at most so many rows; broken off, the same call goes on. Raises '
'ZB070.';
grant execute on procedure tds.remove_organization(text, int) to tds_operator;
