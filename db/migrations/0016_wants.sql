-- depends: 0015_migration
-- Who has a wanted detail in hand, and which details change although no list says so.

alter table tds.wanted_detail add column leased_for timestamptz, add column leased_by int;
comment on column tds.wanted_detail.leased_until is 'A fetcher has it until then, or has stored it and it is being processed; after a failure: not before then.';
comment on column tds.wanted_detail.leased_for is 'The wanted_at that it was leased for; a later one is a new need.';
comment on column tds.wanted_detail.leased_by is
'Session of the fetcher, which holds the advisory lock (tds.api_lock_class(), leased_by) while it lives; null: its answer is stored.';

alter table tds.entity add column volatile_details boolean not null default false;
comment on column tds.entity.volatile_details is 'Whether details change without a sign in the list (stock by place, prices), so that they have to be read again from time to time.';

alter table tds.full_pull add column details_asked_at timestamptz;
comment on column tds.full_pull.details_asked_at is 'When it asked for the details that change without a sign; null: not yet.';

alter table tds.run add column session int;
comment on column tds.run.session is
'Session of the process that works on it, which holds the advisory lock (tds.api_lock_class(), session) while it lives; null: nobody''s known.';

drop function if exists tds.take_details(text, text, int);
drop function if exists tds.plan_entities(text);
drop function if exists tds.begin_pull(bigint);
