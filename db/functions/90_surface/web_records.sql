-- What the dashboard shows of single things: dead letters, and records with their stories.

create or replace function tds.dashboard_dead(entity text, error_code text, looked_for text, before bigint, at_most int default 50)
returns jsonb
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_all  record;
    v_like constant text := '%' || replace(replace(replace(dashboard_dead.looked_for, '\', '\\'), '%', '\%'), '_', '\_') || '%';
begin
    -- the letters that wait are read once, and not in their records
    with kinds as materialized (
        select d.entity, d.path, d.reason, d.error_code, count(*) as letters, max(d.dead_at) as newest
          from tds.dead_letter d where d.resolved_at is null
         group by d.entity, d.path, d.reason, d.error_code)
    select coalesce(sum(k.letters), 0) as letters, coalesce(jsonb_agg(distinct k.entity), '[]') as entities,
           coalesce(jsonb_agg(distinct k.error_code), '[]') as codes,
           (select coalesce(jsonb_agg(to_jsonb(c) order by c.letters desc, c.entity, c.path, c.reason), '[]')
              from (select o.entity, o.path, o.reason, sum(o.letters) as letters, max(o.newest) as newest
                      from kinds o group by o.entity, o.path, o.reason
                     order by 4 desc, o.entity, o.path, o.reason limit 10) c) as kinds
      into v_all
      from kinds k;
    return jsonb_build_object(
        'at', tds.now(), 'sql', tds.sql_of('dead'), 'kinds', v_all.kinds, 'all', v_all.letters, 'entities', v_all.entities,
        'codes', v_all.codes,
        'letters', (select coalesce(jsonb_agg(to_jsonb(l) order by l.dead_letter_id desc), '[]')
                      from (select d.dead_letter_id, d.dead_at, d.entity, d.organization_id, d.zoho_id, d.path, d.value, d.reason,
                                   d.error_code, d.attempts
                              from tds.dead_letter d
                             where d.resolved_at is null
                               and (dashboard_dead.entity is null or d.entity = dashboard_dead.entity)
                               and (dashboard_dead.error_code is null or d.error_code = dashboard_dead.error_code)
                               and (v_like is null or d.zoho_id = dashboard_dead.looked_for or d.reason ilike v_like
                                    or d.path ilike v_like or d.value ilike v_like)
                               and (dashboard_dead.before is null or d.dead_letter_id < dashboard_dead.before)
                             order by d.dead_letter_id desc
                             limit least(dashboard_dead.at_most, 200)) l));
end
$$;
revoke all on function tds.dashboard_dead(text, text, text, bigint, int) from public;
comment on function tds.dashboard_dead(text, text, text, bigint, int) is
'The page of the dead letters that wait, newest first: of an entity, of a SQLSTATE, with a text in id, path, value or reason, older than '
'one; null: any. And what is wrong most often.';

create or replace function tds.dashboard_letter(dead_letter_id bigint) returns jsonb
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_letter tds.dead_letter;
    v_event  record;
    v_body   text;
    v_longest constant int := 200000;
begin
    select d.* into v_letter from tds.dead_letter d where d.dead_letter_id = dashboard_letter.dead_letter_id;
    if v_letter.dead_letter_id is null then
        raise exception using errcode = 'ZB004', message = 'no such dead letter', detail = dashboard_letter.dead_letter_id::text,
            hint = 'select * from tds_dead_letter_queue';
    end if;
    select i.source, i.shape, i.event, i.body, i.body_raw, i.run_id into v_event
      from tds.inbox i where i.received_at = v_letter.received_at and i.inbox_id = v_letter.inbox_id;
    v_body := coalesce(v_letter.record, v_event.body);
    return jsonb_build_object(
        'at', tds.now(),
        'sql', jsonb_build_object('letter', format('select * from tds.dead_letter where dead_letter_id = %s;', v_letter.dead_letter_id)),
        'letter', to_jsonb(v_letter) - 'record' || jsonb_build_object(
            'source', v_event.source, 'shape', v_event.shape, 'event', v_event.event, 'run_id', v_event.run_id,
            'record', left(v_body, v_longest), 'characters', char_length(v_body), 'is_whole', char_length(v_body) <= v_longest,
            'is_text', v_event.body_raw is null,
            'replay_command', format('select tds.replay(%s);', v_letter.dead_letter_id)));
end
$$;
revoke all on function tds.dashboard_letter(bigint) from public;
comment on function tds.dashboard_letter(bigint) is
'The page of one dead letter, resolved or not, with its record, cut at 200,000 characters. Raises ZB004.';

create or replace function tds.api_replay(dead_letter_id bigint, record text, requested_by text) returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_problem  constant text := tds.document_problem(api_replay.record);
    v_inbox_id bigint;
begin
    if v_problem is not null then
        raise exception using errcode = 'ZB001', message = 'what you wrote is no JSON that can be read', detail = v_problem,
            hint = 'nothing was sent: mend the text and send it again';
    end if;
    v_inbox_id := tds.replay(api_replay.dead_letter_id, api_replay.record::jsonb);
    update tds.dead_letter d
       set resolution = format('%s by API key %s', d.resolution, api_replay.requested_by)
     where d.dead_letter_id = api_replay.dead_letter_id;
    return v_inbox_id;
end
$$;
revoke all on function tds.api_replay(bigint, text, text) from public;
comment on function tds.api_replay(bigint, text, text) is
'tds.replay() for the holder of an API key: as it was (record null), or with the record given, as JSON. Raises ZB001 where that is no '
'JSON, and ZB004.';

create or replace function tds.api_want_job(job text, requested_by text) returns timestamptz
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return tds.want_job(api_want_job.job, 'API key ' || api_want_job.requested_by);
end
$$;
revoke all on function tds.api_want_job(text, text) from public;
comment on function tds.api_want_job(text, text) is 'tds.want_job() for the holder of an API key. Raises ZB021.';

create or replace function tds.number_column(target text) returns text
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
    select n.column_name
      from (values ('products', 'sku'), ('contacts', 'email'), ('invoices', 'invoice_number'), ('bills', 'bill_number'),
                   ('credit_notes', 'credit_note_number'), ('vendor_credits', 'vendor_credit_number'),
                   ('sales_orders', 'order_number'), ('customer_payments', 'payment_number'), ('vendor_payments', 'payment_number'))
           n(target, column_name)
     where n.target = $1
$$;
revoke all on function tds.number_column(text) from public;
comment on function tds.number_column(text) is
'The column of a table of the mirror that people know its records by, and that has an index; null: none.';

create or replace function tds.find_record(entity text, looked_for text)
returns table (organization_id text, zoho_id text, number text, name text)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_entity constant tds.entity := tds.entity_named(find_record.entity);
    v_number constant text := tds.number_column(v_entity.target);
    v_told   jsonb;
begin
    -- all are found by indexes that the organisation leads, the e-mail only where it is not endless
    for v_told in execute format(
        'select to_jsonb(m) from zoho.%1$I m where m.%2$I = $1 and m.organization_id = any ($2) union all '
        'select to_jsonb(m) from zoho.%1$I m where m.%3$I = $1 and m.%2$I <> $1 and m.organization_id = any ($2) '
        'and char_length($1) <= 320 and char_length(m.%3$I) <= 320 limit 20',
        v_entity.target, v_entity.target_key, coalesce(v_number, v_entity.target_key))
        using find_record.looked_for, tds.organizations_of(find_record.entity)
    loop
        organization_id := v_told ->> 'organization_id';
        zoho_id := v_told ->> v_entity.target_key;
        number := v_told ->> v_number;
        name := left(v_told ->> 'name', 200);
        return next;
    end loop;
end
$$;
revoke all on function tds.find_record(text, text) from public;
comment on function tds.find_record(text, text) is
'Records of an entity by Zoho''s id, or by the number that people know: the SKU of a product, the e-mail of a contact, the number of a '
'document or payment. Twenty at most, of any organisation. Raises ZB002.';
grant execute on function tds.find_record(text, text) to tds_reader, tds_operator;

create or replace function tds.dashboard_names() returns jsonb
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return jsonb_build_object('at', tds.now(), 'names', (select jsonb_agg(n.entity order by n.priority, n.entity) from tds.entity n));
end
$$;
revoke all on function tds.dashboard_names() from public;
comment on function tds.dashboard_names() is 'The entities that the dashboard looks for records of.';

create or replace function tds.dashboard_record(entity text, looked_for text, at_most int default 100) returns jsonb
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_found  jsonb;
    v_id     text := dashboard_record.looked_for;
    v_owner  text;
    v_entity tds.entity;
    v_row    jsonb;
begin
    v_found := (select coalesce(jsonb_agg(to_jsonb(f)), '[]')
                  from tds.find_record(dashboard_record.entity, dashboard_record.looked_for) f);
    if jsonb_array_length(v_found) = 1 then
        v_id := v_found -> 0 ->> 'zoho_id';
        -- what came of others is not searched for it
        v_owner := v_found -> 0 ->> 'organization_id';
    end if;
    v_entity := tds.entity_named(dashboard_record.entity);
    execute format('select to_jsonb(m) - ''zoho_metadata'' - ''sync_layers'' - ''sync_hash'' from zoho.%I m '
                   'where m.organization_id = any ($2) and m.%I = $1 limit 1',
                   v_entity.target, v_entity.target_key)
       into v_row using v_id, case when v_owner is null then tds.organizations_of(dashboard_record.entity) else array[v_owner] end;
    return jsonb_build_object(
        'at', tds.now(),
        'sql', jsonb_build_object(
            'found', format('select * from tds.find_record(%L, %L);', dashboard_record.entity, dashboard_record.looked_for),
            'row', format('select * from zoho.%I where %I = %L;', v_entity.target, v_entity.target_key, v_id),
            'now', format('select * from tds.record_now(%L, %L);', dashboard_record.entity, v_id),
            'story', format('select * from tds.explain_record(%L, %L);', dashboard_record.entity, v_id)),
        'entity', dashboard_record.entity, 'id', v_id, 'found', v_found, 'most',
        dashboard_record.at_most, 'row', v_row,
        'now', (select coalesce(jsonb_agg(to_jsonb(n)), '[]') from tds.record_now(dashboard_record.entity, v_id, v_owner) n),
        'story', (select coalesce(jsonb_agg(to_jsonb(s) order by s.inbox_id, s."position"), '[]')
                    from (select x.* from tds.explain_record(dashboard_record.entity, v_id, v_owner) x
                           order by x.inbox_id desc, x."position" desc limit dashboard_record.at_most) s));
end
$$;
revoke all on function tds.dashboard_record(text, text, int) from public;
comment on function tds.dashboard_record(text, text, int) is
'The page of one record, by id or by number: its row, how it stands, and its story, the newest so many events. Raises ZB002.';
