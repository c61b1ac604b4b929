-- A pull that is asked for is a run in state queued and a message in the pgmq queue tds_pull; `tds poll` takes it from there.

select pgmq.create('tds_pull');

insert into tds.setting (name, value, description) values
    ('bulk_sync_enabled', 'true', 'Whether pulls are taken and done; webhooks go on either way. false: tds.request_pull() and the API '
                                  'answer with bulk_sync_reason.'),
    ('bulk_sync_reason', '"bulk sync is switched off"', 'What whoever asks for a pull is told while bulk_sync_enabled is false.'),
    ('cursor_overlap_seconds', '600', 'How far an incremental pull reaches back behind the request time of the last complete pass, in '
                                      'seconds.'),
    ('pull_visibility_seconds', '60', 'How long a pull stays with a poller that has fallen silent, in seconds.'),
    ('pull_adopt_seconds', '600', 'After how long without a page a run whose command has died is gone on with by the poller, in seconds.')
on conflict on constraint setting_pkey do nothing;

create or replace function tds.bulk_sync_refusal() returns text
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return case when tds.setting_text('bulk_sync_enabled') is distinct from 'true'
                then coalesce(tds.setting_text('bulk_sync_reason'), 'bulk sync is switched off') end;
end
$$;
revoke all on function tds.bulk_sync_refusal() from public;
comment on function tds.bulk_sync_refusal() is 'Why no pulls are done now (setting bulk_sync_enabled), or null.';

create or replace function tds.send_pull(run_id bigint) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    update tds.run r
       set message_id = (select m.msg_id from pgmq.send('tds_pull',
                                                        jsonb_build_object('run_id', r.run_id, 'organization_id',
                                                                           r.organization_id)) m(msg_id))
     where r.run_id = send_pull.run_id;
end
$$;
revoke all on function tds.send_pull(bigint) from public;
comment on function tds.send_pull(bigint) is 'Puts a run''s message into the queue of pulls.';

create or replace function tds.requeue_pulls() returns int
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    perform pgmq.create('tds_pull');
    return (select (count(*) filter (where tds.send_pull(r.run_id) is not null))::int
              from tds.run r
             where r.message_id is not null and r.state in ('queued', 'running')
               and not exists (select from pgmq.q_tds_pull m where m.msg_id = r.message_id));
end
$$;
revoke all on function tds.requeue_pulls() from public;
comment on function tds.requeue_pulls() is
'Gives every requested run that is not done and has lost its message another one; returns how many.';

create or replace function tds.entity_asked_for(name text) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_name constant text := translate(lower(entity_asked_for.name), '-', '_');
begin
    return coalesce((select n.entity from tds.entity n where n.entity = v_name),
                    (select p.entity from tds.endpoint p where p.endpoint = v_name and p.key = ''),
                    entity_asked_for.name);
end
$$;
comment on function tds.entity_asked_for(text) is
'The entity that is called so, or as Zoho calls it: items are products, contacts customers; any other name as it is.';

create or replace function tds.request_pull(entity text, options jsonb default '{}', organization_id text default null) returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return tds.request_pull_for(request_pull.entity, request_pull.options, request_pull.organization_id, session_user);
end
$$;
revoke all on function tds.request_pull(text, jsonb, text) from public;
comment on function tds.request_pull(text, jsonb, text) is
'Asks for a pull of an entity (or of stock) and returns its run; tds poll does it. The same wish while one is queued or running is that '
'run; another wish waits for it. Options, see tds.pull_option_names(): incremental, modified_since, batch_size, update_only, '
'include_addresses, include_line_items, warehouses, pricelist_ids, include_item_prices, sweep (not read if Zoho counts what is here and '
'nothing has moved). Raises ZB002 (entity), ZB010 (option), ZB011 (bulk '
'sync is off), ZB013 (organisation).';

create or replace function tds.request_pull_for(entity text, options jsonb, organization_id text, requested_by text) returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now     constant timestamptz := tds.now();
    v_refusal constant text := tds.bulk_sync_refusal();
    v_entity  constant text := tds.entity_asked_for(request_pull_for.entity);
    v_organization_id text;
    v_options jsonb;
    v_run     tds.run;
begin
    if v_refusal is not null then
        raise exception using errcode = 'ZB011', message = 'bulk sync is off', detail = v_refusal,
            hint = 'update tds.setting set value = ''true'' where name = ''bulk_sync_enabled''';
    end if;
    perform tds.durably();
    -- first, so that an unknown entity is told before an unknown organisation
    perform tds.pull_option_names(v_entity);
    v_organization_id := tds.own_organization(request_pull_for.organization_id, of_the_api => true);
    v_options := tds.pull_settings(v_entity, request_pull_for.options, v_organization_id, v_now);
    -- of two that ask at once the second sees the first one's run
    perform tds.take_turn('tds.request_pull', v_organization_id || ' ' || v_entity);
    select r.* into v_run
      from tds.run r
     where r.organization_id = v_organization_id and r.entity = v_entity
       and r.finished_at is null and r.state <> 'settling' and r.options = v_options
     order by r.run_id
     limit 1;
    if v_run.run_id is null then
        insert into tds.run as r (organization_id, entity, state, options, requested_at, requested_by)
        values (v_organization_id, v_entity, 'queued', v_options, v_now, left(request_pull_for.requested_by, 100))
        returning r.* into v_run;
    end if;
    if v_run.message_id is null then
        perform tds.send_pull(v_run.run_id);
    end if;
    return v_run.run_id;
end
$$;
revoke all on function tds.request_pull_for(text, jsonb, text, text) from public;
comment on function tds.request_pull_for(text, jsonb, text, text) is 'tds.request_pull() on behalf of somebody.';

create or replace function tds.last_pass(entity text, organization_id text) returns timestamptz
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    return (select max(r.cursor_from) from tds.run r
             where r.organization_id = last_pass.organization_id and r.entity = last_pass.entity
               and r.listed_at is not null and r.is_pass
               -- one by a clock that was ahead would leave out all until then
               and not tds.is_ahead(r.cursor_from, tds.now()));
end
$$;
revoke all on function tds.last_pass(text, text) from public;
comment on function tds.last_pass(text, text) is
'When the first page of the last complete pass over a list was asked for; null: there was none.';

create or replace function tds.is_forsaken(run tds.run, at timestamptz) returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return tds.is_overdue((is_forsaken.run).heartbeat_at, is_forsaken.at, make_interval(secs => tds.setting_int('pull_adopt_seconds')))
           or (is_forsaken.run).session is not null and (is_forsaken.run).session <> all (tds.living_sessions());
end
$$;
revoke all on function tds.is_forsaken(tds.run, timestamptz) from public;
comment on function tds.is_forsaken(tds.run, timestamptz) is
'Whether the command that began a run has died, by its session''s lock, or has not been heard of for pull_adopt_seconds.';

create or replace function tds.waits_for_another(run tds.run, at timestamptz) returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    -- the stock of known products: of those that are known once the pull of products that was asked for before is processed
    return (waits_for_another.run).entity = 'stock' and (waits_for_another.run).options ? 'update_only' and exists (
        select from tds.run r
         where r.organization_id = (waits_for_another.run).organization_id and r.entity = 'products'
           and r.run_id < (waits_for_another.run).run_id
           and case r.state when 'queued' then r.message_id is not null
                            when 'running' then not (r.requested_at is null and tds.is_forsaken(r, waits_for_another.at))
                            when 'settling' then not tds.is_processed(r)
                            -- a command's is complete once its last page is stored
                            when 'complete' then r.requested_at is null and not tds.is_processed(r)
                            else false end);
end
$$;
revoke all on function tds.waits_for_another(tds.run, timestamptz) from public;
comment on function tds.waits_for_another(tds.run, timestamptz) is
'Whether a run depends on another one whose list is not read or not processed yet.';

create or replace function tds.begin_pull(run_id bigint, session int default null) returns text
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now    constant timestamptz := tds.now();
    v_run    tds.run;
    v_other  tds.run;
    v_last   timestamptz;
begin
    v_run := tds.run_of(begin_pull.run_id, for_update => true);
    if v_run.state = 'running' and v_run.requested_at is null then
        -- begun by a command, which may still be at it; if not, it is the poller's from now on
        if not tds.is_forsaken(v_run, v_now) then
            return 'queued';
        end if;
        update tds.run r set requested_at = v_now, requested_by = 'a command that died' where r.run_id = v_run.run_id;
    end if;
    if v_run.state <> 'queued' then
        update tds.run r set session = begin_pull.session where r.run_id = v_run.run_id and r.state = 'running';
        return v_run.state;
    end if;
    select r.* into v_other from tds.run r
     where r.organization_id = v_run.organization_id and r.entity = v_run.entity and r.state = 'running';
    if v_other.run_id is not null then
        if v_other.message_id is null and tds.is_forsaken(v_other, v_now) then
            perform tds.send_pull(v_other.run_id);
        end if;
        return 'queued';
    end if;
    if tds.waits_for_another(v_run, v_now) then
        return 'queued';
    end if;
    v_last := tds.last_pass(v_run.entity, v_run.organization_id);
    v_run.since := case
        when v_run.options ? 'modified_since' then (v_run.options ->> 'modified_since')::timestamptz
        when v_run.options ? 'incremental' then date_trunc('second',
                                                           v_last) - make_interval(secs => tds.setting_int('cursor_overlap_seconds')) end;
    update tds.run r
       set state = 'running', started_at = v_now, heartbeat_at = v_now, session = begin_pull.session, since = v_run.since,
           filtered = v_run.since is not null
                      and (select n.has_modified_filter from tds.entity n where n.entity = tds.pulled_entity(v_run.entity)),
           is_pass = not v_run.options ?| array['update_only', 'pricelist_ids'] and coalesce(v_run.since <= v_last, v_run.since is null)
     where r.run_id = v_run.run_id;
    if v_run.entity = 'stock' and v_run.options ? 'update_only' then
        perform tds.end_list(v_run.run_id, v_now);
        return 'settling';
    end if;
    return 'running';
exception when exclusion_violation then
    return 'queued'; -- a command was faster
end
$$;
revoke all on function tds.begin_pull(bigint, int) from public;
comment on function tds.begin_pull(bigint, int) is
'Begins a queued run, or says how it stands: queued (another run of that list is in work), running (go on with it), settling, or its end. '
'session: who will work on it, see tds.set_budget(). Raises ZB012.';

create or replace function tds.fall_back(run_id bigint) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    update tds.run r set filtered = false, next_page = 1, counted = null, counted_at = null where r.run_id = fall_back.run_id
        and r.state = 'running';
    delete from tds.run_page p where p.run_id = fall_back.run_id;
end
$$;
revoke all on function tds.fall_back(bigint) from public;
comment on function tds.fall_back(bigint) is
'Notes that the API has ignored the filter of a running run: the whole list is read, from page 1 on. What was stored stays.';

create or replace function tds.kept_records(run tds.run, entity tds.entity, body bytea) returns bytea
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_body    constant text := convert_from(kept_records.body, 'UTF8');
    v_records jsonb;
    v_known   text[];
begin
    select b.records into v_records
      from tds.body_records(v_body, (kept_records.entity).list_key, (kept_records.entity).record_key, (kept_records.entity).id_key) b;
    if v_records is null then
        return kept_records.body;
    end if;
    if (kept_records.run).options ? 'update_only' then
        execute format('select array(select t.%1$I from zoho.%2$I t join jsonb_array_elements($2) e(doc) on t.%1$I = e.doc ->> $3 where '
                       't.organization_id = $1)',
                       (kept_records.entity).target_key, (kept_records.entity).target)
           into v_known using (kept_records.run).organization_id, v_records, (kept_records.entity).id_key;
    end if;
    v_records := (
        select coalesce(jsonb_agg(e.doc order by e.n), '[]')
          from jsonb_array_elements(v_records) with ordinality e(doc, n)
         cross join lateral (select e.doc ->> (kept_records.entity).id_key as zoho_id, e.doc ->> 'last_modified_time' as told) r
         where (v_known is null or r.zoho_id = any (v_known))
           and (not (kept_records.run).options ? 'pricelist_ids' or (kept_records.run).options -> 'pricelist_ids' ? r.zoho_id)
           -- what does not say when it was modified may be newer
           and (not (kept_records.run).options ? 'modified_since' or not tds.has_time_shape(r.told)
                or r.told::timestamptz >= (kept_records.run).since));
    return convert_to(jsonb_build_object((kept_records.entity).list_key, v_records)::text, 'UTF8');
exception when data_exception or statement_too_complex then
    return kept_records.body; -- it cannot be read: whoever processes it says why
end
$$;
revoke all on function tds.kept_records(tds.run, tds.entity, bytea) from public;
comment on function tds.kept_records(tds.run, tds.entity, bytea) is
'A page without the records that its run''s options leave out: those not known (update_only), not named (pricelist_ids), or not modified '
'since.';

create or replace function tds.end_list(run_id bigint, at timestamptz) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    update tds.run r
       set listed_at = end_list.at, heartbeat_at = end_list.at,
           state = case when r.requested_at is null then 'complete' else 'settling' end,
           finished_at = case when r.requested_at is null then end_list.at end
     where r.run_id = end_list.run_id;
end
$$;
revoke all on function tds.end_list(bigint, timestamptz) from public;
comment on function tds.end_list(bigint, timestamptz) is
'Notes that a run''s last page is stored. One that was requested then waits for its processing and its details (settling); one of a '
'command is complete.';

create or replace function tds.note_progress(run_id bigint, calls int, details int default 0, error text default null) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    update tds.run r
       set calls = r.calls + note_progress.calls, details = r.details + note_progress.details,
           error = case when r.finished_at is null then left(note_progress.error, 1000) else r.error end,
           -- calls made in vain are none; who waits for calls makes none
           heartbeat_at = case when note_progress.error is null or note_progress.calls = 0 then tds.now() else r.heartbeat_at end
     where r.run_id = note_progress.run_id;
end
$$;
revoke all on function tds.note_progress(bigint, int, int, text) from public;
comment on function tds.note_progress(bigint, int, int, text) is
'Adds calls and fetched details to a run''s account, and says what keeps it waiting (error; null: nothing).';

create or replace function tds.put_aside(run_id bigint) returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_run   constant tds.run := tds.run_of(put_aside.run_id, for_update => true);
    v_pause constant int := least(tds.setting_int('retry_max_seconds'),
                                  greatest(60, extract(epoch from tds.now() - v_run.heartbeat_at)))::int;
begin
    update tds.run r set session = null where r.run_id = v_run.run_id;
    perform pgmq.set_vt('tds_pull', v_run.message_id, v_pause);
    return v_pause;
end
$$;
revoke all on function tds.put_aside(bigint) from public;
comment on function tds.put_aside(bigint) is
'Leaves a run for some seconds that Zoho fails at while it answers all else, and returns for how many: as long as it has made no progress '
'already, a minute at least, retry_max_seconds at most. Raises ZB012.';

create or replace function tds.show_pulls(organization_id text) returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return (select count(*)
              from (select r.message_id from tds.run r
                     where r.organization_id = show_pulls.organization_id and r.state = 'running' and r.session is null
                       and r.message_id is not null
                     order by r.message_id) a
             cross join lateral pgmq.set_vt('tds_pull', a.message_id, 0) m);
end
$$;
revoke all on function tds.show_pulls(text) from public;
comment on function tds.show_pulls(text) is 'Has the runs that were put aside gone on with at once; returns how many.';
grant execute on function tds.put_aside(bigint), tds.show_pulls(text) to tds_poller, tds_operator;

create or replace function tds.is_processed(run tds.run) returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    -- what is parked for another try is not waited for
    return not exists (
        select from tds.inbox_open o
          join tds.inbox i on i.received_at = o.received_at and i.inbox_id = o.inbox_id
         where o.entity = tds.pulled_entity((is_processed.run).entity) and o.retry_at is null and i.run_id = (is_processed.run).run_id);
end
$$;
revoke all on function tds.is_processed(tds.run) from public;
comment on function tds.is_processed(tds.run) is 'Whether all pages of a run are processed.';

create or replace function tds.free_pulls(organization_id text) returns int
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_living constant int[] := tds.living_sessions();
    v_freed  int;
begin
    with forsaken as (
        update tds.run r set session = null
         where r.organization_id = free_pulls.organization_id and r.state = 'running' and r.message_id is not null
           and r.session is not null and r.session <> all (v_living)
        returning r.message_id)
    select count(*)::int into v_freed from forsaken f cross join lateral pgmq.set_vt('tds_pull', f.message_id, 0) m;
    return v_freed;
end
$$;
revoke all on function tds.free_pulls(text) from public;
comment on function tds.free_pulls(text) is
'Shows the messages of runs whose poller has died to the others at once, instead of when they become visible by themselves; returns how '
'many.';

create or replace function tds.did_nothing(run tds.run) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    if (did_nothing.run).entity <> 'stock' or (did_nothing.run).details > 0
       or (did_nothing.run).pages > 0 and not (did_nothing.run).options ? 'warehouses'
       or cardinality(coalesce(tds.ids_for_run(did_nothing.run, tds.entity_named('products')), '{}')) > 0
    then
        return null;
    end if;
    return case when (did_nothing.run).options ? 'warehouses' then 'no product has stock in these warehouses'
                else 'no product with stock is known: pull products first' end;
end
$$;
revoke all on function tds.did_nothing(tds.run) from public;
comment on function tds.did_nothing(tds.run) is
'Why a run had nothing to do of what it was asked for, which is not complete; null: it had.';

create or replace function tds.settle_pulls(organization_id text) returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now   constant timestamptz := tds.now();
    v_run   tds.run;
    v_ended int;
begin
    perform tds.free_pulls(settle_pulls.organization_id);
    for v_run in
        select r.* from tds.run r
         where r.organization_id = settle_pulls.organization_id and r.state = 'settling' and r.asked_at is null and tds.is_processed(r)
         order by r.run_id
           for update skip locked
    loop
        if tds.wants_details(v_run.options) then
            perform tds.want_for_run(v_run, v_now);
        end if;
        update tds.run r set asked_at = v_now where r.run_id = v_run.run_id;
    end loop;
    with left_over as materialized (
        select r.run_id, count(w.zoho_id) as wanted, count(w.error) as failed, min(w.error) as error,
               (select string_agg(p.id, ', ' order by p.id)
                  from jsonb_array_elements_text(r.options -> 'pricelist_ids') p(id)
                 where not exists (select from zoho.pricelists l where l.organization_id = r.organization_id
                                   and l.zoho_pricebook_id = p.id)) as unknown,
               tds.did_nothing(r) as did_nothing
          from tds.run r
          left join tds.wanted_detail w on w.run_id = r.run_id
         where r.organization_id = settle_pulls.organization_id and r.state = 'settling' and r.asked_at is not null
         group by r.run_id)
    update tds.run r
       set state = case when l.failed = 0 and l.unknown is null and l.did_nothing is null then 'complete' else 'partial' end,
           error = left(nullif(concat_ws('; ', case when l.failed > 0
                                         then format('%s details could not be had, e.g. %s', l.failed, l.error) end,
                                                'no such price list: ' || l.unknown, l.did_nothing), ''), 1000),
           finished_at = v_now
      from left_over l
     where r.run_id = l.run_id and r.state = 'settling' and l.wanted = l.failed;
    get diagnostics v_ended = row_count;
    return v_ended;
end
$$;
revoke all on function tds.settle_pulls(text) from public;
comment on function tds.settle_pulls(text) is
'Looks after the runs of an organisation: those whose poller has died are anybody''s; of those that settle, once their pages are processed '
'it asks for the details they are about, and once these are there it ends them: complete, or partial where some could not be had. '
'Returns how many it ended.';

create or replace function tds.cancel_run(run_id bigint) returns text
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_run constant tds.run := tds.run_of(cancel_run.run_id, for_update => true);
begin
    perform tds.durably();
    if v_run.finished_at is not null then
        return v_run.state;
    end if;
    update tds.run r set state = 'cancelled', finished_at = tds.now(), error = null where r.run_id = v_run.run_id;
    if v_run.message_id is not null then
        perform pgmq.delete('tds_pull', v_run.message_id);
    end if;
    -- in key order, as all who write wants
    perform from tds.wanted_detail w where w.run_id = v_run.run_id order by w.organization_id, w.entity, w.zoho_id for update;
    delete from tds.wanted_detail w where w.run_id = v_run.run_id;
    return 'cancelled';
end
$$;
revoke all on function tds.cancel_run(bigint) from public;
comment on function tds.cancel_run(bigint) is
'Cancels a run that has not ended and the details it still wants (the next pull with details asks for them again); what is stored stays. '
'Returns its state, which is another one where it had ended before. Raises ZB012.';
