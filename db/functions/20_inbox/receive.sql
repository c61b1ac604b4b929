create or replace function tds.receive(
    entity text, body bytea, organization_id text default null, source text default 'webhook',
    shape text default 'webhook', event text default 'upsert', observed_at timestamptz default null,
    run_id bigint default null, headers jsonb default null)
returns table (inbox_id bigint, status text)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now      constant timestamptz := tds.now();
    v_entity   text := coalesce(receive.entity, '');
    v_observed constant timestamptz := least(coalesce(receive.observed_at, v_now), v_now);
    v_text     text;
    v_refusal  text;
    v_record   record;
begin
    select t.body, t.problem into v_text, v_refusal from tds.body_text(receive.body) t;
    -- a page is parsed when it is applied: it is stored five times as fast so
    select p.problem, p.entity, p.record_id, p.organization_id into v_record
      from tds.peek(v_entity, v_text) p
     where v_refusal is null and receive.shape <> 'list';
    v_refusal := coalesce(v_refusal, v_record.problem);
    v_entity := coalesce(v_record.entity, v_entity);
    v_record.organization_id := coalesce(receive.organization_id, v_record.organization_id,
                                         tds.setting_text('organization_id'));

    receive.inbox_id := tds.same_event(v_entity, v_record.organization_id, v_record.record_id,
                                       receive.shape, receive.event, v_text, v_now);
    if receive.inbox_id is not null then
        receive.status := 'duplicate';
        return next;
        return;
    end if;

    perform tds.ensure_partition((v_now at time zone 'UTC')::date);
    insert into tds.inbox (received_at, organization_id, entity, source, shape, event, record_id, observed_at,
                           run_id, headers, body, body_raw, refusal)
    values (v_now, v_record.organization_id, v_entity, receive.source, receive.shape, receive.event,
            v_record.record_id, v_observed, receive.run_id, receive.headers, v_text,
            case when v_text is null then coalesce(receive.body, '') end, v_refusal)
    returning inbox.inbox_id into receive.inbox_id;
    receive.status := case
        when v_refusal is null and exists (select from tds.entity n where n.entity = v_entity) then 'queued'
        else 'rejected' end;
    return next;
end
$$;
revoke all on function tds.receive(text, bytea, text, text, text, text, timestamptz, bigint, jsonb) from public;
comment on function tds.receive(text, bytea, text, text, text, text, timestamptz, bigint, jsonb) is
'The one way in: stores a body as it came. Answers queued; duplicate (the very bytes are already the record''s newest '
'event: nothing was stored); rejected (stored and dead-lettered at once: not JSON, or an unknown entity). Commit, '
'and only then acknowledge. shape: webhook, list, detail; event: upsert, delete; observed_at: when the API request was sent.';

create or replace function tds.receive_many(
    entity text[], body bytea[], organization_id text[] default null, source text default 'webhook',
    shape text default 'webhook', event text[] default null, headers jsonb[] default null)
returns table (ord int, inbox_id bigint, status text)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    select b.n::int, r.inbox_id, r.status
      from unnest(receive_many.entity, receive_many.body, receive_many.organization_id, receive_many.event,
                  receive_many.headers) with ordinality b(entity, body, organization_id, event, headers, n)
     cross join lateral tds.receive(b.entity, b.body, b.organization_id, receive_many.source, receive_many.shape,
                                    coalesce(b.event, 'upsert'), null, null, b.headers) r
     order by b.n;
end
$$;
revoke all on function tds.receive_many(text[], bytea[], text[], text, text, text[], jsonb[]) from public;
comment on function tds.receive_many(text[], bytea[], text[], text, text, text[], jsonb[]) is
'tds.receive() for several bodies in one transaction: one row and one status each, in the order given.';
