-- depends: 0041_looked_at
-- Alerts: what is not well and who was told.

create table tds.alert (
    alert_id           bigint generated always as identity,
    organization_id    text not null default '',
    kind               text not null,
    entity             text not null default '',
    audience           text not null,
    severity           text not null,
    worst              text not null,
    value              numeric,
    unit               text not null default '',
    threshold          numeric,
    since              timestamptz not null,
    summary            text not null,
    says               text not null,
    next_command       text not null,
    opened_at          timestamptz not null,
    updated_at         timestamptz not null,
    resolved_at        timestamptz,
    well_since         timestamptz,
    milder_since       timestamptz,
    flaps              int not null default 0,
    announced          text not null default 'nothing',
    remind             boolean not null default false,
    acknowledged_at    timestamptz,
    acknowledged_by    text,
    acknowledged_until timestamptz,
    constraint alert_pkey primary key (alert_id),
    constraint audience_is_known check (audience in ('operations', 'business')),
    constraint severity_is_known check (severity in ('warning', 'critical')),
    constraint worst_is_known check (worst in ('warning', 'critical')),
    constraint announced_is_known check (announced in ('nothing', 'warning', 'critical', 'resolved')),
    constraint acknowledged_by_somebody check ((acknowledged_at is null) = (acknowledged_by is null))
) with (fillfactor = 70);
create unique index alert_open_key on tds.alert (organization_id, kind, entity) where resolved_at is null;
create index alert_resolved_idx on tds.alert (organization_id, kind, entity, resolved_at) where resolved_at is not null;
create index alert_to_tell_idx on tds.alert (alert_id) where announced <> 'resolved';
comment on table  tds.alert is
'What is not well, a row from its opening to its end; one open row an organisation, kind and entity. tds.raise_alerts() writes it.';
comment on column tds.alert.alert_id is 'Number.';
comment on column tds.alert.organization_id is 'Zoho organisation; empty: it is about TDS itself.';
comment on column tds.alert.kind is 'The check of tds.health(), or low_stock, negative_stock.';
comment on column tds.alert.entity is 'What of that kind: the product''s id; empty: there is one.';
comment on column tds.alert.audience is 'Who is told: operations, or business.';
comment on column tds.alert.severity is 'warning or critical.';
comment on column tds.alert.worst is 'The worst it has been.';
comment on column tds.alert.value is 'What was measured last while it was not well.';
comment on column tds.alert.unit is 'Unit of value and threshold.';
comment on column tds.alert.threshold is 'The threshold that was crossed.';
comment on column tds.alert.since is 'Since when it is not well, as far as that is known.';
comment on column tds.alert.summary is 'What is the matter, in a line.';
comment on column tds.alert.says is 'What the check said.';
comment on column tds.alert.next_command is 'What to do.';
comment on column tds.alert.opened_at is 'When it was opened.';
comment on column tds.alert.updated_at is 'When anything of this row was last changed.';
comment on column tds.alert.resolved_at is 'When it was seen to be over; null: it is open.';
comment on column tds.alert.well_since is 'Since when it is well, while nobody believes that yet.';
comment on column tds.alert.milder_since is 'Since when it is a warning only, while it still counts as critical.';
comment on column tds.alert.flaps is 'How often it came back lately: each time it has to be well for twice as long to be over.';
comment on column tds.alert.announced is 'What messages were made of: nothing, warning, critical, or all there is to tell (resolved).';
comment on column tds.alert.remind is 'Whether an acknowledgement has ended and this is to be told again.';
comment on column tds.alert.acknowledged_at is 'When somebody said that they see to it.';
comment on column tds.alert.acknowledged_by is 'Who.';
comment on column tds.alert.acknowledged_until is 'Until when that holds; null: to the end.';

create type tds.alert_signal as (
    organization_id text,
    kind            text,
    entity          text,
    audience        text,
    state           text,
    value           numeric,
    unit            text,
    threshold       numeric,
    since           timestamptz,
    summary         text,
    says            text,
    next_command    text
);
comment on type tds.alert_signal is 'How something stands that alerts are made of; state as in tds.health(). What gives no signal is well.';

create table tds.alert_mute (
    organization_id text not null default '*',
    kind            text not null,
    entity          text not null default '*',
    muted_at        timestamptz not null,
    muted_by        text not null,
    muted_until     timestamptz not null,
    constraint alert_mute_pkey primary key (organization_id, kind, entity)
);
comment on table  tds.alert_mute is
'Of what nobody is told for a while. It goes by the alert''s name, and so holds for one that opens meanwhile.';
comment on column tds.alert_mute.organization_id is 'Zoho organisation; *: every one, and TDS itself.';
comment on column tds.alert_mute.kind is 'Kind of alert; *: every one.';
comment on column tds.alert_mute.entity is 'What of that kind; *: everything.';
comment on column tds.alert_mute.muted_at is 'When somebody said so.';
comment on column tds.alert_mute.muted_by is 'Who.';
comment on column tds.alert_mute.muted_until is 'Until when; it ends by itself.';

create table tds.alert_delivery (
    delivery_id bigint generated always as identity,
    message_id  uuid not null default gen_random_uuid(),
    audience    text not null,
    change      text not null,
    severity    text not null,
    alert_ids   bigint[] not null,
    title       text not null,
    body        text not null,
    created_at  timestamptz not null,
    next_try_at timestamptz not null,
    tries       int not null default 0,
    trying      text,
    doubts      int not null default 0,
    had_by      text[] not null default '{}',
    error       text,
    sent_at     timestamptz,
    gave_up_at  timestamptz,
    constraint alert_delivery_pkey primary key (delivery_id),
    constraint change_is_known check (change in ('opened', 'escalated', 'reminded', 'resolved')),
    constraint audience_is_known check (audience in ('operations', 'business'))
) with (fillfactor = 70);
create index alert_delivery_waiting_idx on tds.alert_delivery (delivery_id) where sent_at is null and gave_up_at is null;
create index alert_delivery_created_at_idx on tds.alert_delivery (created_at);
comment on table  tds.alert_delivery is
'Messages: one a change of an alert, of business one for all changes of a kind that were seen at once.';
comment on column tds.alert_delivery.delivery_id is 'Number.';
comment on column tds.alert_delivery.message_id is
'Id of the message, the same with every try: in mails the Message-ID, in webhooks the Idempotency-Key.';
comment on column tds.alert_delivery.audience is 'Who is told.';
comment on column tds.alert_delivery.change is 'opened, escalated, reminded (an acknowledgement has ended), resolved.';
comment on column tds.alert_delivery.severity is 'warning or critical: the worst of its alerts.';
comment on column tds.alert_delivery.alert_ids is 'The alerts that it is about.';
comment on column tds.alert_delivery.title is 'Title.';
comment on column tds.alert_delivery.body is 'Text.';
comment on column tds.alert_delivery.created_at is 'When it was written.';
comment on column tds.alert_delivery.next_try_at is 'When it is tried next; while somebody sends it, when another one may.';
comment on column tds.alert_delivery.tries is 'How often it was tried.';
comment on column tds.alert_delivery.trying is
'The address that it is being sent to: should the sender die, whether that address has it is not known.';
comment on column tds.alert_delivery.doubts is 'How often a sender died while it was sending.';
comment on column tds.alert_delivery.had_by is 'The addresses that have it.';
comment on column tds.alert_delivery.error is 'Why the last try failed.';
comment on column tds.alert_delivery.sent_at is 'When every address had it.';
comment on column tds.alert_delivery.gave_up_at is 'When it was given up.';

create table tds.alert_address (
    audience text not null,
    address  text not null,
    seen_at  timestamptz not null,
    had_at   timestamptz,
    error    text,
    constraint alert_address_pkey primary key (audience, address)
);
comment on table  tds.alert_address is
'Addresses that a sender has, by their kind and number: what they are, and their secrets, only its environment knows.';
comment on column tds.alert_address.audience is 'Whom it reaches.';
comment on column tds.alert_address.address is 'Kind of address and which of them: mailto 1.';
comment on column tds.alert_address.seen_at is 'When a sender last had it.';
comment on column tds.alert_address.had_at is 'When something last arrived there.';
comment on column tds.alert_address.error is 'Why the last try failed; null: it did not.';

-- there is one, and whoever makes its row would be seen by nobody until the commit
insert into tds.lease (name) values ('tds.raise_alerts') on conflict on constraint lease_pkey do nothing;
