-- Who asks Zoho for an organisation: a move to another shard begins when all of them have let go of it.
-- depends: 0064_shards
create table tds.asking (
    organization_id text not null,
    session         int not null,
    since           timestamptz not null,
    primary key (organization_id, session)
);
comment on table  tds.asking is
'Sessions that ask Zoho for an organisation (tds.set_budget()): a move to another shard waits until those of them that live have let go.';
comment on column tds.asking.organization_id is 'Zoho''s organisation.';
comment on column tds.asking.session is 'The session: it holds the advisory lock (tds.api_lock_class(), session) while it lives.';
comment on column tds.asking.since is 'Since when.';

alter table tds.gate drop constraint gate_state_check;
alter table tds.gate add constraint gate_state_check check (state in ('arriving', 'leaving', 'departed', 'gone'));
comment on column tds.gate.state is
'arriving: its events are stored and wait; leaving: nothing is asked of Zoho for it any more, its events are taken as ever; departed: '
'nothing of it is taken here any more; gone: nor is any of it shown in reports. In all of them nobody asks Zoho for it.';

-- takes an argument from now on
drop function if exists tds.moved_tables();
