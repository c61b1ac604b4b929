create or replace function tds.run_of(run_id bigint, for_update boolean default false) returns tds.run
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_run tds.run;
begin
    if run_of.for_update then
        select r.* into v_run from tds.run r where r.run_id = run_of.run_id for update;
    else
        select r.* into v_run from tds.run r where r.run_id = run_of.run_id;
    end if;
    if v_run.run_id is null then
        raise exception using errcode = 'ZB012', message = 'no such run', detail = coalesce(run_of.run_id::text, 'null'),
            hint = 'select * from tds_sync_runs';
    end if;
    return v_run;
end
$$;
revoke all on function tds.run_of(bigint, boolean) from public;
comment on function tds.run_of(bigint, boolean) is
'The run of that number; for_update: and nobody else changes it until the transaction ends. Raises ZB012.';

create or replace function tds.start_run(entity text, organization_id text, options jsonb default '{}') returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now    constant timestamptz := tds.now();
    v_run_id bigint;
begin
    perform tds.entity_named(start_run.entity);
    if start_run.options ->> 'restart' = 'true' then
        update tds.run r
           set state = 'cancelled', finished_at = v_now, error = 'restarted'
         where r.organization_id = start_run.organization_id and r.entity = start_run.entity and r.state = 'running';
    end if;
    insert into tds.run as r (organization_id, entity, options, started_at, heartbeat_at, session)
    values (start_run.organization_id, start_run.entity, coalesce(start_run.options, '{}') - array['restart', 'session'], v_now, v_now,
            (start_run.options ->> 'session')::int)
    on conflict on constraint one_run_at_a_time do nothing
    returning r.run_id into v_run_id;
    if v_run_id is null then
        update tds.run r
           set heartbeat_at = v_now, session = (start_run.options ->> 'session')::int
         where r.organization_id = start_run.organization_id and r.entity = start_run.entity and r.state = 'running'
        returning r.run_id into v_run_id;
    end if;
    return v_run_id;
end
$$;
revoke all on function tds.start_run(text, text, jsonb) from public;
comment on function tds.start_run(text, text, jsonb) is
'Begins a pull, or goes on with the unfinished one of that entity and organisation ({"restart": true} begins anew; session: who works on '
'it, see tds.set_budget()). Raises ZB002.';

create or replace function tds.store_page(
    run_id bigint, page int, body bytea, observed_at timestamptz, has_more boolean, records int default 0, calls int default 1)
returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now      constant timestamptz := tds.now();
    v_run      tds.run;
    v_entity   tds.entity;
    v_body     bytea := store_page.body;
    v_inbox_id bigint;
    v_split    record;
begin
    perform tds.beat();
    v_run := tds.run_of(store_page.run_id, for_update => true);
    if v_run.state is distinct from 'running' or v_run.next_page <> store_page.page then
        raise exception using errcode = 'ZB003', message = 'page out of turn',
            detail = format('run %s is %s and waits for page %s; page %s came', store_page.run_id, v_run.state, v_run.next_page,
                            store_page.page),
            hint = 'another process goes on with this run, or it was cancelled; select * from tds_sync_runs';
    end if;
    select n.* into strict v_entity from tds.entity n where n.entity = tds.pulled_entity(v_run.entity);
    v_split := tds.set_apart(v_body, v_entity.list_key, v_entity.record_key, v_entity.id_key);
    perform tds.note_page(v_run, v_entity, store_page.page, coalesce(v_split.seen, v_body));
    v_body := coalesce(v_split.others, v_body);
    if v_run.options ?| array['update_only', 'pricelist_ids', 'modified_since'] then
        v_body := tds.kept_records(v_run, v_entity, v_body);
    end if;
    select e.inbox_id into v_inbox_id
      from tds.receive(tds.pulled_entity(v_run.entity), v_body, v_run.organization_id, 'poller', 'list', 'upsert', store_page.observed_at,
                       v_run.run_id, jsonb_build_object('page', store_page.page)) e;
    -- what cannot be read costs its neighbours nothing
    perform tds.receive(tds.pulled_entity(v_run.entity), a.body, v_run.organization_id, 'poller', 'list', 'upsert', store_page.observed_at,
                        v_run.run_id, jsonb_build_object('page', store_page.page))
       from unnest(v_split.apart) a(body);
    update tds.run r
       set next_page = r.next_page + 1,
           pages = r.pages + 1,
           records = r.records + store_page.records,
           calls = r.calls + store_page.calls,
           cursor_from = coalesce(r.cursor_from, store_page.observed_at),
           heartbeat_at = v_now,
           error = null
     where r.run_id = store_page.run_id;
    if not store_page.has_more then
        perform tds.end_pass(store_page.run_id, v_now);
    end if;
    return v_inbox_id;
end
$$;
revoke all on function tds.store_page(bigint, int, bytea, timestamptz, boolean, int, int) from public;
comment on function tds.store_page(bigint, int, bytea, timestamptz, boolean, int, int) is
'Stores a page and moves its run''s cursor in one transaction; the last page (has_more false) ends the list, if what was seen is all '
'that was there; else it is read again, or is partial (tds.end_pass()). calls: what it took to get it. Raises ZB003 for a page out of '
'turn, or of a run that was cancelled; ZB012 for one that never was.';

create or replace function tds.finish_run(run_id bigint, state text, error text default null) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    update tds.run r
       set state = finish_run.state, error = left(finish_run.error, 1000), finished_at = tds.now()
     where r.run_id = finish_run.run_id and r.state = 'running';
end
$$;
revoke all on function tds.finish_run(bigint, text, text) from public;
comment on function tds.finish_run(bigint, text, text) is
'Ends a run that did not complete by its last page: partial, failed or cancelled.';

create or replace function tds.organizations_with_work() returns setof text
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now constant timestamptz := tds.now();
begin
    return query
    select distinct q.message ->> 'organization_id' from pgmq.q_tds_pull q where q.vt <= clock_timestamp()
    union
    -- whoever serves one that is to leave lets go of it
    select g.organization_id from tds.gate g where g.state <> 'gone'
    union
    -- the next organisation by the key, and so on: there may be many wants of one
    (with recursive has as (
        (select w.organization_id from tds.wanted_detail w order by w.organization_id limit 1)
        union all
        select (select w.organization_id from tds.wanted_detail w where w.organization_id > h.organization_id order by 1 limit 1)
          from has h where h.organization_id is not null)
     select h.organization_id
       from has h
      where exists (select from tds.wanted_detail w
                     where w.organization_id = h.organization_id and coalesce(w.not_before, '-infinity') <= v_now));
end
$$;
revoke all on function tds.organizations_with_work() from public;
comment on function tds.organizations_with_work() is
'The organisations for which a pull waits or a detail may be asked for now, and those on their way to another shard: whoever serves many '
'looks here, and wakes those.';
grant execute on function tds.organizations_with_work() to tds_poller, tds_operator;
