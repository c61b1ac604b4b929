create or replace function tds.open_events(
    entity tds.entity, inbox_ids bigint[], received_ats timestamptz[], at timestamptz, out events tds.event[])
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    begin
        open_events.events := tds.read_events((open_events.entity).entity, open_events.inbox_ids, open_events.received_ats);
    exception when data_exception or statement_too_complex or program_limit_exceeded or out_of_memory or configuration_limit_exceeded then
        -- one body that is not JSON spoils the set: put it aside, read the others
        perform tds.bury_unreadable(open_events.entity, open_events.inbox_ids, open_events.received_ats, open_events.at);
        open_events.events := tds.read_events(
            (open_events.entity).entity,
            array(select o.inbox_id from tds.inbox_open o where o.inbox_id = any (open_events.inbox_ids) order by o.inbox_id),
            array(select o.received_at from tds.inbox_open o where o.inbox_id = any (open_events.inbox_ids) order by o.inbox_id));
        return;
    end;
    if coalesce(cardinality(open_events.events), 0) < cardinality(open_events.inbox_ids) then
        perform tds.bury_unreadable(open_events.entity, open_events.inbox_ids, open_events.received_ats, open_events.at);
    end if;
end
$$;
revoke all on function tds.open_events(tds.entity, bigint[], timestamptz[], timestamptz) from public;
comment on function tds.open_events(tds.entity, bigint[], timestamptz[], timestamptz) is
'These unfinished events with their bodies parsed; events that cannot be read become dead letters.';

create or replace function tds.last_outage(inbox_ids bigint[], out error_code text, out error text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    -- a lock and a limit of time are somebody's own, however many have them
    select max(o.error_code), max(o.error) into last_outage.error_code, last_outage.error
      from tds.inbox_open o
     where o.inbox_id = any (last_outage.inbox_ids)
    having count(distinct o.error_code) = 1 and count(o.error_code) = count(*) and max(o.error_code) not in ('55P03', '57014');
end
$$;
revoke all on function tds.last_outage(bigint[]) from public;
comment on function tds.last_outage(bigint[]) is
'The one error that all these events failed with; null where it is not the same, a lock, or a limit of time.';

create or replace function tds.prepare_new(entities text[], organization_ids text[]) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_turn record;
begin
    for v_turn in
        select distinct n.prepare_new as name, o.organization_id
          from unnest(prepare_new.entities, prepare_new.organization_ids) o(entity, organization_id)
          join tds.entity n on n.entity = o.entity
         where n.prepare_new is not null
         order by 1, 2
    loop
        execute format('select tds.%I($1)', v_turn.name) using v_turn.organization_id;
    end loop;
end
$$;
revoke all on function tds.prepare_new(text[], text[]) from public;
comment on function tds.prepare_new(text[], text[]) is
'Takes the turns that writing these entities of these organisations asks for (tds.entity.prepare_new), in one order for all workers.';

create or replace function tds.prepare_claim(claim_id bigint, prepare_new text) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    perform tds.prepare_new(array_agg(n.entity), array_agg(i.organization_id))
       from tds.claim c
      cross join lateral unnest(c.inbox_ids, c.received_ats) e(inbox_id, received_at)
      cross join lateral (select x.* from tds.inbox x where x.received_at = e.received_at and x.inbox_id = e.inbox_id offset 0) i
       join tds.entity n on n.entity = i.entity
      where c.claim_id = prepare_claim.claim_id and n.prepare_new = prepare_claim.prepare_new;
end
$$;
revoke all on function tds.prepare_claim(bigint, text) from public;
comment on function tds.prepare_claim(bigint, text) is
'tds.prepare_new() for all events of a claim that share a turn: customers and vendors of one organisation do, and two workers that took '
'it entity by entity could wait for one another.';

create or replace function tds.apply_claim(
    claim_id bigint, wary boolean default false, apart boolean default false, temporary_mb int default null,
    out counts bigint[], out touches tds.touch[])
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
-- one record or a thousand, the plan is the same; planning anew would cost more than the work of a small batch
set plan_cache_mode = force_generic_plan
set jit = off
-- every look-up is by key; a table never analysed, or empty when the plan was made, would be read whole
set enable_seqscan = off
set enable_memoize = off
-- a thousand invoices with their lines are held at once
set work_mem = '64MB'
as $$
declare
    v_now      constant timestamptz := tds.now();
    v_group    record;
    v_entity   tds.entity;
    v_done     tds.record[];
    v_verdicts tds.verdict[];
    v_until    timestamptz;
    v_is_known boolean;
    v_outage   record;
    v_prepared text;
begin
    if apply_claim.apart then
        -- it waited once as long as it may
        perform set_config('lock_timeout', '100ms', true);
        select case when max(o.at_most) = 0 then '-infinity'
                    when cardinality(c.inbox_ids) = 1 then 'infinity'
                    else clock_timestamp() + make_interval(secs => tds.setting_int('apart_seconds')) end,
               coalesce(bool_or(o.waits > 0), false)
          into v_until, v_is_known
          from tds.claim c
          left join tds.inbox_open o on o.inbox_id = any (c.inbox_ids)
         where c.claim_id = apply_claim.claim_id
         group by c.claim_id;
    end if;
    perform tds.limit_temporary_files(apply_claim.temporary_mb);
    select null::text as error_code, null::text as error into v_outage;
    apply_claim.counts := array[0, 0, 0, 0, 0];
    apply_claim.touches := '{}';
    for v_group in
        select i.entity, array_agg(distinct i.organization_id) as owners,
               array_agg(distinct i.organization_id) filter (where i.event = 'delete') as deleting,
               coalesce(array_agg(i.inbox_id order by i.inbox_id) filter (where o.inbox_id is not null), '{}') as inbox_ids,
               coalesce(array_agg(i.received_at order by i.inbox_id) filter (where o.inbox_id is not null), '{}') as received_ats,
               coalesce(array_agg(i.inbox_id order by i.inbox_id) filter (where d.status = 'completed'), '{}') as done_ids,
               coalesce(array_agg(i.received_at order by i.inbox_id) filter (where d.status = 'completed'), '{}') as done_ats
          from tds.claim c
         cross join lateral unnest(c.inbox_ids, c.received_ats) e(inbox_id, received_at)
         -- offset 0: one by one by key; a table that was believed to be empty would be read whole
         cross join lateral (select x.* from tds.inbox x where x.received_at = e.received_at and x.inbox_id = e.inbox_id offset 0) i
          left join lateral (select p.* from tds.inbox_open p where p.inbox_id = i.inbox_id offset 0) o on true
          left join lateral (select y.status from tds.inbox_outcome y
                              where c.redelivered and y.received_at = i.received_at and y.inbox_id = i.inbox_id offset 0) d on true
         where c.claim_id = apply_claim.claim_id
         group by i.entity
         order by i.entity
    loop
        select n.* into strict v_entity from tds.entity n where n.entity = v_group.entity;
        -- taken apart, each record waits for its own turn
        if not apply_claim.apart and v_entity.prepare_new <> coalesce(v_prepared, '') then
            v_prepared := v_entity.prepare_new;
            perform tds.prepare_claim(apply_claim.claim_id, v_prepared);
        end if;
        if not apply_claim.apart and v_group.deleting is not null then
            perform tds.lock_deletions(v_group.entity, v_group.deleting);
        end if;
        v_verdicts := tds.apply_events(v_entity, v_group.inbox_ids, v_group.received_ats, apply_claim.wary, v_now, v_until);
        if apply_claim.apart and not v_is_known then
            select o.* into v_outage from tds.last_outage(v_group.inbox_ids) o;
        end if;
        perform tds.resolve_dead_letters(v_entity, v_group.owners, v_group.inbox_ids, v_group.received_ats, v_verdicts, v_now);
        perform tds.note_life(v_entity, v_group.owners, v_verdicts, v_now);
        perform tds.note_wants(v_entity, v_verdicts, v_group.inbox_ids, v_group.received_ats);
        perform tds.close_events(v_group.inbox_ids, v_group.entity, v_verdicts, v_now);

        -- applied by a worker that died before it could finish: finish for it
        v_done := tds.explode(v_group.entity, tds.read_events(v_group.entity, v_group.done_ids, v_group.done_ats));
        apply_claim.touches := apply_claim.touches || array(
            select row(v_group.entity, t.organization_id, array_agg(t.zoho_id),
                       array_agg(t.zoho_id) filter (where t.unsettled),
                       min(t.observed_at) filter (where t.unsettled))::tds.touch
              from (select v.organization_id, v.zoho_id, v.unsettled, v.observed_at from unnest(v_verdicts) v
                     where v.outcome = 'applied' or v.unsettled
                    union all
                    select r.organization_id, r.zoho_id, true, r.observed_at from unnest(v_done) r) t
             where t.zoho_id is not null
             group by t.organization_id
             order by t.organization_id);
        apply_claim.counts := (
            select array[apply_claim.counts[1] + count(*) filter (where v.outcome = 'applied'),
                         apply_claim.counts[2] + count(*) filter (where v.outcome = 'unchanged'),
                         apply_claim.counts[3] + count(*) filter (where v.outcome = 'stale'),
                         apply_claim.counts[4] + count(*) filter (where v.outcome in ('retried', 'parked')),
                         apply_claim.counts[5] + count(*) filter (where v.outcome = 'dead')]
              from unnest(v_verdicts) v);
    end loop;
    -- while nothing succeeds, an error is nobody's own
    if v_outage.error_code is not null and apply_claim.counts[1:3] = '{0,0,0}' then
        raise exception using errcode = v_outage.error_code, message = v_outage.error, hint = 'all alike';
    end if;
    -- taken over meanwhile, as by a session that was stopped and goes on: the batch is somebody else's
    perform from tds.claim c where c.claim_id = apply_claim.claim_id for update;
    if not found then
        raise exception using errcode = 'ZB040', message = 'the claim was taken over', detail = apply_claim.claim_id::text,
            hint = 'nothing was applied; whoever took it over applies it. See the setting claim_seconds';
    end if;
end
$$;
revoke all on function tds.apply_claim(bigint, boolean, boolean, int) from public;
comment on function tds.apply_claim(bigint, boolean, boolean, int) is
'Applies a claimed batch: rows, outcomes, wants and dead letters in one transaction. counts: applied, unchanged, stale, '
'retried, dead. wary: look for the unreadable before trying. apart: it failed as a whole, so find what fails alone, and leave that out. '
'temporary_mb: the setting, of whoever has read it. '
'Safe to do twice. Raises what is no record''s fault, and ZB040 when the claim has been taken over.';
