-- Feeds of hints: what Zoho's activity log and the history of its webhooks name is asked for.
-- depends: 0048_sweeps

create table tds.feed (
    organization_id text not null,
    feed            text not null,
    is_granted      boolean,
    looked_at       timestamptz,
    tried_at        timestamptz,
    walked_at       timestamptz,
    error           text,
    rows_told       bigint not null default 0,
    rows_new        bigint not null default 0,
    rows_unusable   bigint not null default 0,
    constraint feed_pkey primary key (organization_id, feed),
    constraint feed_is_known check (feed in ('activity_log', 'webhook_failures'))
);
comment on table tds.feed is 'What is known of Zoho''s feeds of hints: whether the token may read them, and when they were last read.';
comment on column tds.feed.organization_id is 'Zoho organisation.';
comment on column tds.feed.feed is 'activity_log: what was done in the organisation; webhook_failures: webhooks that did not arrive.';
comment on column tds.feed.is_granted is 'Whether the token may read it, as tds doctor or the last try has found; null: nobody has looked.';
comment on column tds.feed.looked_at is 'When that was found.';
comment on column tds.feed.tried_at is 'When it was last read, or tried to be.';
comment on column tds.feed.walked_at is
'When the last walk began that read all of its pages, by Zoho''s clock; the next one goes on an hour before.';
comment on column tds.feed.error is 'Why it is not checked: what was wrong the last time; null: nothing.';
comment on column tds.feed.rows_told is 'Rows read so far.';
comment on column tds.feed.rows_new is 'Those of them that were not known.';
comment on column tds.feed.rows_unusable is 'New ones that name no record of the mirror''s, or are of another day than was asked for.';

create table tds.feed_hint (
    organization_id text not null,
    feed            text not null,
    hint            text not null,
    entity          text,
    zoho_id         text,
    operation       text,
    told_at         timestamptz not null,
    wanted_at       timestamptz,
    constraint feed_hint_pkey primary key (organization_id, feed, hint)
);
create index feed_hint_told_idx on tds.feed_hint (told_at);
create index feed_hint_open_idx on tds.feed_hint (organization_id, told_at) where wanted_at is null;
comment on table tds.feed_hint is 'Rows of the feeds that were read, so that each asks once; who did it is not kept.';
comment on column tds.feed_hint.organization_id is 'Zoho organisation.';
comment on column tds.feed_hint.feed is 'Feed.';
comment on column tds.feed_hint.hint is 'Number of the row, or its hash where it has none.';
comment on column tds.feed_hint.entity is 'Entity that it names; null: none of the mirror''s.';
comment on column tds.feed_hint.zoho_id is 'Record that it names.';
comment on column tds.feed_hint.operation is 'What was done with it, in Zoho''s word.';
comment on column tds.feed_hint.told_at is 'When it was first read.';
comment on column tds.feed_hint.wanted_at is 'When the record''s detail was asked for; null: not yet, or it names none.';
