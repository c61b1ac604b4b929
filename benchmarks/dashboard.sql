-- A million events, dead letters, runs and 90 days of samples, of so many organisations in turn, for benchmarks/dashboard.py and large.py;
-- a statement a paragraph.

select tds.ensure_partition((now() at time zone 'UTC')::date - n) from generate_series(0, 30) n;

insert into tds.inbox_outcome (inbox_id, received_at, entity, status, applied, finished_at)
select s.last_value + e.n, e.at, (array['products', 'invoices', 'bills'])[1 + e.n %% 3],
       case when e.n %% 100 = 0 then 'dead_letter' else 'completed' end, 1, e.at + interval '2 seconds'
  from (select n, now() - interval '30 days' + n * (interval '30 days' / (%(events)s + 1)) as at
          from generate_series(1, %(events)s) n) e, tds.inbox_id_seq s;

alter table tds.inbox disable trigger inbox_enqueue;

insert into tds.inbox (inbox_id, received_at, organization_id, entity, source, shape, event, record_id, observed_at, body)
select o.inbox_id, o.received_at, (%(organization)s::bigint + o.inbox_id %% %(organizations)s)::text, o.entity, 'webhook',
       'webhook', 'upsert', (4600000000000000000 + o.inbox_id %% 50000)::text,
       o.received_at, '{"item": {"item_id": "' || 4600000000000000000 + o.inbox_id %% 50000 || '", "rate": "x"}}'
  from tds.inbox_outcome o where o.finished_at = o.received_at + interval '2 seconds';

alter table tds.inbox enable always trigger inbox_enqueue;

select setval('tds.inbox_id_seq', (select max(inbox_id) from tds.inbox));

insert into tds.outcome_counter (entity, day, status, slot, events)
select entity, (received_at at time zone 'UTC')::date, status, inbox_id %% 16, count(*)
  from tds.inbox_outcome where finished_at = received_at + interval '2 seconds' group by 1, 2, 3, 4
on conflict on constraint outcome_counter_pkey do update set events = tds.outcome_counter.events + excluded.events;

insert into tds.dead_letter (inbox_id, received_at, entity, organization_id, zoho_id, observed_at, path, value, reason,
                             error_code, attempts, dead_at, of_page, record)
select o.inbox_id, o.received_at, o.entity, (%(organization)s::bigint + o.inbox_id %% %(organizations)s)::text, o.inbox_id::text,
       o.received_at,
       (array['rate', 'total', 'date'])[1 + o.inbox_id %% 3], 'x', 'not a number', 'ZB001', 1, o.finished_at, false,
       '{"item_id": "' || o.inbox_id || '", "rate": "x"}'
  from tds.inbox_outcome o where o.status = 'dead_letter' order by o.inbox_id;

insert into tds.run (organization_id, entity, state, started_at, heartbeat_at, listed_at, finished_at, pages, records)
select (%(organization)s::bigint + n %% %(organizations)s)::text, (array['products', 'invoices', 'bills', 'payments'])[1 + n %% 4],
       'complete', r.at, r.at, r.at, r.at,
       3, 500
  from generate_series(17000, 1, -1) n, lateral (select now() - n * interval '15 minutes' as at) r;

insert into tds.wanted_detail (organization_id, entity, zoho_id, reason, wanted_at)
select (%(organization)s::bigint + n %% %(organizations)s)::text, 'products', n::text, 'new', now() - n * interval '1 second'
  from generate_series(1, 5000) n;

insert into tds.heal_log (healed_at, step, subject, act, ok)
select now() - n * interval '5 minutes', 'claims', n::text, 'given back', true from generate_series(1, 8640) n;

insert into tds.health_result (looked_at, check_name, state, value, told)
select now() - n * interval '15 minutes', c.check_name, 'ok', 1, '' from tds.health_check c, generate_series(1, 2880) n;

insert into tds.measure (name, measured_at, value)
select m, now() - n * interval '15 minutes', 1e9 - n from unnest(array['database_bytes', 'completed']) m,
       generate_series(1, 8640) n;

select tds.take_sample();

insert into tds.sample (span_seconds, at, received, completed, dead, parked, waiting, oldest_seconds, delay_seconds,
                        delay_events, calls)
select s.span, to_timestamp(floor(extract(epoch from now()) / s.span) * s.span) - n * s.span * interval '1 second',
       k.counts, k.counts, 1, 2, 3, 0.5, 12, 40, 30
  from (values (60, 2880), (900, 768), (21600, 360)) s(span, many), generate_series(1, s.many) n,
       lateral (select jsonb_object_agg(e.entity, 5 + length(e.entity) + n * 0) as counts from tds.entity e) k
on conflict do nothing;

insert into zoho.products (organization_id, zoho_item_id, name, sku, stock_quantity, is_active, synced_at, zoho_metadata,
                           sync_version, sync_observed_at, sync_rank)
select %(organization)s, (4600000000000000000 + n)::text, 'Product ' || n, 'SKU-' || n, n %% 40, true, now(), '{"item_id": "1"}', 1,
       now(), 3
  from generate_series(1, 50000) n;

insert into tds.reconcile_run (organization_id, as_of, month, requested_at, requested_by, finished_at, compared, differing)
select (%(organization)s::bigint + n %% %(organizations)s)::text, r.at, date_trunc('month', r.at), r.at, 'the clock', r.at, 1200, n %% 3
  from generate_series(1100, 1, -1) n, lateral (select now() - n * interval '1 day' as at) r;

insert into tds.discrepancy (organization_id, report, measure, status, period, currency, party_kind, party_id, party_name, ours,
                             zoho, difference, first_seen, last_seen, reconciliation_id, documents, resolved_at)
select (%(organization)s::bigint + n %% %(organizations)s)::text, (array['salesbyitem', 'inventorysummary'])[1 + n %% 2],
       'quantity', '', n::text, '', 'product', n::text,
       'Product ' || n, 5, 4, 1, now(), now(), 1, '[{"entity": "invoices", "id": "7", "number": "INV-7", "what": "differs"}]',
       case when n > 1000 then now() end
  from generate_series(1, 20000) n;

insert into tds.verification (depth, entities, state, asked_by, asked_at, started_at, finished_at, checked, differing)
select (array['inside', 'lists'])[1 + n %% 2], '{products}', 'done', 'the clock', r.at, r.at, r.at, 50000, n %% 3
  from generate_series(180, 1, -1) n, lateral (select now() - n * interval '12 hours' as at) r;

insert into tds.verification_difference (verification_id, organization_id, entity, zoho_id, table_name, column_name, what, ours, should_be,
                                         since, mend, closed_at)
select 1, (%(organization)s::bigint + n %% %(organizations)s)::text, (array['products', 'invoices'])[1 + n %% 2], n::text,
       'products', 'unit_price', 'differs', '1', '2', now(),
       'repair', case when n > 10000 then now() end
  from generate_series(1, 100000) n;

select tds.observe_health();

vacuum analyze;
