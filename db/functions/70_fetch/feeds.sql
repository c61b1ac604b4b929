-- Feeds of hints: Zoho's activity log, and the webhooks that did not arrive. Nothing is promised of either, and nothing is believed for
-- it: what they name is asked for, and a feed that fails or answers in another form is shown as not checked.

insert into tds.setting (name, value, description) values
    ('activity_log', '"auto"',
        'Whether Zoho''s activity log is read for hints: on, off, or auto: if tds doctor finds the scope ZohoBooks.reports.READ granted.'),
    ('activity_log_minutes', '10', 'Minutes from one reading of the activity log to the next; a call for 200 rows of the day.'),
    ('webhook_failures', '"auto"',
        'Whether Zoho''s history of webhooks is read for those that did not arrive: on, off, or auto: if tds doctor finds that it can be.'),
    ('webhook_failures_minutes', '60', 'Minutes from one reading of that history to the next.'),
    ('feed_pages', '25', 'Pages of a feed that are read at a time, at most.'),
    ('feed_hints_per_hour', '300', 'Records that feeds may ask for within an hour; the rest waits.')
on conflict on constraint setting_pkey do nothing;

create or replace function tds.is_feed_on(feed text, organization_id text) returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return case tds.setting_text(is_feed_on.feed)
        when 'on' then true
        when 'auto' then coalesce((select f.is_granted from tds.feed f
                                    where f.organization_id = is_feed_on.organization_id and f.feed = is_feed_on.feed), false)
        else false end;
end
$$;
revoke all on function tds.is_feed_on(text, text) from public;
comment on function tds.is_feed_on(text, text) is 'Whether a feed is read, by the setting of its name; auto: if the token may.';

create or replace function tds.feeds() returns table (feed text, api_path text, minutes int)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return query values
        ('activity_log', '/reports/activitylogs', tds.setting_int('activity_log_minutes')),
        ('webhook_failures', '/settings/webhooks/histories', tds.setting_int('webhook_failures_minutes'));
end
$$;
revoke all on function tds.feeds() from public;
comment on function tds.feeds() is 'The feeds, where they are, and every how many minutes they are read.';

create or replace function tds.plan_feeds(organization_id text) returns table (feed text, calls_a_day numeric, every text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    select f.feed, round(1440.0 / greatest(f.minutes, 1), 2), format('every %s minutes', f.minutes)
      from tds.feeds() f
     where tds.is_feed_on(f.feed, plan_feeds.organization_id);
end
$$;
revoke all on function tds.plan_feeds(text) from public;
comment on function tds.plan_feeds(text) is 'Calls that the feeds cost on a day of fewer than 200 rows.';

create or replace function tds.take_feed(organization_id text)
returns table (feed text, api_path text, from_day date, to_day date, pages int)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now   constant timestamptz := tds.now();
    v_zoho  constant timestamptz := tds.zoho_now(take_feed.organization_id);
    v_today constant date := tds.day_of(take_feed.organization_id, v_zoho);
    v_feed  record;
begin
    if tds.bulk_sync_refusal() is not null then
        return;
    end if;
    for v_feed in select n.feed, n.api_path, n.minutes from tds.feeds() n loop
        continue when not tds.is_feed_on(v_feed.feed, take_feed.organization_id);
        insert into tds.feed as f (organization_id, feed, tried_at) values (take_feed.organization_id, v_feed.feed, v_now)
        on conflict on constraint feed_pkey do update set tried_at = excluded.tried_at
         -- one that lies ahead was noted by a clock that was wrong
         where f.tried_at is null or f.tried_at > v_now or f.tried_at <= v_now - make_interval(mins => v_feed.minutes);
        continue when not found;
        return query
        select f.feed, v_feed.api_path,
               -- a day's last rows may be shown in the next one; an outage is read from where it began, a week back at most
               greatest(v_today - 7, least(v_today, tds.day_of(f.organization_id, coalesce(f.walked_at, v_zoho) - interval '1 hour'))),
               v_today, tds.setting_int('feed_pages')
          from tds.feed f
         where f.organization_id = take_feed.organization_id and f.feed = v_feed.feed;
        return;
    end loop;
end
$$;
revoke all on function tds.take_feed(text) from public;
comment on function tds.take_feed(text) is
'A feed that is to be read now, and of which days; nothing: none is. Whoever takes it reads it; it is not told again for its minutes.';

create or replace function tds.entity_of_word(word text) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_word constant text := regexp_replace(regexp_replace(lower(entity_of_word.word), '[^a-z]', '', 'g'), 's$', '');
begin
    return coalesce(
        (select x.entity from (values ('customerpayment', 'payments'), ('payment', 'payments'), ('paymentreceived', 'payments'),
                                      ('billpayment', 'vendor_payments'), ('paymentmade', 'vendor_payments'), ('contact', 'customers'),
                                      ('debitnote', 'vendor_credits'), ('adjustment', 'stock_adjustments')) x(word, entity)
          where x.word = v_word),
        (select n.entity from tds.entity n
          cross join lateral unnest(array[n.entity, n.list_key, n.record_key] || n.aliases) w(word)
          where regexp_replace(regexp_replace(lower(w.word), '[^a-z]', '', 'g'), 's$', '') = v_word
          order by n.priority, n.entity
          limit 1));
end
$$;
revoke all on function tds.entity_of_word(text) from public;
comment on function tds.entity_of_word(text) is
'The entity that a word of Zoho''s for a kind of record means, whatever its case, number and joints; null: none of the mirror''s.';

create or replace function tds.entity_of_record(organization_id text, zoho_id text) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_entity tds.entity;
    v_found  boolean;
begin
    for v_entity in select n.* from tds.entity n where n.api_path <> '' order by n.priority, n.entity loop
        execute format('select exists (select from zoho.%1$I t where t.organization_id = $1 and t.%2$I = $2
                                          and ($3 is null or t.zoho_metadata ->> ''contact_type'' = $3))',
                       v_entity.target, v_entity.target_key)
           into v_found using entity_of_record.organization_id, entity_of_record.zoho_id, v_entity.list_filter ->> 'contact_type';
        if v_found then
            return v_entity.entity;
        end if;
    end loop;
    return null;
end
$$;
revoke all on function tds.entity_of_record(text, text) from public;
comment on function tds.entity_of_record(text, text) is 'The entity of which the mirror has a record of that id; null: none.';

create or replace function tds.feed_rows(feed text, document jsonb) returns jsonb
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
begin
    -- by what key the rows come no document of Zoho's says
    return (select e.value
              from jsonb_each(case when jsonb_typeof(feed_rows.document) = 'object' then feed_rows.document end) e
             where jsonb_typeof(e.value) = 'array'
               and regexp_replace(lower(e.key), '[^a-z]', '', 'g')
                   = any (case feed_rows.feed
                              when 'activity_log' then array['activitylogs', 'activitylog', 'activities', 'activity']
                              else array['webhookhistories', 'histories', 'webhookshistories', 'webhookhistory', 'history'] end)
             order by e.key
             limit 1);
end
$$;
revoke all on function tds.feed_rows(text, jsonb) from public;
comment on function tds.feed_rows(text, jsonb) is 'The rows of a feed''s answer, by any key that they may come by; null: it has none.';

create or replace function tds.feed_hints(feed text, organization_id text, rows jsonb, from_day date, to_day date)
returns table (hint text, entity text, zoho_id text, operation text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    select distinct on (1)
           coalesce(nullif(r.doc ->> 'activity_id', ''), nullif(r.doc ->> 'webhook_history_id', ''), nullif(r.doc ->> 'history_id', ''),
                    md5((r.doc - array['user_id', 'user_name', 'next_retry_time'])::text)),
           case when u.is_usable then coalesce(w.entity, tds.entity_of_record(feed_hints.organization_id, v.zoho_id)) end,
           case when u.is_usable then v.zoho_id end, left(v.operation, 50)
      from jsonb_array_elements(feed_hints.rows) r(doc)
     cross join lateral (select case when jsonb_typeof(r.doc -> 'activity_details') = 'object' then r.doc -> 'activity_details'
                                     else r.doc end as doc) d
     cross join lateral (
           select coalesce(nullif(d.doc ->> 'transaction_id', ''), nullif(d.doc ->> 'entity_id', '')) as zoho_id,
                  coalesce(nullif(d.doc ->> 'transaction_type', ''), nullif(d.doc ->> 'entity', ''), nullif(d.doc ->> 'entity_type', ''),
                           r.doc ->> 'ref_transaction_type') as kind,
                  -- the word itself, or the last one of the sentence
                  lower(coalesce(nullif(d.doc ->> 'operation_type', ''), nullif(r.doc ->> 'operation_type', ''),
                                 substring(r.doc ->> 'description' from '([A-Za-z]+)\W*$'))) as operation,
                  coalesce(r.doc ->> 'date', r.doc ->> 'last_execution_time') as told) v
     cross join lateral (
           select tds.is_id(v.zoho_id) is true
                  -- of another day: what was asked for was not heard
                  and (feed_hints.feed <> 'activity_log' or v.told is null or v.told !~ '^\d{4}-\d\d-\d\d'
                       or left(v.told, 10) between feed_hints.from_day::text and feed_hints.to_day::text) as is_usable) u
     cross join lateral (select tds.entity_of_word(v.kind) as entity) w
     where jsonb_typeof(r.doc) = 'object';
end
$$;
revoke all on function tds.feed_hints(text, text, jsonb, date, date) from public;
comment on function tds.feed_hints(text, text, jsonb, date, date) is
'What the rows of a feed name: entity and record are null where that is none of the mirror''s, or of a day that was not asked for.';

create or replace function tds.note_feed_page(organization_id text, feed text, body bytea, from_day date, to_day date) returns text
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now  constant timestamptz := tds.now();
    v_rows jsonb;
    v_new  bigint;
    v_bare bigint;
begin
    begin
        v_rows := tds.feed_rows(note_feed_page.feed, convert_from(note_feed_page.body, 'UTF8')::jsonb);
    exception when data_exception or statement_too_complex or program_limit_exceeded then
        return 'the answer cannot be read';
    end;
    if v_rows is null then
        return 'the answer has no rows';
    end if;
    with told as materialized (
        insert into tds.feed_hint as h (organization_id, feed, hint, entity, zoho_id, operation, told_at)
        select note_feed_page.organization_id, note_feed_page.feed, n.hint,
               case when exists (select from tds.entity k where k.entity = n.entity and k.api_path <> '' and k.paged) then n.entity end,
               n.zoho_id, n.operation, v_now
          from tds.feed_hints(note_feed_page.feed, note_feed_page.organization_id, v_rows, note_feed_page.from_day, note_feed_page.to_day) n
         order by n.hint
        on conflict on constraint feed_hint_pkey do nothing
        returning h.entity)
    select count(*), count(*) filter (where t.entity is null) into v_new, v_bare from told t;
    update tds.feed f
       set rows_told = f.rows_told + jsonb_array_length(v_rows), rows_new = f.rows_new + v_new, rows_unusable = f.rows_unusable + v_bare
     where f.organization_id = note_feed_page.organization_id and f.feed = note_feed_page.feed;
    return null;
end
$$;
revoke all on function tds.note_feed_page(text, text, bytea, date, date) from public;
comment on function tds.note_feed_page(text, text, bytea, date, date) is
'Notes what a page of a feed names that is not known yet; returns what is wrong with it, or null. Nothing of it is believed.';

create or replace function tds.want_hints(organization_id text) returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now   constant timestamptz := tds.now();
    v_zoho  constant timestamptz := tds.zoho_now(want_hints.organization_id);
    v_room  constant bigint := tds.setting_int('feed_hints_per_hour')
        - (select count(*) from tds.feed_hint h
            where h.organization_id = want_hints.organization_id and h.wanted_at > v_now - interval '1 hour');
    v_taken tds.feed_hint[];
    v_asked bigint := 0::bigint;
    v_entity text;
begin
    v_taken := array(
        select h from tds.feed_hint h
         where h.organization_id = want_hints.organization_id and h.wanted_at is null and h.entity is not null
         order by h.told_at, h.feed, h.hint
         limit greatest(v_room, 0)
           for update skip locked);
    for v_entity in select distinct t.entity from unnest(v_taken) t order by 1 loop
        v_asked := v_asked + tds.want(v_entity, want_hints.organization_id, array(
            select row(t.zoho_id, left(format('%s: %s', replace(t.feed, '_', ' '), coalesce(t.operation, 'named')), 200), v_zoho, null,
                       null)::tds.wish
              from unnest(v_taken) t where t.entity = v_entity));
    end loop;
    update tds.feed_hint h
       set wanted_at = v_now
      from unnest(v_taken) t
     where (h.organization_id, h.feed, h.hint) = (t.organization_id, t.feed, t.hint);
    return v_asked;
end
$$;
revoke all on function tds.want_hints(text) from public;
comment on function tds.want_hints(text) is
'Asks for the records that feeds have named, as many as may be within an hour; returns how many that was news of.';

create or replace function tds.end_feed(organization_id text, feed text, began_at timestamptz, error text, refused boolean default false)
returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now constant timestamptz := tds.now();
begin
    update tds.feed f
       set walked_at = case when end_feed.error is null then end_feed.began_at else f.walked_at end,
           error = left(end_feed.error, 1000),
           is_granted = case when end_feed.refused then false when end_feed.error is null then true else f.is_granted end,
           looked_at = case when end_feed.refused or end_feed.error is null then v_now else f.looked_at end
     where f.organization_id = end_feed.organization_id and f.feed = end_feed.feed;
    return tds.want_hints(end_feed.organization_id);
end
$$;
revoke all on function tds.end_feed(text, text, timestamptz, text, boolean) from public;
comment on function tds.end_feed(text, text, timestamptz, text, boolean) is
'Ends a walk over a feed: all pages were read, or what was wrong (refused: the token may not); then asks for what it named. Returns how '
'many.';

create or replace function tds.note_feed_grant(organization_id text, feed text, is_granted boolean, error text default null) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now constant timestamptz := tds.now();
begin
    insert into tds.feed (organization_id, feed, is_granted, looked_at, error)
    values (note_feed_grant.organization_id, note_feed_grant.feed, note_feed_grant.is_granted, v_now, left(note_feed_grant.error, 1000))
    on conflict on constraint feed_pkey do update
       set is_granted = excluded.is_granted, looked_at = excluded.looked_at, error = excluded.error;
end
$$;
revoke all on function tds.note_feed_grant(text, text, boolean, text) from public;
comment on function tds.note_feed_grant(text, text, boolean, text) is 'Notes whether the token may read a feed, as tds doctor has found.';

grant execute on function tds.take_feed(text), tds.note_feed_page(text, text, bytea, date, date),
    tds.end_feed(text, text, timestamptz, text, boolean), tds.note_feed_grant(text, text, boolean, text) to tds_poller, tds_operator;
grant execute on function tds.is_feed_on(text, text), tds.feeds() to tds_reader, tds_operator;
grant select on tds.feed, tds.feed_hint to tds_reader, tds_operator;

create or replace view public.tds_feeds as
select f.organization_id, f.feed,
       case when not o.is_on then 'off' when f.error is not null or f.walked_at is null then 'not checked' else 'read' end as state,
       f.error, f.walked_at, f.tried_at, f.is_granted, f.rows_told, f.rows_new, f.rows_unusable
  from tds.feed f
 cross join lateral (select tds.is_feed_on(f.feed, f.organization_id) as is_on) o;
comment on view public.tds_feeds is
'Zoho''s feeds of hints: the activity log, and webhooks that did not arrive. What they name is asked for; nothing of them is believed.';
comment on column public.tds_feeds.organization_id is 'Zoho organisation.';
comment on column public.tds_feeds.feed is 'activity_log or webhook_failures.';
comment on column public.tds_feeds.state is
'read; not checked: it failed, or answered in another form; off: by the setting of its name, or the token may not read it.';
comment on column public.tds_feeds.error is 'Why it is not checked.';
comment on column public.tds_feeds.walked_at is 'When the last complete reading began, by Zoho''s clock.';
comment on column public.tds_feeds.tried_at is 'When it was last read, or tried to be.';
comment on column public.tds_feeds.is_granted is 'Whether the token may read it, as far as is known.';
comment on column public.tds_feeds.rows_told is 'Rows read so far.';
comment on column public.tds_feeds.rows_new is 'Those of them that were not known.';
comment on column public.tds_feeds.rows_unusable is 'New ones that name no record of the mirror''s, or are of another day.';
