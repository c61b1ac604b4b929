-- Steps that mend the queue: partitions, batches of the dead, what failed and waits, what is hopeless.

create or replace function tds.heal_partitions(at timestamptz, dry_run boolean) returns setof tds.healed
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_day date;
begin
    for v_day in
        select d.day
          from (select (heal_partitions.at at time zone 'UTC')::date + g.ahead as day
                  from generate_series(0, tds.setting_int('partition_days_ahead')) g(ahead)) d
         where tds.lacks_partition(d.day)
         order by d.day
    loop
        if not heal_partitions.dry_run then
            perform tds.ensure_partition(v_day);
        end if;
        return next row('inbox partitions', 'made the day''s', true, v_day::text)::tds.healed;
    end loop;
end
$$;
revoke all on function tds.heal_partitions(timestamptz, boolean) from public;
comment on function tds.heal_partitions(timestamptz, boolean) is 'Step: makes inbox partitions that are missing.';
select tds.register_heal('partitions', 10, 'Makes inbox partitions of today and the days ahead that are missing.');

create or replace function tds.heal_claims(dry_run boolean) returns setof tds.healed
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_queue  record;
    v_claims int;
begin
    for v_queue in
        select c.queue, count(*)::int as claims, string_agg(format('%s of %s', c.claim_id, c.worker), '; ' order by c.claim_id) as told
          from tds.claim c
         where not tds.is_held(tds.lock_class(), (c.claim_id % 2147483647)::int, c.backend_pid)
         group by c.queue order by c.queue
    loop
        v_claims := case when heal_claims.dry_run then v_queue.claims else tds.free_claims(v_queue.queue) end;
        if v_claims > 0 then
            return next row('queue ' || v_queue.queue, format('gave back %s batches of workers that are gone', v_claims), true,
                            v_queue.told)::tds.healed;
        end if;
    end loop;
end
$$;
revoke all on function tds.heal_claims(boolean) from public;
comment on function tds.heal_claims(boolean) is 'Step: frees batches whose worker died, even where no other worker lives to do it.';
select tds.register_heal('claims', 20, 'Gives back the batches of workers that died.');

create or replace function tds.heal_failed(at timestamptz, dry_run boolean) returns setof tds.healed
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_longest constant timestamptz := heal_failed.at + 2 * make_interval(secs => tds.setting_int('retry_max_seconds'));
    v_queue   record;
begin
    -- no pause is that long: the clock was ahead when it was given
    for v_queue in
        select o.queue, count(*) as events, array_agg(o.inbox_id) as inbox_ids
          from (select p.queue, p.inbox_id from tds.inbox_open p where p.retry_at > v_longest order by p.retry_at limit 5000) o
         group by o.queue order by o.queue
    loop
        if not heal_failed.dry_run then
            update tds.inbox_open o set retry_at = heal_failed.at where o.inbox_id = any (v_queue.inbox_ids);
        end if;
        return next row('queue ' || v_queue.queue, format('parked until a time that cannot be: %s events are due now', v_queue.events),
                        true, null)::tds.healed;
    end loop;
    for v_queue in
        select o.queue, count(*) as events
          from (select p.queue from tds.inbox_open p
                 where p.retry_at <= heal_failed.at - interval '5 minutes' and p.attempts < tds.setting_int('max_attempts')
                 order by p.retry_at limit 1000) o
         group by o.queue order by o.queue
    loop
        return next row('queue ' || v_queue.queue, format('sent %s failed events again, as nobody had', v_queue.events), true,
                        null)::tds.healed;
    end loop;
    if found and not heal_failed.dry_run then
        perform tds.send_due_retries();
    end if;
end
$$;
revoke all on function tds.heal_failed(timestamptz, boolean) from public;
comment on function tds.heal_failed(timestamptz, boolean) is
'Step: sends failed events on their way again that are due and lie, or are parked for ever.';
select tds.register_heal('failed', 30, 'Sends failed events (under five tries) again that nobody has sent although they are due, or that '
                                       'are parked until a time that cannot be.');

create or replace function tds.heal_hopeless(at timestamptz, dry_run boolean) returns setof tds.healed
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_event record;
begin
    for v_event in
        select o.*
          from tds.inbox_open o
          join tds.inbox i on i.received_at = o.received_at and i.inbox_id = o.inbox_id
         where (o.crashes >= tds.setting_int('crashes_before_burial') or o.attempts >= tds.setting_int('max_attempts'))
           and not exists (select from tds.claim c where o.inbox_id = any (c.inbox_ids))
         order by o.inbox_id limit 200
           for update of o skip locked
    loop
        if not heal_hopeless.dry_run then
            perform tds.bury_event(v_event.inbox_id, v_event.received_at, v_event.entity,
                                   format('given up after %s crashes and %s failures: %s', v_event.crashes, v_event.attempts,
                                          v_event.error),
                                   coalesce(v_event.error_code, '08006'), v_event.error_context, heal_hopeless.at);
        end if;
        return next row(format('event %s of %s', v_event.inbox_id, v_event.entity), 'made a dead letter of it', true,
                        v_event.error)::tds.healed;
    end loop;
end
$$;
revoke all on function tds.heal_hopeless(timestamptz, boolean) from public;
comment on function tds.heal_hopeless(timestamptz, boolean) is
'Step: makes dead letters of events that crash their worker again and again.';
select tds.register_heal('hopeless', 40, 'Makes dead letters of events whose worker has vanished as often as the setting '
                                         'crashes_before_burial says.');

create or replace function tds.heal_pulls(dry_run boolean) returns setof tds.healed
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_pull record;
begin
    for v_pull in
        select r.run_id, r.entity, r.organization_id
          from tds.run r
         where r.message_id is not null and r.state in ('queued', 'running')
           and not exists (select from pgmq.q_tds_pull m where m.msg_id = r.message_id)
         order by r.run_id limit 500
    loop
        if not heal_pulls.dry_run then
            perform tds.send_pull(v_pull.run_id);
        end if;
        return next row('queue tds_pull', 'gave a pull another message', true,
                        format('run %s of %s', v_pull.run_id, v_pull.entity))::tds.healed;
    end loop;
end
$$;
revoke all on function tds.heal_pulls(boolean) from public;
comment on function tds.heal_pulls(boolean) is 'Step: gives pulls that have lost their message another one.';
select tds.register_heal('pulls', 60, 'Gives pulls that are not done and have lost their message another one.');

create or replace function tds.heal_wants(at timestamptz, dry_run boolean) returns setof tds.healed
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_longest constant timestamptz :=
        heal_wants.at + 2 * make_interval(secs => tds.setting_int('retry_max_seconds')) + interval '2 minutes';
    v_want    record;
begin
    for v_want in
        select p.organization_id, p.entity, count(*) as details, array_agg(p.zoho_id) as zoho_ids
          from (select w.organization_id, w.entity, w.zoho_id from tds.wanted_detail w
                 where w.leased_until > v_longest order by w.organization_id, w.entity, w.zoho_id limit 5000 for update skip locked) p
         group by p.organization_id, p.entity order by p.organization_id, p.entity
    loop
        if not heal_wants.dry_run then
            update tds.wanted_detail w set leased_until = null
             where w.organization_id = v_want.organization_id and w.entity = v_want.entity and w.zoho_id = any (v_want.zoho_ids);
        end if;
        return next row('details of ' || v_want.entity, format('released %s that were parked until a time that cannot be', v_want.details),
                        true, null)::tds.healed;
    end loop;
end
$$;
revoke all on function tds.heal_wants(timestamptz, boolean) from public;
comment on function tds.heal_wants(timestamptz, boolean) is 'Step: releases wanted details that are parked until a time that cannot be.';
select tds.register_heal('wants', 70, 'Releases wanted details that are parked for longer than any pause lasts: the clock was ahead when '
                                      'they were.');

grant execute on function tds.heal_partitions(timestamptz, boolean), tds.heal_claims(boolean), tds.heal_failed(timestamptz, boolean),
    tds.heal_hopeless(timestamptz, boolean), tds.heal_pulls(boolean), tds.heal_wants(timestamptz, boolean) to tds_worker, tds_operator;
insert into tds.setting (name, value, description) values
    ('crashes_before_burial', '10', 'Crashes of its worker after which an event becomes a dead letter; from crashes_before_solo on it is '
                                    'worked on alone.')
on conflict on constraint setting_pkey do nothing;
