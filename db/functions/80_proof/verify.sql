-- Whether the mirror holds what Zoho lists: record by record, and in counts and sums. What is compared follows from the mapping.

create or replace function tds.listed(entity text, body bytea) returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_keys    text[];
    v_records jsonb;
begin
    select array_agg(distinct f.key) || n.id_key,
           (select b.records from tds.body_records(convert_from(coalesce(s.seen, listed.body), 'UTF8'), n.list_key, n.record_key,
                                                   n.id_key) b)
      into v_keys, v_records
      from tds.entity n
     -- of a record that cannot be read, that it is there
     cross join lateral tds.set_apart(listed.body, n.list_key, n.record_key, n.id_key) s
      left join tds.field f on f.entity = n.entity and f.list_key = ''
     where n.entity = listed.entity
     group by n.entity, s.seen;
    if v_records is null then
        raise exception using errcode = 'ZB008', message = 'no list of records', detail = listed.entity,
            hint = left(convert_from(listed.body, 'UTF8'), 200);
    end if;
    return (select coalesce(jsonb_agg((select jsonb_object_agg(k.key, k.value) from jsonb_each(r.doc) k where k.key = any (v_keys))
                                      order by r.n), '[]')
              from jsonb_array_elements(v_records) with ordinality r(doc, n)
             where jsonb_typeof(r.doc) = 'object');
end
$$;
revoke all on function tds.listed(text, bytea) from public;
comment on function tds.listed(text, bytea) is
'The records of a page of Zoho''s list, each cut to what tds.verify() compares, so that many pages can be kept. Raises ZB008 for a page '
'without records.';

create or replace function tds.list_sums(entity text, organization_id text) returns setof tds.list_sum
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_entity constant tds.entity := tds.entity_named(list_sums.entity);
    v_sum    tds.verified_sum;
begin
    for v_sum in select v.* from tds.verified_sum v where v.entity = list_sums.entity order by v.targets, v.column_name loop
        -- only where the details were read, and where the whole is made of nothing but these rows
        return query execute tds.fill(
            $sql$
            select m.{{target_key:I}}, $2, $3, $4, $5, coalesce(c.amount, 0), $6 * coalesce(c.rows, 0)
              from zoho.{{table:I}} m
              left join (select k.zoho_id, sum(k.amount) as amount, count(*) as rows from ({{rows}}) k group by 1) c
                on c.zoho_id = m.{{target_key:I}}
             where m.organization_id = $1 and m.deleted_at is null
               and exists (select from unnest($7) l(key) where jsonb_typeof(m.zoho_metadata -> l.key) = 'array')
               and case $3 when 'made of' then m.zoho_metadata -> 'is_inclusive_tax' is distinct from 'true'
                           else tds.is_all_applied(m.zoho_metadata) end$sql$,
            jsonb_build_object(
                'target_key', v_entity.target_key, 'table', tds.verified_table(v_entity.entity),
                'rows', (select string_agg(format('select t.%I as zoho_id, t.%I as amount from zoho.%I t where t.organization_id = $1',
                                                  v_sum.id_column, v_sum.column_name, o.target), ' union all ')
                           from unnest(v_sum.targets) o(target))))
            using list_sums.organization_id, v_sum.targets[1] || '.' || v_sum.column_name, v_sum.kind, v_sum.whole, v_sum.rest,
                  v_sum.rounding, v_sum.list_keys;
    end loop;
end
$$;
revoke all on function tds.list_sums(text, text) from public;
comment on function tds.list_sums(text, text) is
'The sums of the rows below each living record whose details were read, and the keys of the list that they are held against; tolerance: '
'what rounding row by row may make.';

create or replace function tds.is_all_applied(doc jsonb) returns boolean
language sql immutable parallel safe
as $$
    select tds.counts_for_sums($1 ->> 'status')
       and tds.is_certain($1, tds.doubts('balance_differs') || '{tax_amount_withheld,total_refunded_amount,write_off_amount}') is true
       and not jsonb_path_exists($1, '$.*[*].tax_amount_withheld ? (@ <> 0)')
       and not exists (select from unnest('{payment_refunds,vendorpayment_refunds,creditnote_refunds,vendor_credit_refunds}'::text[]) r(key)
                        where jsonb_array_length(case jsonb_typeof($1 -> r.key) when 'array' then $1 -> r.key else '[]' end) > 0)
$$;
comment on function tds.is_all_applied(jsonb) is
'Whether what a document has used up was applied to other documents and to nothing else: it counts, and nothing of it was refunded, '
'withheld, written off or taken in another way.';

create or replace function tds.verify_differences(entity text, organization_id text, pages jsonb[], since timestamptz)
returns table (zoho_id text, what text, meanwhile boolean, fields jsonb, told jsonb, kept jsonb)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    select r.zoho_id,
           case when r.problem is not null or r.zoho_id is null then 'unreadable'
                when r.kept is null then 'missing'
                when r.told is null then case when r.deleted_at is null then 'extra' end
                when r.deleted_at is not null then 'deleted'
                when coalesce(d.fields, s.fields) is not null then 'differs' end,
           -- Zoho's own time, or that of what the mirror has read since
           coalesce((r.told ->> 'last_modified_time')::timestamptz >= verify_differences.since, false)
           or coalesce(r.observed_at >= verify_differences.since, false),
           case when r.zoho_id is null then '{"id": {"problem": "missing"}}' else '{}'::jsonb end || coalesce(d.fields, '{}')
           || coalesce((select jsonb_object_agg(p.key, jsonb_build_object('problem', p.value)) from jsonb_each(r.problem) p), '{}')
           || coalesce(s.fields, '{}'),
           r.told,
           case when r.deleted_at is null then r.kept end
      from tds.compare_records(
           verify_differences.entity, verify_differences.organization_id,
           -- what Zoho says of forgotten persons the mirror has not, and is not to have of what differs either
           array(select tds.unless_forgotten(n, verify_differences.organization_id, p.page)
                   from unnest(verify_differences.pages) with ordinality p(page, place)
                   join tds.entity n on n.entity = verify_differences.entity
                  order by p.place)) r
      left join lateral (
           -- what a list leaves out or empty is not compared: details may say more
           select jsonb_object_agg(t.key, jsonb_build_object('zoho', t.value, 'mirror', r.kept -> t.key)) as fields
             from jsonb_each(r.told) t
            where r.kept is not null and t.value is distinct from r.kept -> t.key) d on true
      left join (
           select l.zoho_id as record_id, jsonb_agg(to_jsonb(l)) as sums
             from tds.list_sums(verify_differences.entity, verify_differences.organization_id) l
            group by l.zoho_id) c on c.record_id = r.zoho_id
      left join lateral (
           select jsonb_object_agg(a.key, jsonb_build_object('zoho', a.should_be, 'mirror', a.amount)) as fields
             from (select l.key, l.amount, l.tolerance,
                          case l.kind when 'made of'
                               -- where the whole differs, the header is what is wrong first
                               then case when (r.told ->> l.whole)::numeric = (r.kept ->> l.whole)::numeric
                                         then (r.kept ->> l.rest)::numeric end
                               else (r.told ->> l.whole)::numeric - (r.told ->> l.rest)::numeric end as should_be
                     from jsonb_to_recordset(c.sums) l(key text, kind text, whole text, rest text, amount numeric, tolerance numeric)
                    where r.deleted_at is null) a
            where abs(a.amount - a.should_be) > a.tolerance) s on true;
end
$$;
comment on function tds.verify_differences(text, text, jsonb[], timestamptz) is
'Every record, and what is the matter with it: missing (in the mirror), extra (not in Zoho), deleted (in the mirror alone), differs, '
'unreadable; null: nothing. meanwhile: Zoho or the mirror changed it after that moment, so that the two cannot be compared.';

create or replace function tds.verify_groups(entity text, records jsonb[])
returns table (status text, currency text, month text, zoho_count bigint, mirror_count bigint, zoho_sum numeric, mirror_sum numeric)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_key    jsonb;
    v_column text;
begin
    select coalesce(jsonb_object_agg(f.role, f.key), '{}'), max(f.column_name) filter (where f.role = 'status')
      into v_key, v_column
      from tds.verified_field f where f.entity = verify_groups.entity and f.role is not null;
    return query
    select v.status, v.currency, v.month, count(*) filter (where v.is_zoho), count(*) filter (where not v.is_zoho),
           sum(v.amount) filter (where v.is_zoho), sum(v.amount) filter (where not v.is_zoho)
      from (select s.is_zoho,
                   -- is_active: active, not active
                   case s.doc ->> (v_key ->> 'status') when 'true' then substr(v_column, 4) when 'false' then 'not ' || substr(v_column, 4)
                                                       else s.doc ->> (v_key ->> 'status') end as status,
                   s.doc ->> (v_key ->> 'currency') as currency,
                   case when length(s.doc ->> (v_key ->> 'day')) > 10
                        then to_char((s.doc ->> (v_key ->> 'day'))::timestamptz at time zone 'UTC', 'YYYY-MM')
                        else left(s.doc ->> (v_key ->> 'day'), 7) end as month,
                   (s.doc ->> (v_key ->> 'amount'))::numeric as amount
              from unnest(verify_groups.records) r(doc)
             cross join lateral (values (true, coalesce(nullif(r.doc -> 'kept', 'null'), '{}') || (r.doc -> 'told')),
                                        (false, r.doc -> 'kept')) s(is_zoho, doc)
             where jsonb_typeof(s.doc) = 'object') v
     group by v.status, v.currency, v.month
     order by v.status, v.currency, v.month;
end
$$;
comment on function tds.verify_groups(text, jsonb[]) is
'Counts and sums of records ({told, kept}) by status, currency and month, in Zoho and in the mirror. '
'What a list leaves out (the currency of a payment, say) is what the mirror has.';

create or replace function tds.verify(entity text, organization_id text, pages jsonb[], since timestamptz) returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_records     jsonb[];
    v_differences jsonb;
    v_counts      jsonb;
begin
    perform tds.entity_named(verify.entity);
    -- one statement sees all at one moment
    select array_agg(jsonb_build_object('told', r.told, 'kept', r.kept)) filter (where r.what is null or not r.meanwhile),
           coalesce(jsonb_agg(jsonb_build_object('id', r.zoho_id, 'what', r.what, 'meanwhile', r.meanwhile, 'fields', r.fields)
                              order by r.meanwhile, r.what, r.zoho_id) filter (where r.what is not null), '[]'),
           jsonb_build_object('zoho', count(r.told), 'mirror', count(r.kept),
                              'missing', count(*) filter (where r.what in ('missing', 'deleted') and not r.meanwhile),
                              'extra', count(*) filter (where r.what = 'extra' and not r.meanwhile),
                              'differing', count(*) filter (where r.what in ('differs', 'unreadable') and not r.meanwhile),
                              'meanwhile', count(*) filter (where r.what is not null and r.meanwhile))
      into v_records, v_differences, v_counts
      from tds.verify_differences(verify.entity, verify.organization_id, verify.pages, verify.since) r
     where r.told is not null or r.kept is not null;
    return v_counts || jsonb_build_object(
        'entity', verify.entity, 'amount', (select f.column_name from tds.verified_field f where f.entity = verify.entity
                                            and f.role = 'amount'),
        'compared', (select coalesce(jsonb_agg(f.key order by f.key), '[]') from tds.verified_field f where f.entity = verify.entity),
        'differences', v_differences,
        'groups', (select coalesce(jsonb_agg(g), '[]') from tds.verify_groups(verify.entity, coalesce(v_records, '{}')) g),
        'waiting', (select count(*) from tds.inbox_open o where o.entity = any (tds.namesakes(verify.entity))));
end
$$;
revoke all on function tds.verify(text, text, jsonb[], timestamptz) from public;
comment on function tds.verify(text, text, jsonb[], timestamptz) is
'Compares the mirror with pages of Zoho''s list (tds.listed()) that were read after that moment: how many records each has, what differs '
'with its ids, counts and sums by status, currency and month without what was changed meanwhile, and how many events wait. Writes nothing. '
'Raises ZB002.';

create or replace function tds.verify_plan(organization_id text, per_page int default 200)
returns table (entity text, rows bigint, calls bigint)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_entity record;
begin
    for v_entity in select n.entity, n.paged from tds.entity n where n.api_path <> '' order by n.priority, n.entity loop
        verify_plan.entity := v_entity.entity;
        execute format('select count(*) from zoho.%I m where m.organization_id = $1 and m.deleted_at is null',
                       tds.verified_table(v_entity.entity))
           into verify_plan.rows using verify_plan.organization_id;
        verify_plan.calls := case when v_entity.paged then greatest(1,
                                                                    (verify_plan.rows + verify_plan.per_page - 1) / verify_plan.per_page)
                                                                        else 1 end;
        return next;
    end loop;
end
$$;
revoke all on function tds.verify_plan(text, int) from public;
comment on function tds.verify_plan(text, int) is
'What reading the lists of Zoho once more costs, by the rows that the mirror has: a call a page.';

create or replace function tds.waiting_events(entities text[]) returns bigint
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return (select count(*) from tds.inbox_open o
             where o.retry_at is null and o.entity in (select unnest(tds.namesakes(e.entity))
                                                       from unnest(waiting_events.entities) e(entity)));
end
$$;
revoke all on function tds.waiting_events(text[]) from public;
comment on function tds.waiting_events(text[]) is
'How many events of these entities are not finished; parked retries are not counted, for they wait by the clock.';

create or replace function tds.note_lists(verification_id bigint, entity text, organization_id text, comparison jsonb) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform tds.note_differences(note_lists.verification_id, note_lists.organization_id, note_lists.entity, array(
        select row(d.zoho_id, coalesce(d.table_name, tds.verified_table(note_lists.entity)), '', coalesce(d.column_name, ''), d.what,
                   d.ours, d.should_be,
                   'repair')::tds.difference
          from (select r.doc ->> 'id' as zoho_id,
                       case r.doc ->> 'what' when 'deleted' then 'tombstone' else r.doc ->> 'what' end as what,
                       case when r.doc ->> 'what' = 'deleted' then 'deleted_at'
                            else coalesce(f.column_name, c.column_name) end as column_name, c.table_name,
                       k.value -> 'mirror' as ours, coalesce(k.value -> 'zoho', k.value -> 'problem') as should_be
                  from jsonb_array_elements(note_lists.comparison -> 'differences') r(doc)
                  left join lateral jsonb_each(r.doc -> 'fields') k on true
                  left join tds.verified_field f on f.entity = note_lists.entity and f.key = k.key
                  left join (select v.targets[1], v.column_name from tds.verified_sum v where v.entity = note_lists.entity)
                       c(table_name, column_name) on c.table_name || '.' || c.column_name = k.key
                 where not (r.doc -> 'meanwhile')::boolean) d));
    update tds.verification v
       set checked = v.checked + (note_lists.comparison ->> 'zoho')::bigint,
           told = v.told || jsonb_build_object(note_lists.entity, note_lists.comparison - 'differences')
     where v.verification_id = note_lists.verification_id;
end
$$;
revoke all on function tds.note_lists(bigint, text, text, jsonb) from public;
comment on function tds.note_lists(bigint, text, text, jsonb) is
'Stores what tds.verify() found of an entity as part of a comparison with Zoho''s lists; what was changed meanwhile is left out.';

create or replace function tds.sampled(entity text, organization_id text, sample int, seed text) returns text[]
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_entity constant tds.entity := tds.entity_named(sampled.entity);
    v_ids    text[];
begin
    execute format('select array(select t.%1$I from zoho.%2$I t where t.organization_id = $1 and t.deleted_at is null
                                  order by md5($2 || t.%1$I), t.%1$I limit $3)', v_entity.target_key, tds.verified_table(v_entity.entity))
       into v_ids using sampled.organization_id, sampled.seed, sampled.sample;
    return v_ids;
end
$$;
revoke all on function tds.sampled(text, text, int, text) from public;
comment on function tds.sampled(text, text, int, text) is
'So many living records of an entity, drawn at random; the same seed draws the same. Raises ZB002.';

create or replace function tds.note_detail(
    verification_id bigint, entity text, organization_id text, zoho_ids text[], body bytea, since timestamptz) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_entity constant tds.entity := tds.entity_named(note_detail.entity);
    v_table  constant text := tds.verified_table(note_detail.entity);
    v_states constant tds.record_state[] := tds.states_of(note_detail.entity, note_detail.organization_id, note_detail.zoho_ids);
    v_docs   jsonb := '[]'::jsonb;
    v_flaw   jsonb;
begin
    if note_detail.body is not null then
        begin
            v_docs := (select coalesce(tds.unless_forgotten(v_entity, note_detail.organization_id, b.records), '[]')
                         from tds.body_records(convert_from(note_detail.body, 'UTF8'), v_entity.list_key, v_entity.record_key,
                                               v_entity.id_key) b);
        exception when data_exception or statement_too_complex or program_limit_exceeded then
            -- they are there, and nobody knows what they say
            v_flaw := to_jsonb(left('not JSON: ' || sqlerrm, 500));
            v_docs := (select jsonb_agg(jsonb_build_object(v_entity.id_key, i.zoho_id)) from unnest(note_detail.zoho_ids) i(zoho_id));
        end;
    end if;
    perform tds.note_differences(note_detail.verification_id, note_detail.organization_id, note_detail.entity, array(
        with told as materialized (
            select i.zoho_id, d.doc, s.doc as ours, s.zoho_id is not null and s.deleted_at is null as is_alive,
                   -- of what was changed since, neither side can be held against the other
                   tds.record_time(d.doc ->> 'last_modified_time', null, 3::smallint) >= note_detail.since
                       or s.observed_at >= note_detail.since as meanwhile
              from unnest(note_detail.zoho_ids) i(zoho_id)
              left join jsonb_array_elements(v_docs) d(doc) on tds.exact_id(d.doc -> v_entity.id_key) = i.zoho_id
              left join unnest(v_states) s on s.zoho_id = i.zoho_id
        )
        select row(f.zoho_id, f.table_name, f.row_key, f.column_name, f.what, f.ours, f.should_be, f.mend)::tds.difference
          from (select t.zoho_id, v_table as table_name, '' as row_key, 'zoho_metadata.' || k.key as column_name, 'document' as what,
                       t.ours -> k.key as ours, k.value as should_be, 'repair' as mend
                  from told t cross join lateral jsonb_each(t.doc) k
                 where t.is_alive and t.meanwhile is not true and t.ours -> k.key is distinct from k.value
                 union all
                select t.zoho_id, v_table, '', '', case when t.doc is null then 'extra' else 'missing' end, null, null, 'repair'
                  from told t where (t.doc is null) = t.is_alive
                 union all
                select t.zoho_id, v_table, '', 'zoho_metadata', 'document', t.ours, v_flaw, 'repair'
                  from told t where v_flaw is not null and t.is_alive
                 union all
                select e.zoho_id, e.table_name, e.row_key, e.column_name, e.what, e.ours, e.should_be, 'repair'
                  from unnest(tds.state_differences(note_detail.entity, note_detail.organization_id, v_states)) e
                 where e.what <> 'document') f));
    update tds.verification v
       set checked = v.checked + cardinality(note_detail.zoho_ids),
           told = jsonb_set(case when v.told ? 'looked' then v.told else v.told || '{"looked": {}}' end, 
                            array['looked', note_detail.entity],
                            coalesce(v.told -> 'looked' -> note_detail.entity, '[]') || to_jsonb(note_detail.zoho_ids))
     where v.verification_id = note_detail.verification_id;
end
$$;
revoke all on function tds.note_detail(bigint, text, text, text[], bytea, timestamptz) from public;
comment on function tds.note_detail(bigint, text, text, text[], bytea, timestamptz) is
'Compares records field by field with Zoho''s answer for them (null: it has none of them): the document with every key that it tells, and '
'everything that is made of the document. Stores what differs as part of a comparison; so does an answer that cannot be read.';

create or replace function tds.due_first(organization_id text) returns boolean
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now    constant timestamptz := tds.now();
    v_living constant int[] := tds.living_sessions();
begin
    return exists (select from tds.wanted_detail w where w.organization_id = due_first.organization_id and tds.is_free(w, v_living, v_now))
        or exists (select from tds.run r where r.organization_id = due_first.organization_id and r.state in ('queued', 'running'));
end
$$;
revoke all on function tds.due_first(text) from public;
comment on function tds.due_first(text) is
'Whether pulls or details are due, without which a comparison with Zoho would tell of what is merely on its way.';

grant execute on function tds.note_lists(bigint, text, text, jsonb), tds.sampled(text, text, int, text),
    tds.note_detail(bigint, text, text, text[], bytea, timestamptz), tds.due_first(text) to tds_poller, tds_operator;
grant execute on function
    tds.listed(text, bytea), tds.verify(text, text, jsonb[], timestamptz), tds.verify_plan(text, int), tds.waiting_events(text[])
    to tds_poller, tds_operator;
