create or replace function tds.why_too_many(records int) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    -- the setting is read only where there is reason to
    return case when why_too_many.records > 1 and why_too_many.records > tds.setting_int('webhook_records')
                then format('%s records in one webhook: more than the setting webhook_records (%s)', why_too_many.records,
                            tds.setting_int('webhook_records')) end;
end
$$;
comment on function tds.why_too_many(int) is 'Why a webhook of so many records is refused; null: it is not.';

insert into tds.setting (name, value, description) values
    ('webhook_records', '1000',
        'Records that one webhook may tell of: Zoho sends one. A body of more is stored, and is a dead letter at once.')
on conflict on constraint setting_pkey do nothing;

create or replace function tds.speaks_for_zoho() returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    -- within a function that runs as its owner these two still say who called it
    select exists (
        select from pg_catalog.pg_roles r
         where (r.rolname in ('tds_poller', 'tds_worker', 'tds_operator')
                or r.oid = (select c.relowner from pg_catalog.pg_class c where c.oid = 'tds.inbox'::regclass))
           and pg_has_role(coalesce(nullif(current_setting('role'), 'none'), session_user)::name, r.oid, 'member'))
$$;
revoke all on function tds.speaks_for_zoho() from public;
comment on function tds.speaks_for_zoho() is
'Whether the caller may say what Zoho''s API answered: the poller, a worker, an operator or the owner. A receiver may not.';

create or replace function tds.check_source(source text, shape text, run_id bigint) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    if (check_source.source is distinct from 'webhook' or check_source.shape is distinct from 'webhook' or check_source.run_id is not null)
       and not tds.speaks_for_zoho() then
        raise exception using errcode = 'insufficient_privilege', message = 'only a webhook may be told of by this role',
            detail = format('source %s, shape %s', check_source.source, check_source.shape),
            hint = 'answers of Zoho''s API are stored by a member of tds_poller';
    end if;
end
$$;
revoke all on function tds.check_source(text, text, bigint) from public;
comment on function tds.check_source(text, text, bigint) is
'Raises insufficient_privilege where the caller says that Zoho''s API answered so and may not: such an answer is believed, a webhook is a '
'hint.';

create or replace function tds.receive_one(
    entity text, body bytea, organization_id text, source text, shape text, event text, observed_at timestamptz, run_id bigint,
    headers jsonb, looks boolean)
returns table (inbox_id bigint, status text)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now      constant timestamptz := tds.now();
    v_default  constant text := tds.default_organization();
    v_entity   text := coalesce(receive_one.entity, '');
    v_observed timestamptz;
    v_text     text;
    v_refusal  text;
    v_record   record;
begin
    select t.body, t.problem into v_text, v_refusal from tds.body_text(receive_one.body) t;
    -- a page is parsed when it is applied: it is stored five times as fast so
    select p.problem, p.entity, p.record_id, p.organization_id, p.records into v_record
      from tds.peek(v_entity, v_text) p
     where v_refusal is null and receive_one.shape <> 'list' and receive_one.looks;
    if v_refusal is not null then
        select g.problem, g.entity, g.record_id, g.organization_id, g.records into v_record
          from (select null as problem, g.*, null::int as records from tds.glimpse(v_entity, encode(receive_one.body, 'escape')) g) g;
    end if;
    v_refusal := coalesce(v_refusal, v_record.problem, case when receive_one.shape = 'webhook' then tds.why_too_many(v_record.records) end);
    v_entity := coalesce(v_record.entity,
                         case when not receive_one.looks
                              then (select min(p.entity) from tds.endpoint p where p.endpoint = v_entity and p.key = '') end, v_entity);
    -- whose it is: the caller's word, else the body's, else the default
    if receive_one.organization_id is null and v_record.organization_id is not null then
        v_refusal := coalesce(v_refusal, tds.organization_problem(v_record.organization_id, v_default));
    elsif receive_one.shape = 'webhook' and v_record.organization_id is not null then
        v_refusal := coalesce(v_refusal, tds.address_problem(receive_one.organization_id, v_record.organization_id));
    end if;
    v_record.organization_id := coalesce(receive_one.organization_id, left(v_record.organization_id, 50), v_default);
    v_observed := v_now + tds.zoho_ahead(v_record.organization_id);
    v_observed := least(coalesce(receive_one.observed_at, v_observed), v_observed);

    -- before the inbox is looked at: a session that learns which partitions there are while another commits one may miss it
    perform tds.ensure_partition((v_now at time zone 'UTC')::date);
    receive_one.inbox_id := (
        select r.inbox_id
          from tds.repeats(array[v_entity], array[v_record.organization_id], array[v_record.record_id],
                           array[receive_one.event], array[v_text], v_now) r
         where receive_one.shape = 'webhook' and v_record.record_id is not null and v_refusal is null);
    if receive_one.inbox_id is not null then
        receive_one.status := 'duplicate';
        return next;
        return;
    end if;

    insert into tds.inbox (received_at, organization_id, entity, source, shape, event, record_id, observed_at,
                           run_id, headers, body, body_raw, refusal, look_closer)
    values (v_now, v_record.organization_id, v_entity, receive_one.source, receive_one.shape, receive_one.event,
            v_record.record_id, v_observed, receive_one.run_id, receive_one.headers, v_text,
            case when v_text is null then coalesce(receive_one.body, '') end, v_refusal,
            -- any other is looked at when it is applied, by the pattern that reads all of it there anyway
            case when receive_one.shape = 'list' then tds.has_long_number(v_text, true) end)
    returning inbox.inbox_id into receive_one.inbox_id;
    receive_one.status := case
        when v_refusal is null and exists (select from tds.entity n where n.entity = v_entity) then 'queued'
        else 'rejected' end;
    return next;
end
$$;
revoke all on function tds.receive_one(text, bytea, text, text, text, text, timestamptz, bigint, jsonb, boolean) from public;
comment on function tds.receive_one(text, bytea, text, text, text, text, timestamptz, bigint, jsonb, boolean) is
'What tds.receive() does once the caller may; looks: whether the body is parsed, to know whose it is and whether it is new.';

create or replace function tds.receive(
    entity text, body bytea, organization_id text default null, source text default 'webhook',
    shape text default 'webhook', event text default 'upsert', observed_at timestamptz default null,
    run_id bigint default null, headers jsonb default null)
returns table (inbox_id bigint, status text)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform tds.check_source(receive.source, receive.shape, receive.run_id);
    return query
    select r.inbox_id, r.status
      from tds.receive_one(receive.entity, receive.body, receive.organization_id, receive.source, receive.shape, receive.event,
                           receive.observed_at, receive.run_id, receive.headers, true) r;
end
$$;
revoke all on function tds.receive(text, bytea, text, text, text, text, timestamptz, bigint, jsonb) from public;
comment on function tds.receive(text, bytea, text, text, text, text, timestamptz, bigint, jsonb) is
'The one way in: stores a body as it came. Answers queued; duplicate (the very bytes are already the record''s newest '
'event: nothing was stored); rejected (stored and dead-lettered at once: not JSON, or an unknown entity). Commit, '
'and only then acknowledge. shape: webhook, list, detail; event: upsert, delete; observed_at: when the API request was sent.';

create or replace function tds.receive_set(
    entity text[], body text[], organization_id text[], source text, shape text, event text[], headers jsonb[],
    out ords int[], out inbox_ids bigint[], out statuses text[])
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now     constant timestamptz := tds.now();
    v_default constant text := tds.default_organization();
begin
    perform tds.ensure_partition((v_now at time zone 'UTC')::date);
    with looked as materialized (
        select l.n, l.entity, l.target, l.record_id, coalesce(g.organization_id, left(l.organization_id, 50), v_default) as organization_id,
               case when l.organization_id is null or l.organization_id = g.organization_id then null
                    when g.organization_id is null then tds.organization_problem(l.organization_id, v_default)
                    when receive_set.shape = 'webhook' then tds.address_problem(g.organization_id, l.organization_id) end as refusal
          from tds.look(receive_set.entity, receive_set.body) l
          -- arrays are looked into by number: a join would carry their bodies along
         cross join lateral (select receive_set.organization_id[l.n] as organization_id) g
         -- what is refused is told why, one by one
         where receive_set.shape <> 'webhook' or l.records is null or l.records <= 1 or tds.why_too_many(l.records) is null
    ), first as materialized (
        -- the second telling of a record is compared with the first, and needs it stored for that
        select k.*
          from (select d.*, row_number() over (partition by d.organization_id, d.target, d.record_id order by d.n) as telling
                  from looked d) k
         where k.record_id is null or k.refusal is not null or k.telling = 1
    ), repeated as materialized (
        select r.n, r.inbox_id
          from (select array_agg(d.entity order by d.n) as entities, array_agg(d.organization_id order by d.n) as organization_ids,
                       array_agg(d.record_id order by d.n) as record_ids
                  from looked d) s
         cross join lateral tds.repeats(s.entities, s.organization_ids, s.record_ids, receive_set.event, receive_set.body, v_now) r
         where receive_set.shape = 'webhook'
           and r.n in (select f.n from first f where f.refusal is null)
           -- what comes before it in this very set may tell of several records, and otherwise
           and not exists (select from looked s
                             join looked f on f.organization_id = s.organization_id and f.target = s.target
                            where f.n = r.n and s.n < r.n and s.record_id is null)
    ), fresh as materialized (
        select f.*, nextval('tds.inbox_id_seq') as inbox_id
          from (select i.* from first i where i.n not in (select r.n from repeated r) order by i.n) f
    ), stored as (
        insert into tds.inbox (inbox_id, received_at, organization_id, entity, source, shape, event, record_id, observed_at,
                               headers, body, refusal)
        select f.inbox_id, v_now, f.organization_id, f.entity, receive_set.source, receive_set.shape, receive_set.event[f.n], f.record_id,
               v_now + coalesce(f.skew, interval '0') - (cardinality(receive_set.body) - f.n) * interval '1 microsecond',
               receive_set.headers[f.n], receive_set.body[f.n], f.refusal
          from (select n.*, c.skew
                  from fresh n left join tds.zoho_clock c on c.organization_id = n.organization_id
                 order by n.n) f
    ), told as (
        select f.n, f.inbox_id, case when f.target is null or f.refusal is not null then 'rejected' else 'queued' end as status from fresh f
        union all
        select r.n, r.inbox_id, 'duplicate' from repeated r
    )
    select array_agg(t.n), array_agg(t.inbox_id), array_agg(t.status)
      into receive_set.ords, receive_set.inbox_ids, receive_set.statuses
      from told t;
end
$$;
revoke all on function tds.receive_set(text[], text[], text[], text, text, text[], jsonb[]) from public;
comment on function tds.receive_set(text[], text[], text[], text, text, text[], jsonb[]) is
'Stores bodies as one set, of each record the first only, and says which it took and what became of them. Raises where one cannot be read.';

create or replace function tds.receive_many(
    entity text[], body bytea[], organization_id text[] default null, source text default 'webhook',
    shape text default 'webhook', event text[] default null, headers jsonb[] default null)
returns table (ord int, inbox_id bigint, status text)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
-- planning it takes longer than doing it
set plan_cache_mode = force_generic_plan
as $$
declare
    v_texts     text[];
    v_asked     text[];
    v_events    text[];
    v_ords      int[];
    v_inbox_ids bigint[];
    v_statuses  text[];
    v_looks     boolean := true;
begin
    perform tds.check_source(receive_many.source, receive_many.shape, null);
    begin
        -- arrays of one length, so that none of them pads another with nulls; unnest() gives them in their order
        select array_agg(convert_from(coalesce(b.body, ''), 'UTF8')), array_agg(b.organization_id),
               array_agg(coalesce(b.event, 'upsert'))
          into v_texts, v_asked, v_events
          from unnest(receive_many.body, receive_many.organization_id, receive_many.event) b(body, organization_id, event)
         where receive_many.shape <> 'list';
        select s.ords, s.inbox_ids, s.statuses into v_ords, v_inbox_ids, v_statuses
          from tds.receive_set(receive_many.entity, v_texts, v_asked, receive_many.source, receive_many.shape, v_events,
                               receive_many.headers) s;
    exception
        when data_exception or program_limit_exceeded or statement_too_complex or out_of_memory or configuration_limit_exceeded then
            -- one of them cannot be read: each is looked at by itself
            v_ords := null;
        when query_canceled then
            -- the limit of time is over, and will not come again: all are stored without a look, which the apply takes
            v_ords := null;
            v_looks := false;
    end;
    if cardinality(v_ords) = greatest(cardinality(receive_many.entity), cardinality(receive_many.body),
                                      cardinality(receive_many.organization_id), cardinality(receive_many.event),
                                      cardinality(receive_many.headers)) then
        return query
        select t.ord, t.inbox_id, t.status from unnest(v_ords, v_inbox_ids, v_statuses) t(ord, inbox_id, status) order by 1;
        return;
    end if;
    return query
    select t.ord, t.inbox_id, t.status
      from unnest(v_ords, v_inbox_ids, v_statuses) t(ord, inbox_id, status)
     union all
    select b.n::int, r.inbox_id, r.status
      from unnest(receive_many.entity, receive_many.body, receive_many.organization_id, receive_many.event,
                  receive_many.headers) with ordinality b(entity, body, organization_id, event, headers, n)
     cross join lateral tds.receive_one(b.entity, b.body, b.organization_id, receive_many.source, receive_many.shape,
                                        coalesce(b.event, 'upsert'),
                                        tds.zoho_now(b.organization_id) - (cardinality(receive_many.body) - b.n) * interval '1 microsecond',
                                        null, b.headers, v_looks) r
     where b.n <> all (coalesce(v_ords, '{}'))
     order by 1;
end
$$;
revoke all on function tds.receive_many(text[], bytea[], text[], text, text, text[], jsonb[]) from public;
comment on function tds.receive_many(text[], bytea[], text[], text, text, text[], jsonb[]) is
'tds.receive() for several bodies in one transaction: one row and one status each, in the order given, which is that of their observed_at.';
