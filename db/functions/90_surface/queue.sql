create or replace view tds.dead_letter_of_page as
select d.inbox_id, d.received_at, d.entity, d.attempts, d.error_code, d.path, d.reason, d.dead_at, d.organization_id
  from tds.dead_letter d
 where d.resolved_at is null and d.of_page;
comment on view tds.dead_letter_of_page is 'Records that lie dead although the page they came in is completed.';
comment on column tds.dead_letter_of_page.inbox_id is 'The page.';
comment on column tds.dead_letter_of_page.received_at is 'Its partition.';
comment on column tds.dead_letter_of_page.entity is 'The entity.';
comment on column tds.dead_letter_of_page.attempts is 'Tries it had.';
comment on column tds.dead_letter_of_page.error_code is 'SQLSTATE.';
comment on column tds.dead_letter_of_page.path is 'JSON path of the bad value.';
comment on column tds.dead_letter_of_page.reason is 'What is wrong with it.';
comment on column tds.dead_letter_of_page.dead_at is 'When it was given up.';
comment on column tds.dead_letter_of_page.organization_id is 'Zoho organisation.';

create or replace view public.tds_sync_queue as
select o.inbox_id, o.received_at, o.entity,
       case when o.retry_at is not null then 'failed'
            when c.claim_id is not null then 'processing'
            else 'pending' end as status,
       o.attempts, o.retry_at, o.error_code, o.error, null::timestamptz as finished_at,
       null::int as applied, null::int as unchanged, null::int as stale, null::int as retried, null::int as dead,
       o.error_context, o.organization_id
  from tds.inbox_open o
  left join (select l.claim_id, e.inbox_id from tds.claim l cross join lateral unnest(l.inbox_ids) e(inbox_id)) c on c.inbox_id = o.inbox_id
 union all
select d.inbox_id, d.received_at, d.entity, d.status,
       null, null, null, null, d.finished_at, d.applied, d.unchanged, d.stale, d.retried, d.dead, null, d.organization_id
  from tds.inbox_outcome d
 union all
select l.inbox_id, l.received_at, l.entity, 'dead_letter', l.attempts, null, l.error_code, concat_ws(': ', l.path, l.reason), l.dead_at,
       null, null, null, null, 1, null, l.organization_id
  from tds.dead_letter_of_page l;
comment on view public.tds_sync_queue is
'One row an event and what became of it: pending, processing, failed (parked until retry_at), completed, dead_letter; and a row more, '
'dead_letter, for each record that still lies dead of a page whose other records were used. Counts whatever the history: tds_queue_counts.';
comment on column public.tds_sync_queue.inbox_id is 'The event; its body is in tds_inbox_events.';
comment on column public.tds_sync_queue.received_at is 'When it came.';
comment on column public.tds_sync_queue.entity is 'What it is about.';
comment on column public.tds_sync_queue.status is 'pending, processing, failed, completed or dead_letter.';
comment on column public.tds_sync_queue.attempts is 'Failures attributed to it so far, while it is open.';
comment on column public.tds_sync_queue.retry_at is 'When it is tried again.';
comment on column public.tds_sync_queue.error_code is 'SQLSTATE of its last failure, while it is open.';
comment on column public.tds_sync_queue.error is 'Message of its last failure, while it is open.';
comment on column public.tds_sync_queue.finished_at is 'When its outcome was written.';
comment on column public.tds_sync_queue.applied is 'Records whose row it changed.';
comment on column public.tds_sync_queue.unchanged is 'Records that said nothing new.';
comment on column public.tds_sync_queue.stale is 'Records older than what was known.';
comment on column public.tds_sync_queue.retried is 'Records that went on alone after a failure.';
comment on column public.tds_sync_queue.dead is 'Records that became dead letters.';
comment on column public.tds_sync_queue.error_context is
'Where in the functions its last failure happened, the innermost first, while it is open.';
comment on column public.tds_sync_queue.organization_id is
'Zoho organisation; null: the event named none, or was finished before version 0078 of the schema and its body was gone by then. While '
'an upgrade to that is noting it, older ones are null, too: tds.outcome_to_note says up to which number.';

create or replace view public.tds_queue_counts as
select s.status, sum(s.events)::bigint as events
  from (select c.status, c.events from tds.outcome_counter c
         union all
        select case when o.retry_at is not null then 'failed'
                    when o.inbox_id in (select unnest(l.inbox_ids) from tds.claim l) then 'processing'
                    else 'pending' end, 1
          from tds.inbox_open o
         union all
        select 'dead_letter', 1 from tds.dead_letter_of_page) s
 group by s.status;
comment on view public.tds_queue_counts is
'Events by status, as in tds_sync_queue, from counters: as fast with a long history as with none.';
comment on column public.tds_queue_counts.status is 'pending, processing, failed, completed or dead_letter.';
comment on column public.tds_queue_counts.events is 'How many events.';

create or replace view public.tds_waiting as
select o.inbox_id, o.received_at, o.entity, o.organization_id, i.record_id as zoho_id, coalesce(o.waiting_since, o.received_at) as since,
    o.retry_at,
       o.attempts + o.waits + o.crashes as tries, o.error_code, o.error
  from tds.inbox_open o
  left join tds.inbox i on i.received_at = o.received_at and i.inbox_id = o.inbox_id
 where o.error is not null;
comment on view public.tds_waiting is
'Events that failed and wait for another try: since when, until when, how often they failed, and why.';
comment on column public.tds_waiting.inbox_id is 'The event; its body is in tds_inbox_events.';
comment on column public.tds_waiting.received_at is 'When it came.';
comment on column public.tds_waiting.entity is 'What it is about.';
comment on column public.tds_waiting.organization_id is 'Zoho organisation.';
comment on column public.tds_waiting.zoho_id is 'Zoho''s id of its one record; null for a page.';
comment on column public.tds_waiting.since is 'Since when it fails alone for a reason outside its data, else when it came.';
comment on column public.tds_waiting.retry_at is 'When it is tried again; null: as soon as its queue is.';
comment on column public.tds_waiting.tries is 'How often it failed.';
comment on column public.tds_waiting.error_code is 'SQLSTATE of the last failure.';
comment on column public.tds_waiting.error is 'What it said; of a lock, who holds it.';

create or replace view public.tds_lock_holders as
select h.pid, h.user_name, h.application_name, h.since, h.state, h.query, h.tables, h.waiting from tds.lock_holders() h;
comment on view public.tds_lock_holders is
'Sessions whose transaction has written to or locked tables of the mirror or of TDS, the oldest first: who keeps others waiting.';
comment on column public.tds_lock_holders.pid is 'Its backend; select pg_terminate_backend(pid) ends it.';
comment on column public.tds_lock_holders.user_name is 'Who.';
comment on column public.tds_lock_holders.application_name is 'With what; tds/… are our own.';
comment on column public.tds_lock_holders.since is 'Since when its transaction is open.';
comment on column public.tds_lock_holders.state is 'active, or idle in transaction.';
comment on column public.tds_lock_holders.query is 'Its last statement, cut at 200 characters.';
comment on column public.tds_lock_holders.tables is 'Tables it holds locks on.';
comment on column public.tds_lock_holders.waiting is 'Backends that wait for it now.';

create or replace view public.tds_inbox_events as
select i.inbox_id, i.received_at, i.organization_id, i.entity, i.source, i.shape, i.event, i.record_id, i.observed_at, i.run_id,
       i.headers, i.body, i.body_raw, i.refusal
  from tds.inbox i;
comment on view public.tds_inbox_events is 'Every event as it came; name a range of received_at to touch few partitions.';
comment on column public.tds_inbox_events.inbox_id is 'The event''s number.';
comment on column public.tds_inbox_events.received_at is 'When it was stored.';
comment on column public.tds_inbox_events.organization_id is 'Zoho organisation.';
comment on column public.tds_inbox_events.entity is 'What it is about.';
comment on column public.tds_inbox_events.source is 'Who brought it: webhook, poller, replay, retry.';
comment on column public.tds_inbox_events.shape is 'webhook, list or detail.';
comment on column public.tds_inbox_events.event is 'upsert or delete.';
comment on column public.tds_inbox_events.record_id is 'Zoho''s id of its one record.';
comment on column public.tds_inbox_events.observed_at is 'When the request was sent, or the webhook came.';
comment on column public.tds_inbox_events.run_id is 'The run that fetched it.';
comment on column public.tds_inbox_events.headers is 'HTTP headers worth keeping.';
comment on column public.tds_inbox_events.body is 'The body, when it is text.';
comment on column public.tds_inbox_events.body_raw is 'The body, when it cannot be text.';
comment on column public.tds_inbox_events.refusal is 'Why it was set aside at once.';

create or replace view public.tds_dead_letter_queue as
select d.dead_letter_id, d.dead_at, d.entity, d.organization_id, d.zoho_id, d.path, d.value, d.reason, d.error_code, d.attempts,
       d.inbox_id, d.position, format('select tds.replay(%s);', d.dead_letter_id) as replay_command, d.record,
       d.error_context
  from tds.dead_letter d
 where d.resolved_at is null;
comment on view public.tds_dead_letter_queue is
'What could not be applied and still waits for somebody: path, value, reason, and the command that sends it on its way again.';
comment on column public.tds_dead_letter_queue.dead_letter_id is 'The number tds.replay() takes.';
comment on column public.tds_dead_letter_queue.dead_at is 'When it was given up.';
comment on column public.tds_dead_letter_queue.entity is 'The entity.';
comment on column public.tds_dead_letter_queue.organization_id is 'Zoho organisation.';
comment on column public.tds_dead_letter_queue.zoho_id is 'Zoho''s id, where it could be read.';
comment on column public.tds_dead_letter_queue.path is 'Path of the bad value in the record.';
comment on column public.tds_dead_letter_queue.value is 'The bad value.';
comment on column public.tds_dead_letter_queue.reason is 'What is wrong with it.';
comment on column public.tds_dead_letter_queue.error_code is 'SQLSTATE.';
comment on column public.tds_dead_letter_queue.attempts is 'Tries it had.';
comment on column public.tds_dead_letter_queue.inbox_id is 'The event it came in.';
comment on column public.tds_dead_letter_queue.position is 'Place in that event''s body, from 1; null: the whole event.';
comment on column public.tds_dead_letter_queue.replay_command is 'What to run once the cause is mended.';
comment on column public.tds_dead_letter_queue.record is 'The record as JSON.';
comment on column public.tds_dead_letter_queue.error_context is
'Where it failed, the innermost first; null where a reader refused the value at path.';

create or replace view public.tds_sync_runs as
select r.run_id, r.organization_id, r.entity, r.state, r.options, r.requested_at, r.requested_by, r.started_at, r.finished_at,
       coalesce(r.finished_at, n.now) - r.started_at as duration,
       r.since, r.filtered, r.pages, e.pages as expected_pages, r.records, r.calls,
       r.details + w.wanted as details_wanted, r.details as details_fetched, w.failed as details_failed,
       case r.state
           when 'queued' then 0.0
           when 'running' then case when e.pages > 0 then least(round(r.pages::numeric / e.pages, 3), 0.999) end
           when 'settling' then round(coalesce(r.details::numeric / nullif(r.details + w.wanted, 0), 1), 3)
           when 'complete' then 1.0 end as progress,
       round(r.records / nullif(extract(epoch from coalesce(r.listed_at, r.finished_at, n.now) - r.started_at), 0),
             1) as records_per_second,
       case r.state
           when 'running' then n.now + (n.now - r.started_at) / nullif(r.pages, 0) * greatest(e.pages - r.pages, 1)
           when 'settling' then n.now + (n.now - r.listed_at) / nullif(r.details, 0) * (w.wanted - w.failed) end as eta,
       r.heartbeat_at, r.error
  from tds.run r
 cross join (select tds.now() as now) n
    -- a complete one wants nothing any more
 cross join lateral (select count(*)::int as wanted, count(d.error)::int as failed from tds.wanted_detail d
                      where d.run_id = r.run_id and r.state <> 'complete') w
  left join lateral (
        select greatest(ceil(p.records::numeric / case when r.entity = 'stock' then 200
                             else coalesce((r.options ->> 'batch_size')::int, 200) end), 1)::int as pages
          from tds.run p
         where p.organization_id = r.organization_id and p.entity = r.entity and p.run_id < r.run_id
           and p.listed_at is not null and not p.filtered and p.records > 0
           and not r.filtered
         order by p.run_id desc
         limit 1) e on true;
comment on view public.tds_sync_runs is 'One row a pull: what was asked for, how far it is, what it has cost, and when it will be through.';
comment on column public.tds_sync_runs.run_id is 'The run.';
comment on column public.tds_sync_runs.organization_id is 'Zoho organisation.';
comment on column public.tds_sync_runs.entity is 'What is pulled.';
comment on column public.tds_sync_runs.state is 'queued, running, settling, complete, partial, failed or cancelled; see tds.run.';
comment on column public.tds_sync_runs.options is 'What was asked for, defaults left out.';
comment on column public.tds_sync_runs.requested_at is 'When it was asked for; null: a command fetched it itself.';
comment on column public.tds_sync_runs.requested_by is 'Who asked.';
comment on column public.tds_sync_runs.started_at is 'When it began.';
comment on column public.tds_sync_runs.finished_at is 'When it ended.';
comment on column public.tds_sync_runs.duration is 'How long it took, or takes so far.';
comment on column public.tds_sync_runs.since is 'Only records modified since then are asked for; null: all.';
comment on column public.tds_sync_runs.filtered is 'Whether the API does the asking; false: the whole list is read.';
comment on column public.tds_sync_runs.pages is 'Pages stored.';
comment on column public.tds_sync_runs.expected_pages is
'Pages to expect, from the records of the newest whole list read before; null: there was none, or the run is filtered. The API tells no '
'total without a call that would have to be paid.';
comment on column public.tds_sync_runs.records is 'Records in the pages.';
comment on column public.tds_sync_runs.calls is 'Calls it has cost.';
comment on column public.tds_sync_runs.details_wanted is 'Details it wants, those fetched included.';
comment on column public.tds_sync_runs.details_fetched is 'Details fetched for it.';
comment on column public.tds_sync_runs.details_failed is 'Details that could not be had so far.';
comment on column public.tds_sync_runs.progress is
'Share that is done, 0 to 1: of the pages while running, of the details while settling; null where unknown.';
comment on column public.tds_sync_runs.records_per_second is 'How fast the list was read.';
comment on column public.tds_sync_runs.eta is
'When the pages (while running) or the details (while settling) will be through at the speed so far; null where that is unknown.';
comment on column public.tds_sync_runs.heartbeat_at is 'When it last made progress.';
comment on column public.tds_sync_runs.error is 'Why it did not complete, or what it is waiting for.';
