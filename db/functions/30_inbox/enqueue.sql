create or replace function tds.enqueue() returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now   constant timestamptz := tds.now();
    v_due   record;
    v_waits text[];
    v_added record;
begin
    -- an organisation that is on its way to another shard, or has left this one
    if exists (select from tds.gate) then
        if tds.carries() then
            return null;
        end if;
        perform tds.refuse_departed(array(select distinct e.organization_id from added e where e.source <> 'retry' order by 1));
        v_waits := array(select g.organization_id from tds.gate g where g.state = 'arriving');
    end if;
    select bool_or(e.source <> 'retry') as come, bool_or(e.refusal is not null or n.entity is null) as die,
           bool_or(e.source <> 'poller' and e.refusal is null) as are_urgent
      into v_added
      from added e
      left join tds.entity n on n.entity = e.entity;
    -- what came is acknowledged with this commit; a retry was acknowledged when it came
    if v_added.come then
        perform tds.durably();
    end if;
    if v_added.die then
        perform tds.bury_event(e.inbox_id, e.received_at, e.entity,
                               coalesce(e.refusal, format('unknown entity %s', e.entity)),
                               case when e.refusal is null then 'ZB002' else 'ZB001' end,
                               case when e.refusal is not null then (tds.why_no_document(e.body)).error_context end, v_now)
           from added e
           left join tds.entity n on n.entity = e.entity
          where e.refusal is not null or n.entity is null;

        -- what cannot be read may name its record all the same: Zoho's own answer settles it
        perform tds.want(h.entity, h.organization_id, h.wishes)
           from (select e.entity, e.organization_id,
                        array_agg(row(e.record_id, 'a hint that cannot be read', e.observed_at, null, null)::tds.wish) as wishes
                   from added e
                   join tds.entity n on n.entity = e.entity and n.api_path <> '' and n.detail_key is not null
                  where e.refusal is not null and e.shape = 'webhook' and e.record_id is not null
                    and case when e.body is null then true else tds.document_problem(e.body) is not null end
                  group by e.entity, e.organization_id
                  order by e.entity, e.organization_id) h;
    end if;

    -- a retry is put into inbox_open by the one who parks it
    insert into tds.inbox_open (inbox_id, received_at, queue, entity, organization_id)
    select e.inbox_id, e.received_at, n.queue, e.entity, e.organization_id
      from added e
      join tds.entity n on n.entity = e.entity
     where e.refusal is null and e.source <> 'retry' and (v_waits is null or e.organization_id <> all (v_waits))
     order by e.inbox_id;

    if v_waits <> '{}' then
        insert into tds.inbox_held (inbox_id, received_at, queue, entity, organization_id)
        select e.inbox_id, e.received_at, n.queue, e.entity, e.organization_id
          from added e
          join tds.entity n on n.entity = e.entity
         where e.refusal is null and e.source <> 'retry' and e.organization_id = any (v_waits)
         order by e.inbox_id;
    end if;

    for v_due in
        select n.queue,
               array_agg(e.inbox_id order by e.inbox_id) as inbox_ids,
               array_agg(e.received_at order by e.inbox_id) as received_ats,
               array_agg(e.shape = 'list' order by e.inbox_id) as pages
          from added e
          join tds.entity n on n.entity = e.entity
         where e.refusal is null and e.source <> 'retry' and (v_waits is null or e.organization_id <> all (v_waits))
         group by n.queue
         order by n.queue
    loop
        perform tds.queue_send(v_due.queue, v_due.inbox_ids, v_due.received_ats, v_due.pages);
    end loop;
    -- the poller drains what it brings, and workers look every second anyway: only what came by itself is urgent
    if v_added.are_urgent and tds.setting_text('notify') = 'true' then
        perform pg_notify('tds_inbox', '');
    end if;
    return null;
end
$$;
revoke all on function tds.enqueue() from public;
comment on function tds.enqueue() is
'Statement trigger of the inbox: every stored event gets its message and its row in inbox_open, or its dead letter.';

create or replace trigger inbox_enqueue
    after insert on tds.inbox
    referencing new table as added
    for each statement execute function tds.enqueue();
