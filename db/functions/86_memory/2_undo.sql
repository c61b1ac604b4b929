-- What a pull wrote, taken back: its new rows go, its changes are put back from the history, and what came since stays.

create or replace function tds.events_of_run(run_id bigint) returns bigint[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_run constant tds.run := tds.run_of(events_of_run.run_id);
begin
    return array(
        with recursive event as (
            select i.inbox_id
              from tds.inbox i
             where i.received_at >= v_run.started_at and i.organization_id = v_run.organization_id
               and (i.run_id = v_run.run_id or i.headers ->> 'for_run' = v_run.run_id::text)
             union
            -- records that left their page, and what was sent on its way again
            select i.inbox_id
              from event e
              join tds.inbox i on i.received_at >= v_run.started_at and i.source in ('retry', 'replay')
                              and i.headers ->> 'of_event' = e.inbox_id::text
        )
        select e.inbox_id from event e order by e.inbox_id);
end
$$;
revoke all on function tds.events_of_run(bigint) from public;
comment on function tds.events_of_run(bigint) is
'The events that a pull brought: its pages, the details that it wanted, and retries of either. Raises ZB012.';

create or replace function tds.may_be_undone(run_id bigint, events bigint[]) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_run  constant tds.run := tds.run_of(may_be_undone.run_id);
    v_told text;
    v_hint text;
begin
    if v_run.state = 'running' then
        v_told := 'it is still running';
        v_hint := format('select tds.cancel_run(%s)', v_run.run_id);
    elsif exists (select from tds.inbox_open o where o.inbox_id = any (may_be_undone.events)) then
        v_told := 'some of its pages are not finished';
        v_hint := 'CALL tds.process_batch(); what stays: select * from tds.inbox_open';
    elsif (select count(*) from tds.inbox i where i.run_id = v_run.run_id and i.received_at >= v_run.started_at and i.shape = 'list')
          < v_run.pages then
        v_told := 'its pages are no longer kept';
        v_hint := 'the setting keep_inbox_days says how long they are; a full pull brings what Zoho says now';
    end if;
    if v_told is not null then
        raise exception using errcode = 'ZB046', message = format('run %s cannot be taken back: %s', v_run.run_id, v_told), hint = v_hint;
    end if;
end
$$;
revoke all on function tds.may_be_undone(bigint, bigint[]) from public;
comment on function tds.may_be_undone(bigint, bigint[]) is
'Raises ZB046 for a run that is not over, or of which the pages are no longer kept.';

create or replace function tds.told_by(entity text, events bigint[], since timestamptz)
returns table (zoho_id text, last_event bigint, observed_at timestamptz)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_events record;
begin
    select coalesce(array_agg(i.inbox_id order by i.inbox_id), '{}') as inbox_ids,
           coalesce(array_agg(i.received_at order by i.inbox_id), '{}') as received_ats
      into v_events
      from tds.inbox i
      join tds.inbox_outcome o on o.received_at = i.received_at and o.inbox_id = i.inbox_id and o.applied > 0
     where i.inbox_id = any (told_by.events) and i.received_at >= told_by.since and i.entity = told_by.entity and i.refusal is null;
    return query
    select r.zoho_id, max(r.inbox_id), max(r.observed_at)
      from unnest(tds.explode(told_by.entity, tds.read_events(told_by.entity, v_events.inbox_ids, v_events.received_ats))) r
      join tds.inbox_outcome o on o.received_at = r.received_at and o.inbox_id = r.inbox_id
     where r.zoho_id is not null and (o.outcomes is null or substr(o.outcomes, r.position, 1) = 'a')
     group by r.zoho_id;
end
$$;
revoke all on function tds.told_by(text, bigint[], timestamptz) from public;
comment on function tds.told_by(text, bigint[], timestamptz) is
'The records of which these events wrote a row, and when they were last observed by one of them.';

create or replace function tds.undo_entity(entity tds.entity, organization_id text, events bigint[], since timestamptz)
returns setof tds.undo_step
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_entity constant tds.entity := undo_entity.entity;
    v_written text[];
begin
    v_written := array(select t.zoho_id from tds.told_by(v_entity.entity, undo_entity.events, undo_entity.since) t);
    return query execute format(
        $sql$
        with told as materialized (
            select t.* from tds.told_by(%3$L, $2, $3) t
        ), later as materialized (
            -- what was told since, though it changed nothing
            select r.zoho_id, max(r.inbox_id) as inbox_id
              from unnest(tds.later_records((select n from tds.entity n where n.entity = %3$L), $1, $4,
                                            (select min(t.observed_at) from told t))) r
              join told t on t.zoho_id = r.zoho_id and r.inbox_id > t.last_event and r.observed_at > t.observed_at
             where r.inbox_id <> all ($2)
             group by r.zoho_id
        ), step as materialized (
            -- back from the newest, as far as it was the run that wrote
            select h.*, bool_and(h.inbox_id is not null and h.inbox_id = any ($2)) over back as is_runs
              from tds.record_history h
             where h.organization_id = $1 and h.target = %1$L and h.zoho_id = any ($4)
            window back as (partition by h.zoho_id order by h.history_id desc rows unbounded preceding)
        ), base as (
            select s.zoho_id, count(*) as steps, min(s.history_id) as history_id,
                   (array_agg(s.was_event order by s.history_id))[1] as was_event,
                   (array_agg(s.was_version order by s.history_id))[1] as was_version
              from step s where s.is_runs group by s.zoho_id
        )
        select w.zoho_id, a.action,
               case when a.action <> 'kept' then b.was_event when m.sync_event > w.last_event then m.sync_event
                    else coalesce(l.inbox_id, m.sync_event) end,
               case when m.%2$I is null then 'its row is gone'
                    when a.action = 'kept' and m.sync_event > w.last_event then format('event %%s has written it since', m.sync_event)
                    when a.action = 'kept' and l.inbox_id is not null then format('event %%s has told of it since', l.inbox_id)
                    when a.action = 'kept' then 'it is not as the run left it: taken back already, or written by hand'
                    when a.action = 'refused' then 'its history was not kept: what it was is not known. '
                        'select tds.keep_history(entity) for the next time; a pull of Zoho''s list brings what Zoho says now; '
                        'partly => true takes back the others'
                    when a.action = 'removed' then 'the run brought it'
                    else format('as event %%s left it', b.was_event) end,
               b.history_id
          from told w
          left join zoho.%1$I m on m.organization_id = $1 and m.%2$I = w.zoho_id
          left join later l on l.zoho_id = w.zoho_id
          left join base b on b.zoho_id = w.zoho_id
         cross join lateral (
               select case when m.%2$I is null or l.inbox_id is not null or m.sync_event is null or m.sync_event <> all ($2) then 'kept'
                           -- the first of its versions was the run's
                           when b.steps is null and m.sync_version = 1 or b.was_version = 1 and b.was_event = any ($2) then 'removed'
                           when b.history_id is not null and (b.was_event is null or b.was_event <> all ($2)) then 'restored'
                           else 'refused' end) a(action)
         order by w.zoho_id$sql$, v_entity.target, v_entity.target_key, v_entity.entity)
        using undo_entity.organization_id, undo_entity.events, undo_entity.since, v_written;
end
$$;
revoke all on function tds.undo_entity(tds.entity, text, bigint[], timestamptz) from public;
comment on function tds.undo_entity(tds.entity, text, bigint[], timestamptz) is
'What becomes of each record that these events wrote: removed, restored (to the row before history_id), kept (something newer came), or '
'refused (its history is not known).';

create or replace function tds.remove_run_rows(entity tds.entity, organization_id text, zoho_ids text[]) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    perform tds.remove_records(remove_run_rows.entity, remove_run_rows.organization_id, remove_run_rows.zoho_ids);
    delete from tds.wanted_detail w
     where w.organization_id = remove_run_rows.organization_id and w.entity = any (tds.namesakes((remove_run_rows.entity).entity))
       and w.zoho_id = any (remove_run_rows.zoho_ids);
end
$$;
revoke all on function tds.remove_run_rows(tds.entity, text, text[]) from public;
comment on function tds.remove_run_rows(tds.entity, text, text[]) is
'Removes rows that a run brought, with what hangs on them, the links that lead to them, and the wish for their details.';

create or replace function tds.states_before(entity tds.entity, organization_id text, zoho_ids text[], history_ids bigint[])
returns tds.record_state[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_states tds.record_state[];
begin
    execute format(
        $sql$
        with recursive step as (
            select m.%2$I as zoho_id, m.zoho_metadata as doc, m.sync_version, g.history_id as last_id,
                   (select max(h.history_id) from tds.record_history h
                     where h.organization_id = $1 and h.target = %1$L and h.zoho_id = m.%2$I) as next_id
              from zoho.%1$I m
              join unnest($2, $3) g(zoho_id, history_id) on g.zoho_id = m.%2$I
             where m.organization_id = $1
             union all
            select s.zoho_id, tds.as_it_was(s.doc, h.back), s.sync_version, s.last_id,
                   (select max(o.history_id) from tds.record_history o
                     where o.organization_id = $1 and o.target = %1$L and o.zoho_id = s.zoho_id and o.history_id < s.next_id)
              from step s
              join tds.record_history h on h.organization_id = $1 and h.target = %1$L and h.zoho_id = s.zoho_id and h.history_id = s.next_id
             where s.next_id >= s.last_id
        )
        select array_agg(row(s.zoho_id, s.doc, s.sync_version + 1, h.was_hash, h.was_modified_at, h.was_observed_at, h.was_rank,
            h.was_read_at,
                             h.was_deleted_at, h.was_layers, h.was_event)::tds.record_state order by s.zoho_id)
          from step s
          join tds.record_history h on h.organization_id = $1 and h.target = %1$L and h.zoho_id = s.zoho_id and h.history_id = s.last_id
         where s.next_id is null or s.next_id < s.last_id$sql$, (states_before.entity).target, (states_before.entity).target_key)
       into v_states using states_before.organization_id, states_before.zoho_ids, states_before.history_ids;
    return v_states;
end
$$;
revoke all on function tds.states_before(tds.entity, text, text[], bigint[]) from public;
comment on function tds.states_before(tds.entity, text, text[], bigint[]) is
'Records as they were before these changes (record_history.history_id), as states to be written over what they are.';

create or replace function tds.restore_run_rows(entity tds.entity, organization_id text, zoho_ids text[], history_ids bigint[],
    at timestamptz)
returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_states constant tds.record_state[] := tds.states_before(restore_run_rows.entity, restore_run_rows.organization_id,
                                                              restore_run_rows.zoho_ids, restore_run_rows.history_ids);
    v_last   constant bigint := coalesce((select max(h.history_id) from tds.record_history h), 0);
    v_child  tds.child;
    v_beside tds.beside;
begin
    -- whole: of a document that knows nothing of prices or places, those that the run brought go
    if cardinality(tds.write_whole((restore_run_rows.entity).entity, restore_run_rows.organization_id, v_states, restore_run_rows.at))
       < cardinality(restore_run_rows.zoho_ids) then
        raise exception using errcode = 'ZB046', message = 'a record of the run was written meanwhile',
            detail = (restore_run_rows.entity).entity, hint = 'nothing was taken back: look once more, and again';
    end if;
    update tds.record_history h set kind = 'undone', inbox_id = null
     where h.history_id > v_last and h.organization_id = restore_run_rows.organization_id and h.target = (restore_run_rows.entity).target
       and h.zoho_id = any (restore_run_rows.zoho_ids);
    -- the row's own books as they were, and those of the rows that hang on it: each was written when it last became another
    execute format('update zoho.%1$I t set sync_version = h.was_version, synced_at = h.was_synced_at
                      from tds.record_history h
                     where h.history_id = any ($2) and h.organization_id = $1 and h.target = %1$L
                       and t.organization_id = $1 and t.%2$I = h.zoho_id',
                   (restore_run_rows.entity).target, (restore_run_rows.entity).target_key)
      using restore_run_rows.organization_id, restore_run_rows.history_ids;
    for v_child in select c.* from tds.child c where c.entity = (restore_run_rows.entity).entity order by c.list_key loop
        execute format(
            $sql$
            update zoho.%1$I t
               set synced_at = coalesce(
                       (select max(h.written_at) from tds.record_history h
                         where h.organization_id = $1 and h.target = %2$L and h.zoho_id = t.%3$I and h.history_id < g.history_id
                           and h.kind <> 'undone'
                           and (h.back -> 'rows' -> %4$L -> 'at' ? t.%5$I::text or h.back -> 'set' ? %4$L or h.back -> 'gone' ? %4$L
                                or t.%5$I > (h.back -> 'rows' -> %4$L ->> 'n')::int)),
                       (select h.was_synced_at from tds.record_history h
                         where h.organization_id = $1 and h.target = %2$L and h.zoho_id = t.%3$I order by h.history_id limit 1))
              from unnest($2, $3) g(zoho_id, history_id)
              join tds.record_history u
                on u.organization_id = $1 and u.target = %2$L and u.zoho_id = g.zoho_id and u.history_id = g.history_id
             -- also what the run wrote twice, and the second time as it was before
             where t.organization_id = $1 and t.%3$I = g.zoho_id and t.synced_at >= u.written_at$sql$,
            v_child.target, (restore_run_rows.entity).target, v_child.parent_column, v_child.list_key, v_child.position_column)
          using restore_run_rows.organization_id, restore_run_rows.zoho_ids, restore_run_rows.history_ids;
    end loop;
    for v_beside in select b.* from tds.beside b where b.entity = (restore_run_rows.entity).entity order by b.target loop
        execute format('update zoho.%1$I t set synced_at = h.was_synced_at
                          from tds.record_history h
                         where h.history_id = any ($2) and h.organization_id = $1 and h.target = %2$L
                           and t.organization_id = $1 and t.%3$I = h.zoho_id and t.synced_at = $3',
                       v_beside.target, (restore_run_rows.entity).target, v_beside.id_column)
          using restore_run_rows.organization_id, restore_run_rows.history_ids, restore_run_rows.at;
    end loop;
end
$$;
revoke all on function tds.restore_run_rows(tds.entity, text, text[], bigint[], timestamptz) from public;
comment on function tds.restore_run_rows(tds.entity, text, text[], bigint[], timestamptz) is
'Writes rows as they were before a run''s changes, byte for byte, their versions and times included; the history keeps that it was undone. '
'Raises ZB046 where a worker was faster.';

create or replace function tds.undo_run(run_id bigint, dry boolean default true, partly boolean default false)
returns table (entity text, zoho_id text, action text, event bigint, note text)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now    constant timestamptz := tds.now();
    v_run    constant tds.run := tds.run_of(undo_run.run_id);
    v_events constant bigint[] := tds.events_of_run(undo_run.run_id);
    v_entity tds.entity;
    v_all    jsonb := '[]'::jsonb;
    v_plan   record;
begin
    perform tds.may_be_undone(undo_run.run_id, v_events);
    for v_entity in
        select n.* from tds.entity n
         where n.entity in (select i.entity from tds.inbox i where i.inbox_id = any (v_events) and i.received_at >= v_run.started_at)
         order by n.priority
    loop
        v_all := v_all || coalesce((select jsonb_agg(to_jsonb(u) || jsonb_build_object('entity', v_entity.entity) order by u.zoho_id)
                                      from tds.undo_entity(v_entity, v_run.organization_id, v_events, v_run.started_at) u), '[]');
    end loop;
    if not undo_run.dry and not undo_run.partly and exists (select from jsonb_array_elements(v_all) e(u)
        where e.u ->> 'action' = 'refused') then
        raise exception using errcode = 'ZB047',
            message = format('run %s changed records of which no history is kept', undo_run.run_id),
            detail = (select string_agg(format('%s: %s', g.entity, g.ids), '; ')
                        from (select e.u ->> 'entity' as entity, left(string_agg(e.u ->> 'zoho_id', ', '), 300) as ids
                                from jsonb_array_elements(v_all) e(u) where e.u ->> 'action' = 'refused' group by 1 order by 1) g),
            hint = 'nothing was done. tds.undo_run(run_id, false, partly => true) takes back the rest; a pull brings what Zoho says now; '
                   'tds.keep_history(entity) keeps it from now on';
    end if;
    if not undo_run.dry then
        for v_plan in
            select n.entity as of, e.u ->> 'action' as action, array_agg(e.u ->> 'zoho_id' order by e.u ->> 'zoho_id') as zoho_ids,
                   array_agg((e.u ->> 'history_id')::bigint order by e.u ->> 'zoho_id') as history_ids
              from jsonb_array_elements(v_all) e(u)
              join tds.entity n on n.entity = e.u ->> 'entity'
             where e.u ->> 'action' in ('removed', 'restored')
             group by n.entity, n.priority, e.u ->> 'action'
             order by n.priority, e.u ->> 'action'
        loop
            v_entity := tds.entity_named(v_plan.of);
            if v_plan.action = 'removed' then
                perform tds.remove_run_rows(v_entity, v_run.organization_id, v_plan.zoho_ids);
            else
                perform tds.restore_run_rows(v_entity, v_run.organization_id, v_plan.zoho_ids, v_plan.history_ids, v_now);
            end if;
        end loop;
    end if;
    return query
    select e.u ->> 'entity', e.u ->> 'zoho_id', e.u ->> 'action', (e.u ->> 'event')::bigint, e.u ->> 'note'
      from jsonb_array_elements(v_all) with ordinality e(u, n)
     order by e.n;
end
$$;
revoke all on function tds.undo_run(bigint, boolean, boolean) from public;
grant execute on function tds.undo_run(bigint, boolean, boolean) to tds_operator;
comment on function tds.undo_run(bigint, boolean, boolean) is
'Takes back what a pull wrote (dry: only shows it): rows that it brought are removed with what hangs on them, rows that it changed or '
'marked '
'deleted are as before, byte for byte; a record of which something newer came is kept. Where it changed records of which no history is '
'kept, it raises ZB047 and does nothing, unless partly. Raises ZB012 for no such run, ZB046 for one that is not over or no longer kept.';
