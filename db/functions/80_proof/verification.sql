-- The mirror against its own documents, without a call: what the mapping and its hooks make of each, whether the document is what Zoho
-- told, whether a tombstone has its proof, and rows that no record has. In steps by key ranges; what is found is stored.

insert into tds.setting (name, value, description) values
    ('verify_differences_kept', '10000', 'Differences of one comparison that are stored, at most; all are counted.'),
    ('verify_step_seconds', '10', 'How long a run of the job verify_inside goes on, in seconds; the next one takes up where it ended.'),
    ('verify_rows', '1000', 'Records compared in one step of a comparison inside.')
on conflict on constraint setting_pkey do nothing;

create or replace function tds.states_of(entity text, organization_id text, zoho_ids text[]) returns tds.record_state[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_entity constant tds.entity := tds.entity_named(states_of.entity);
    v_states tds.record_state[];
begin
    execute format(
        'select array(select row(t.%1$I, t.zoho_metadata, t.sync_version, t.sync_hash, t.sync_modified_at, t.sync_observed_at, '
        't.sync_rank, t.sync_read_at, t.deleted_at, t.sync_layers, t.sync_event)::tds.record_state from zoho.%2$I t '
        'where t.organization_id = $1 and t.%1$I = any ($2) '
        'order by t.%1$I)', v_entity.target_key, tds.verified_table(v_entity.entity))
       into v_states using states_of.organization_id, states_of.zoho_ids;
    return v_states;
end
$$;
revoke all on function tds.states_of(text, text, text[]) from public;
comment on function tds.states_of(text, text, text[]) is 'The rows of these records, as states.';

create or replace function tds.main_part(doc jsonb, layers jsonb) returns jsonb
language sql immutable parallel safe
as $$
    select case when $2 is null then $1
                else $1 - array(select k.key from jsonb_to_recordset($2) l(keys jsonb)
                                 cross join lateral jsonb_array_elements_text(l.keys) k(key)) end
$$;
comment on function tds.main_part(jsonb, jsonb) is 'A merged document without the keys that have another version than its own.';

create or replace function tds.versions_told(entity text, organization_id text, states tds.record_state[]) returns tds.record[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_names constant text[] := tds.namesakes(versions_told.entity);
    v_ids   bigint[];
    v_ats   timestamptz[];
begin
    with version as materialized (
        select s.zoho_id, s.observed_at as o from unnest(versions_told.states) s
         union
        select s.zoho_id, l.o from unnest(versions_told.states) s cross join lateral jsonb_to_recordset(s.layers) l(o timestamptz)
    ), event as (
        select i.inbox_id, i.received_at, i.body, i.refusal
          from version v
          join tds.inbox i on i.organization_id = versions_told.organization_id and i.entity = any (v_names) and i.record_id = v.zoho_id
                          and i.observed_at = v.o
         where i.event = 'upsert'
         union all
        select i.inbox_id, i.received_at, i.body, i.refusal
          from (select distinct o from version) v
          join tds.inbox i on i.entity = any (v_names) and i.record_id is null and i.observed_at = v.o
         where i.organization_id = versions_told.organization_id and i.event = 'upsert'
    )
    select array_agg(e.inbox_id order by e.received_at, e.inbox_id), array_agg(e.received_at order by e.received_at, e.inbox_id)
      into v_ids, v_ats
      from event e where e.refusal is null and tds.document_problem(e.body) is null;
    return array(
        select t from unnest(tds.explode(versions_told.entity, tds.read_events(versions_told.entity, v_ids, v_ats))) t
         where not t.is_delete and t.zoho_id in (select s.zoho_id from unnest(versions_told.states) s)
         order by t.ord);
end
$$;
revoke all on function tds.versions_told(text, text, tds.record_state[]) from public;
comment on function tds.versions_told(text, text, tds.record_state[]) is
'What Zoho told of these records at the moments that their rows say their keys are of, as far as the inbox still has it.';

create or replace function tds.document_differences(entity text, organization_id text, states tds.record_state[])
returns setof tds.difference
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_entity constant tds.entity := tds.entity_named(document_differences.entity);
    v_table  constant text := tds.verified_table(document_differences.entity);
    v_told   constant tds.record[] := tds.versions_told(document_differences.entity, document_differences.organization_id,
                                                        document_differences.states);
begin
    return query
    select s.zoho_id, v_table, '', 'zoho_metadata.' || v_entity.id_key, 'document', s.doc -> v_entity.id_key, to_jsonb(s.zoho_id), 'repair'
      from unnest(document_differences.states) s
     where tds.exact_id(s.doc -> v_entity.id_key) is distinct from s.zoho_id;
    return query
    with part as materialized (
        -- what each telling left in the document: of the row's own version, and of each layer
        select s.zoho_id, s.observed_at as o, s.doc, tds.main_part(s.doc, s.layers) as part from unnest(document_differences.states) s
         union all
        select s.zoho_id, l.o, s.doc,
               coalesce((select jsonb_object_agg(k.key, s.doc -> k.key)
                           from jsonb_array_elements_text(l.keys) k(key) where s.doc ? k.key), '{}')
          from unnest(document_differences.states) s
         cross join lateral jsonb_to_recordset(s.layers) l(o timestamptz, keys jsonb)
    ), told as materialized (
        select t.zoho_id, t.observed_at as o, array_agg(t.doc order by t.ord) as docs from unnest(v_told) t group by 1, 2
    ), off as materialized (
        select p.zoho_id, p.doc, p.part, t.docs
          from part p
          join told t on t.zoho_id = p.zoho_id and t.o = p.o
         where not exists (select from unnest(t.docs) d(doc) where d.doc || p.part = d.doc and d.doc || p.doc = p.doc)
    )
    select distinct f.zoho_id, v_table, '', 'zoho_metadata.' || k.key, 'document', f.doc -> k.key,
           (select d.doc -> k.key from unnest(f.docs) with ordinality d(doc, n) where d.doc ? k.key order by d.n desc limit 1), 'repair'
      from off f
     cross join lateral (select p.key from jsonb_object_keys(f.part) p(key)
                          union
                         select t.key from unnest(f.docs) d(doc) cross join lateral jsonb_object_keys(d.doc) t(key)
                          where not f.doc ? t.key) k
     -- of two tellings of one moment a key may be of either
     where not exists (select from unnest(f.docs) d(doc) where d.doc -> k.key = f.doc -> k.key);
    return query
    select d.* from tds.version_differences(document_differences.entity, document_differences.organization_id,
                                            document_differences.states, v_told) d;
end
$$;
revoke all on function tds.document_differences(text, text, tds.record_state[]) from public;
comment on function tds.document_differences(text, text, tds.record_state[]) is
'Documents that are not what Zoho told, as far as the inbox still has it: another record''s, or with another value of a key; and what a '
'row keeps of who told it when (tds.version_differences()).';

create or replace function tds.version_differences(entity text, organization_id text, states tds.record_state[], told tds.record[])
returns setof tds.difference
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_table  constant text := tds.verified_table(version_differences.entity);
    v_ahead  constant timestamptz := tds.zoho_now(version_differences.organization_id) + interval '1 hour';
    v_oldest constant timestamptz := (select min(i.received_at) from tds.inbox i);
begin
    -- a stamp from the future would refuse every reading until then
    return query
    select s.zoho_id, v_table, '', k.column_name, 'differs', to_jsonb(k.at), null::jsonb, 'repair'
      from unnest(version_differences.states) s
     cross join lateral (values ('sync_modified_at', s.modified_at), ('sync_observed_at', s.observed_at), ('sync_read_at', s.read_at))
                        k(column_name, at)
     where k.at > v_ahead;
    return query
    select distinct on (s.zoho_id, k.column_name) s.zoho_id, v_table, '', k.column_name, 'differs', k.ours, k.told, 'repair'
      from unnest(version_differences.states) s
      join unnest(version_differences.told) t on t.zoho_id = s.zoho_id and t.observed_at = s.observed_at
     cross join lateral (values ('sync_modified_at', to_jsonb(s.modified_at), to_jsonb(t.modified_at)),
                                ('sync_rank', to_jsonb(s.rank), to_jsonb(t.rank))) k(column_name, ours, told)
     where k.ours is distinct from k.told and (s.modified_at <= v_ahead or s.modified_at is null)
       and not exists (select from unnest(version_differences.told) o
                        where o.zoho_id = s.zoho_id and o.observed_at = s.observed_at
                          and o.modified_at is not distinct from s.modified_at and o.rank = s.rank)
     order by s.zoho_id, k.column_name, t.ord desc;
    -- whose hash is not that of its document, and of which no telling at that moment says otherwise: few
    return query
    select c.zoho_id, v_table, '', d.column_name, d.what, d.ours, d.should_be, 'repair'
      from (select s.zoho_id, s.hash, s.observed_at, m.part, t.is_told
              from unnest(version_differences.states) s
             cross join lateral (select tds.main_part(s.doc, s.layers) as part offset 0) m
             cross join lateral (select exists (select from unnest(version_differences.told) t
                                                 where t.zoho_id = s.zoho_id and t.observed_at = s.observed_at) as is_told) t
             where s.hash <> jsonb_hash_extended(m.part, 0)
               and not exists (select from unnest(version_differences.told) t where t.zoho_id = s.zoho_id and t.hash = s.hash)
             order by s.zoho_id limit 100) c
      left join lateral (
           select e.doc, (e.event).observed_at as o
             from tds.record_events(version_differences.entity, c.zoho_id, version_differences.organization_id) e
            where (e.event).event = 'upsert' and e.doc is not null and jsonb_hash_extended(e.doc, 0) = c.hash
            order by e.received_at desc limit 1) e on true
     cross join lateral (
           select 'sync_hash', 'differs', to_jsonb(c.hash), to_jsonb(jsonb_hash_extended(c.part, 0)) where c.is_told and e.doc is null
            union all
           -- nobody has it any more
           select 'zoho_metadata', 'document', null, null where not c.is_told and e.doc is null
            union all
           select 'zoho_metadata.' || k.key, 'document', c.part -> k.key, e.doc -> k.key
             from jsonb_object_keys(e.doc) k(key)
            where not c.is_told and c.part ? k.key and c.part -> k.key is distinct from e.doc -> k.key)
           d(column_name, what, ours, should_be);
    -- or a telling has its hash, at another moment
    return query
    select s.zoho_id, v_table, '', 'sync_observed_at', 'differs', to_jsonb(s.observed_at), to_jsonb(e.o), 'repair'
      from (select s.* from unnest(version_differences.states) s
             where s.observed_at >= v_oldest and s.observed_at <= v_ahead
               and not exists (select from unnest(version_differences.told) t
                                where t.zoho_id = s.zoho_id and t.observed_at = s.observed_at)
             order by s.zoho_id limit 100) s
     cross join lateral (
           select (e.event).observed_at as o
             from tds.record_events(version_differences.entity, s.zoho_id, version_differences.organization_id) e
            where (e.event).event = 'upsert' and e.doc is not null and jsonb_hash_extended(e.doc, 0) = s.hash
            order by e.received_at limit 1) e;
end
$$;
revoke all on function tds.version_differences(text, text, tds.record_state[], tds.record[]) from public;
comment on function tds.version_differences(text, text, tds.record_state[], tds.record[]) is
'Where rows keep otherwise who told them when than the inbox does: stamps, rank, hash; told: what tds.versions_told() has of them.';

create or replace function tds.tombstone_differences(entity text, organization_id text, states tds.record_state[])
returns setof tds.difference
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_names  constant text[] := tds.namesakes(tombstone_differences.entity);
    v_table  constant text := tds.verified_table(tombstone_differences.entity);
    v_oldest timestamptz;
begin
    if exists (select from unnest(tombstone_differences.states) s where s.deleted_at is not null) then
        v_oldest := (select min(i.received_at) from tds.inbox i);
    end if;
    return query
    select s.zoho_id, v_table, '', 'deleted_at', 'tombstone', to_jsonb(s.deleted_at), to_jsonb(k.proved_at), 'repair'
      from unnest(tombstone_differences.states) s
      left join lateral (
           select max(h.proved_at) as proved_at
             from tds.held_deletion h
            where h.organization_id = tombstone_differences.organization_id and h.entity = any (v_names) and h.zoho_id = s.zoho_id
              and h.state = 'done' and h.proved_at >= coalesce(s.read_at, '-infinity')) k on true
     where s.deleted_at is distinct from k.proved_at
       and (s.deleted_at is null
            or k.proved_at is not null
            or s.deleted_at < s.read_at
            -- forgotten after a week; then the answer itself says so, as long as it is kept
            or coalesce(s.deleted_at >= v_oldest, true) and not exists (
                   select from tds.inbox i
                    where i.organization_id = tombstone_differences.organization_id and i.entity = any (v_names) and i.record_id = s.zoho_id
                      and i.event = 'delete' and i.observed_at = s.deleted_at)
               and not exists (
                   select from tds.held_deletion h
                    where h.organization_id = tombstone_differences.organization_id and h.entity = any (v_names)
                      and h.zoho_id = s.zoho_id and h.state = 'confirmed' and h.proved_at = s.deleted_at));
end
$$;
revoke all on function tds.tombstone_differences(text, text, tds.record_state[]) from public;
comment on function tds.tombstone_differences(text, text, tds.record_state[]) is
'Records that are marked deleted without a proof, or are not though there is one (docs/evidence.md).';

create or replace function tds.twin_differences(entity text, organization_id text, states tds.record_state[]) returns setof tds.difference
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    if (tds.entity_named(twin_differences.entity)).target <> 'contacts' then
        return;
    end if;
    return query
    select s.zoho_id, tds.verified_table(twin_differences.entity), '', '', 'twin', to_jsonb(s.doc ->> 'contact_type'), null::jsonb,
           'rebuild'
      from unnest(twin_differences.states) s
     where (select count(*) from zoho.contacts c
             where c.organization_id = twin_differences.organization_id and c.zoho_contact_id = s.zoho_id) > 1;
end
$$;
revoke all on function tds.twin_differences(text, text, tds.record_state[]) from public;
comment on function tds.twin_differences(text, text, tds.record_state[]) is 'Contacts that stand as customer and as vendor.';

create or replace function tds.is_layered(entity text, difference tds.difference, layers jsonb) returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_keys text[];
begin
    if is_layered.layers is null then
        return false;
    end if;
    v_keys := array(
        select k.key from tds.field f
          join tds.field k on k.entity = f.entity and k.list_key = '' and (k.key = f.key or f.expression ~ format('\md\.%s\M', k.key))
         where f.entity = is_layered.entity and f.list_key = '' and f.column_name = (is_layered.difference).column_name
           and (is_layered.difference).table_name = tds.verified_table(f.entity)
         union all
        select c.list_key from tds.child c where c.entity = is_layered.entity and c.target = (is_layered.difference).table_name
         union all
        select f.key from tds.beside b
          join tds.field f on f.entity = b.entity and f.list_key = '' and f.reader = 'array' and f.column_name is null
         where b.entity = is_layered.entity and b.target = (is_layered.difference).table_name);
    return exists (select from jsonb_to_recordset(is_layered.layers) l(keys jsonb) where l.keys ?| v_keys);
end
$$;
revoke all on function tds.is_layered(text, tds.difference, jsonb) from public;
comment on function tds.is_layered(text, tds.difference, jsonb) is
'Whether what differs is made of keys in a layer, whose values no hash witnesses once the inbox has forgotten them: the row may be right '
'and the document wrong, and only Zoho knows.';

create or replace function tds.state_differences(entity text, organization_id text, states tds.record_state[]) returns tds.difference[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_sound constant tds.record_state[] := array(select s from unnest(state_differences.states) s where tds.is_sound(s));
    v_found record;
    v_all   tds.difference[];
begin
    select d.* into v_found from tds.derive_readable(state_differences.entity, state_differences.organization_id, v_sound) d;
    v_all := array(
        select d from tds.derivation_differences(state_differences.entity, v_found.derivations) d
         union all
        select d from tds.document_differences(state_differences.entity, state_differences.organization_id, v_sound) d
         union all
        select d from tds.tombstone_differences(state_differences.entity, state_differences.organization_id, state_differences.states) d
         union all
        select d from tds.twin_differences(state_differences.entity, state_differences.organization_id, state_differences.states) d
         union all
        select row(s.zoho_id, tds.verified_table(state_differences.entity), '',
                   case when jsonb_typeof(s.doc) = 'object' and not tds.is_sound(s) then 'sync_layers' else 'zoho_metadata' end,
                   'unreadable', case when jsonb_typeof(s.doc) = 'object' and not tds.is_sound(s) then s.layers else s.doc end, null,
                   'repair')::tds.difference
          from unnest(state_differences.states) s
         where cardinality(v_found.readable) < cardinality(state_differences.states)
           and s.zoho_id not in (select r.zoho_id from unnest(v_found.readable) r)
         union all
        select row(i.zoho_item_id, 'products', '', 'image_url', 'differs', to_jsonb(i.image_url), to_jsonb(i.shown),
                   'rebuild')::tds.difference
          from tds.shown_images(state_differences.organization_id, array(select s.zoho_id from unnest(state_differences.states) s)) i
         where state_differences.entity = 'products');
    -- of a document that is not Zoho's nothing is made anew
    return array(
        select row(d.zoho_id, d.table_name, d.row_key, d.column_name, d.what, d.ours, d.should_be,
                   case when d.zoho_id in (select o.zoho_id from unnest(v_all) o where o.what in ('document', 'unreadable'))
                             or d.mend = 'rebuild' and tds.is_layered(state_differences.entity, d, s.layers) then 'repair'
                        else d.mend end)::tds.difference
          from unnest(v_all) d
          left join unnest(v_sound) s on s.zoho_id = d.zoho_id);
end
$$;
revoke all on function tds.state_differences(text, text, tds.record_state[]) from public;
comment on function tds.state_differences(text, text, tds.record_state[]) is
'Everything in which these rows, and what hangs on them, are not what their documents say, or the documents not what Zoho told.';

create or replace function tds.newest_whole_run(entity text, organization_id text) returns bigint
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return (select max(r.run_id) from tds.run r
             where r.organization_id = newest_whole_run.organization_id and r.entity = newest_whole_run.entity
               and r.listed_at is not null and r.is_pass and tds.is_whole(r));
end
$$;
revoke all on function tds.newest_whole_run(text, text) from public;
comment on function tds.newest_whole_run(text, text) is 'The newest pull that read the whole list of an entity; null: there was none.';

create or replace function tds.lost_records(entity text, organization_id text) returns setof text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_entity constant tds.entity := tds.entity_named(lost_records.entity);
    v_names  constant text[] := tds.namesakes(lost_records.entity);
begin
    return query execute format(
        $sql$
        with told as materialized (
            select distinct i.record_id as zoho_id
              from tds.inbox i
              join tds.inbox_outcome o on o.received_at = i.received_at and o.inbox_id = i.inbox_id
             where i.organization_id = $1 and i.entity = $2 and i.record_id is not null and i.shape = 'detail' and i.event = 'upsert'
               and o.applied + o.unchanged > 0
             union
            select tds.exact_id(p.doc -> $5)
              from tds.inbox i
              join tds.inbox_outcome o on o.received_at = i.received_at and o.inbox_id = i.inbox_id
             cross join lateral tds.body_records(i.body, $3, $4, $5) b
             cross join lateral jsonb_array_elements(b.records) p(doc)
             where i.organization_id = $1 and i.entity = $2 and i.shape = 'list' and i.run_id = $6
               and o.dead = 0 and o.retried = 0
        )
        select t.zoho_id from told t
         where tds.is_id(t.zoho_id)
           and not exists (select from zoho.%1$I m where m.organization_id = $1 and m.%2$I = t.zoho_id)
           -- an answer that is still on its way, or was no record
           and not exists (select from tds.dead_letter d where d.organization_id = $1 and d.entity = any ($7) and d.zoho_id = t.zoho_id
                                                           and d.resolved_at is null)
         order by 1$sql$, v_entity.target, v_entity.target_key)
        using lost_records.organization_id, v_entity.entity, v_entity.list_key, v_entity.record_key, v_entity.id_key,
              tds.newest_whole_run(v_entity.entity, lost_records.organization_id), v_names;
end
$$;
revoke all on function tds.lost_records(text, text) from public;
comment on function tds.lost_records(text, text) is
'Records whose detail came, or that were on the newest whole list, as far as the inbox has them, and that have no row.';

create or replace function tds.table_differences(entity text, of_organization text)
returns table (organization_id text, difference tds.difference)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_entity constant tds.entity := tds.entity_named(table_differences.entity);
    v_table  constant text := tds.verified_table(table_differences.entity);
    v_mend   constant text := case when v_entity.api_path = '' then 'rebuild' else 'repair' end;
begin
    return query
    with orphan as materialized (
        select o.* from tds.orphans(table_differences.entity, null) o
         -- of what two entities share each has its own part
         where v_entity.entity = (select min(n.name) from unnest(tds.namesakes(table_differences.entity)) n(name))
            or o.ours ->> 'contact_type' || 's' = v_entity.entity
    )
    select o.organization_id, row(o.zoho_id, o.table_name, o.row_key, '', 'orphan', o.ours, null, v_mend)::tds.difference
      from orphan o
     where o.ours ->> 'contact_type' is null or o.ours ->> 'contact_type' || 's' = v_entity.entity;
    for table_differences.organization_id in
        select g.id from unnest(tds.organizations_of(table_differences.entity)) g(id)
    loop
        if not tds.is_own(table_differences.organization_id) then
            return query execute format(
                $sql$
                select t.organization_id,
                       row(t.%1$I, %2$L, '', 'organization_id', 'stray', to_jsonb(t.organization_id), null, 'repair')::tds.difference
                  from zoho.%2$I t where t.organization_id = $1 order by t.%1$I$sql$, v_entity.target_key, v_table)
                using table_differences.organization_id;
        end if;
    end loop;
    for table_differences.organization_id in
        select distinct f.id from (select r.organization_id from tds.run r where r.entity = v_entity.entity
                                    union select unnest(tds.organizations_of(table_differences.entity))) f(id)
         where table_differences.of_organization is null or f.id = table_differences.of_organization order by 1
    loop
        return query
        select table_differences.organization_id, row(l.zoho_id, v_table, '', '', 'missing', null, null, v_mend)::tds.difference
          from tds.lost_records(table_differences.entity, table_differences.organization_id) l(zoho_id);
    end loop;
end
$$;
revoke all on function tds.table_differences(text, text) from public;
comment on function tds.table_differences(text, text) is
'Rows of an entity''s tables that hang on no record, or are of an organisation that nobody knows, and records whose row is lost (of '
'of_organization; null: of all).';

create or replace function tds.begin_verification(
    depth text, entities text[] default null, organization_id text default null, sample int default null, seed text default null,
    zoho_ids text[] default null, asked_by text default null, at_once boolean default true) returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now      constant timestamptz := tds.now();
    v_entities text[];
    v_todo     jsonb := '[]'::jsonb;
    v_id       bigint;
begin
    perform tds.entity_named(e.name) from unnest(begin_verification.entities) e(name);
    v_entities := array(
        select n.entity from tds.entity n
         where (begin_verification.entities is null or cardinality(begin_verification.entities) = 0
                or n.entity = any (begin_verification.entities))
           and (begin_verification.depth = 'inside' or n.api_path <> '')
         order by n.priority, n.entity);
    if begin_verification.depth = 'inside' then
        v_todo := (select coalesce(jsonb_agg(jsonb_build_array(e.name, p.id) order by e.n, p.id nulls last), '[]')
                     from unnest(v_entities) with ordinality e(name, n)
                    cross join lateral (select o.id from unnest(tds.organizations_of(e.name)) o(id)
                                         where begin_verification.organization_id is null or o.id = begin_verification.organization_id
                                        union all select null) p(id));
    end if;
    update tds.verification v set state = 'lost', finished_at = v_now
     where v.state = 'running' and v.started_at < v_now - interval '1 day';
    insert into tds.verification (depth, organization_id, entities, sample, seed, zoho_ids, state, asked_by, asked_at, started_at, todo)
    values (begin_verification.depth, begin_verification.organization_id, v_entities, begin_verification.sample, begin_verification.seed,
            begin_verification.zoho_ids, case when begin_verification.at_once then 'running' else 'asked' end,
            coalesce(begin_verification.asked_by, session_user), v_now, case when begin_verification.at_once then v_now end, v_todo)
    returning verification_id into v_id;
    return v_id;
end
$$;
revoke all on function tds.begin_verification(text, text[], text, int, text, text[], text, boolean) from public;
comment on function tds.begin_verification(text, text[], text, int, text, text[], text, boolean) is
'Begins a comparison (at_once), or asks whoever polls for one; returns its number. entities, organization_id null: all. Raises ZB002.';

create or replace function tds.note_differences(
    verification_id bigint, organization_id text, entity text, differences tds.difference[]) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_kept constant bigint := (select count(*) from tds.verification_difference d
                                where d.verification_id = note_differences.verification_id);
begin
    insert into tds.verification_difference (
           verification_id, organization_id, entity, zoho_id, table_name, row_key, column_name, what, ours, should_be, mend, since)
    select note_differences.verification_id, note_differences.organization_id, note_differences.entity, coalesce(d.zoho_id, ''),
           d.table_name, coalesce(d.row_key, ''), coalesce(d.column_name, ''), d.what, d.ours, d.should_be, d.mend,
           coalesce((select min(o.since) from tds.verification_difference o
                      where o.organization_id = note_differences.organization_id and o.entity = note_differences.entity
                        and o.zoho_id = d.zoho_id and o.closed_at is null and o.verification_id <> note_differences.verification_id
                        and (o.table_name, o.row_key, o.column_name)
                          = (d.table_name, coalesce(d.row_key, ''), coalesce(d.column_name, ''))),
                    tds.now())
      from unnest(note_differences.differences) d
     order by d.zoho_id, d.table_name, d.row_key, d.column_name
     limit greatest(0, tds.setting_int('verify_differences_kept') - v_kept);
end
$$;
revoke all on function tds.note_differences(bigint, text, text, tds.difference[]) from public;
comment on function tds.note_differences(bigint, text, text, tds.difference[]) is
'Stores what a comparison has found, as many as the setting verify_differences_kept allows of one comparison; each since when it was found '
'first.';

create or replace function tds.confirm_differences(verification_id bigint) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_each record;
    v_ids  text[];
    v_now  tds.difference[];
begin
    -- what was on its way between two transactions of a batch is right by now
    for v_each in
        select d.organization_id, d.entity, array_agg(distinct d.zoho_id order by d.zoho_id) as zoho_ids
          from tds.verification_difference d
         where d.verification_id = confirm_differences.verification_id
         group by d.organization_id, d.entity
    loop
        v_ids := v_each.zoho_ids;
        while v_ids <> '{}' loop
            v_now := tds.state_differences(v_each.entity, v_each.organization_id,
                                           tds.states_of(v_each.entity, v_each.organization_id, v_ids[:500]));
            delete from tds.verification_difference d
             where d.verification_id = confirm_differences.verification_id and d.entity = v_each.entity
               and d.organization_id = v_each.organization_id and d.zoho_id = any (v_ids[:500])
               and d.what not in ('orphan', 'stray', 'missing')
               and not exists (select from unnest(v_now) n
                                where (n.zoho_id, n.table_name, n.row_key, n.column_name)
                                    = (d.zoho_id, d.table_name, d.row_key, d.column_name));
            v_ids := v_ids[501:];
        end loop;
        delete from tds.verification_difference d
         where d.verification_id = confirm_differences.verification_id and d.entity = v_each.entity
           and d.organization_id = v_each.organization_id and d.what in ('orphan', 'missing') and d.column_name = ''
           and case when d.what = 'orphan' or d.table_name = tds.verified_table(d.entity)
                    then tds.has_record(d.entity, d.organization_id, d.zoho_id) else false end;
    end loop;
end
$$;
revoke all on function tds.confirm_differences(bigint) from public;
comment on function tds.confirm_differences(bigint) is
'Looks once more at what a comparison has found, and takes away what is right by now.';

create or replace function tds.has_record(entity text, organization_id text, zoho_id text) returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_entity constant tds.entity := tds.entity_named(has_record.entity);
    v_has    boolean;
begin
    execute format('select exists (select from zoho.%I t where t.organization_id = $1 and t.%I = $2)', v_entity.target, v_entity.target_key)
       into v_has using has_record.organization_id, has_record.zoho_id;
    return v_has;
end
$$;
revoke all on function tds.has_record(text, text, text) from public;
comment on function tds.has_record(text, text, text) is 'Whether the mirror has a row of a record, deleted or not.';

create or replace function tds.finish_verification(verification_id bigint, calls bigint default 0, error text default null) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now constant timestamptz := tds.now();
    v_run tds.verification;
begin
    select v.* into strict v_run from tds.verification v where v.verification_id = finish_verification.verification_id for update;
    if v_run.depth = 'inside' and finish_verification.error is null then
        perform tds.confirm_differences(v_run.verification_id);
    end if;
    update tds.verification v
       set state = case when finish_verification.error is null then 'done' else 'failed' end, finished_at = v_now,
           calls = v.calls + finish_verification.calls, error = left(coalesce(finish_verification.error, v.error), 1000),
           differing = (select count(*) from (select distinct d.organization_id, d.entity, d.zoho_id from tds.verification_difference d
                                               where d.verification_id = v_run.verification_id) r)
     where v.verification_id = v_run.verification_id;
    if finish_verification.error is not null then
        return;
    end if;
    -- what was looked at again stands as it was found this time
    update tds.verification_difference d
       set closed_at = v_now
      from tds.verification o
     where d.closed_at is null and d.verification_id <> v_run.verification_id and o.verification_id = d.verification_id
       and d.entity = any (v_run.entities) and (v_run.organization_id is null or d.organization_id = v_run.organization_id)
       and case when o.depth = v_run.depth
                then v_run.depth <> 'details' or (v_run.told -> 'looked' -> d.entity) ? d.zoho_id end;
end
$$;
revoke all on function tds.finish_verification(bigint, bigint, text) from public;
comment on function tds.finish_verification(bigint, bigint, text) is
'Ends a comparison: looks once more at what it found inside, and closes what earlier ones of its depth had found of the same records.';

create or replace function tds.leave_out(verification_id bigint, entity text, error text) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    update tds.verification v
       set entities = case v.depth when 'lists' then array_remove(v.entities, leave_out.entity) else v.entities end,
           error = left(concat_ws('; ', v.error, format('%s: %s', leave_out.entity, leave_out.error)), 1000)
     where v.verification_id = leave_out.verification_id;
end
$$;
revoke all on function tds.leave_out(bigint, text, text) from public;
comment on function tds.leave_out(bigint, text, text) is
'Notes that a list, or a record of an entity, cannot be compared, and why: what was found of it before stands.';

create or replace function tds.verify_step(verification_id bigint, batch int default null) returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_run    tds.verification;
    v_entity text;
    v_own    text;
    v_states tds.record_state[];
    v_each   record;
begin
    select v.* into v_run from tds.verification v
     where v.verification_id = verify_step.verification_id and v.state = 'running' and v.depth = 'inside' for update skip locked;
    if v_run.verification_id is null then
        return false;
    end if;
    if v_run.place > jsonb_array_length(v_run.todo) then
        perform tds.finish_verification(v_run.verification_id);
        return false;
    end if;
    v_entity := v_run.todo -> (v_run.place - 1) ->> 0;
    v_own := v_run.todo -> (v_run.place - 1) ->> 1;
    if v_own is null then
        for v_each in
            select d.organization_id, array_agg(d.difference) as differences
              from tds.table_differences(v_entity, v_run.organization_id) d
             where v_run.organization_id is null or d.organization_id = v_run.organization_id or not tds.is_own(d.organization_id)
             group by d.organization_id
        loop
            perform tds.note_differences(v_run.verification_id, v_each.organization_id, v_entity, v_each.differences);
        end loop;
        update tds.verification v set place = v.place + 1, after = '' where v.verification_id = v_run.verification_id;
        return true;
    end if;
    v_states := tds.stored_states(v_entity, v_own, v_run.after, coalesce(verify_step.batch, tds.setting_int('verify_rows')));
    perform tds.note_differences(v_run.verification_id, v_own, v_entity, tds.state_differences(v_entity, v_own, v_states));
    update tds.verification v
       set checked = v.checked + cardinality(v_states),
           place = v.place + (v_states = '{}')::int,
           after = coalesce(v_states[cardinality(v_states)].zoho_id, '')
     where v.verification_id = v_run.verification_id;
    return true;
end
$$;
revoke all on function tds.verify_step(bigint, int) from public;
comment on function tds.verify_step(bigint, int) is
'One step of a comparison inside: the next records by their ids, or what hangs on none. False: it is done, or somebody else is at it. '
'Commit after each.';

create or replace procedure tds.verify_inside(
    entities text[] default null, organization_id text default null, batch int default null, inout outcome jsonb default null)
language plpgsql
as $$
declare
    v_id constant bigint := tds.begin_verification('inside', verify_inside.entities, verify_inside.organization_id);
begin
    commit;
    while tds.verify_step(v_id, verify_inside.batch) loop
        commit;
    end loop;
    commit;
    verify_inside.outcome := tds.verification_told(v_id);
end
$$;
revoke all on procedure tds.verify_inside(text[], text, int, jsonb) from public;
comment on procedure tds.verify_inside(text[], text, int, jsonb) is
'Compares the mirror''s tables with what the mapping makes of the stored documents, without asking Zoho, and stores what differs: see '
'tds_differences. In steps that are committed one by one; call it outside a transaction.';

create or replace function tds.verification_told(verification_id bigint) returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return (select jsonb_build_object('verification', v.verification_id, 'depth', v.depth, 'state', v.state, 'checked', v.checked,
                                      'differing', v.differing, 'started_at', v.started_at, 'finished_at', v.finished_at, 'calls', v.calls,
                                      'error', v.error)
              from tds.verification v where v.verification_id = verification_told.verification_id);
end
$$;
revoke all on function tds.verification_told(bigint) from public;
comment on function tds.verification_told(bigint) is 'How a comparison ended.';

create or replace function tds.verify_on(nightly boolean default false) returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_until constant timestamptz := clock_timestamp() + make_interval(secs => tds.setting_int('verify_step_seconds'));
    v_id    bigint := (select min(v.verification_id) from tds.verification v
                        where v.state = 'running' and v.depth = 'inside' and v.asked_by = 'the clock');
begin
    if v_id is null and verify_on.nightly then
        v_id := tds.begin_verification('inside', asked_by => 'the clock');
    end if;
    while v_id is not null and clock_timestamp() < v_until loop
        exit when not tds.verify_step(v_id);
    end loop;
    return v_id;
end
$$;
revoke all on function tds.verify_on(boolean) from public;
comment on function tds.verify_on(boolean) is
'Goes on with the comparison inside that the clock began, for as long as the setting verify_step_seconds says (nightly: begins one); '
'returns its number, null where none is under way. Jobs call it.';

create or replace view public.tds_differences as
select d.organization_id, d.entity, d.zoho_id, d.table_name, d.row_key, d.column_name, d.what, d.ours, d.should_be, d.since, v.depth,
       d.verification_id, coalesce(v.finished_at, v.started_at) as found_at,
       case d.mend when 'rebuild' then format('call tds.rebuild(%L, false)', d.entity)
                   else format('tds repair %s %s', d.entity, d.zoho_id) end as next_command
  from tds.verification_difference d
  join tds.verification v on v.verification_id = d.verification_id
 where d.closed_at is null;
comment on view public.tds_differences is
'Where the mirror is not what it should be, as the last comparison of each depth found it: a row a column, or a row that is missing or too '
'many.';
comment on column public.tds_differences.organization_id is 'Zoho organisation.';
comment on column public.tds_differences.entity is 'The entity.';
comment on column public.tds_differences.zoho_id is 'Zoho''s id of the record.';
comment on column public.tds_differences.table_name is 'Table of schema zoho.';
comment on column public.tds_differences.row_key is 'Which of the record''s rows there; empty: the record''s own.';
comment on column public.tds_differences.column_name is 'The column, of a document the key; empty: the whole row.';
comment on column public.tds_differences.what is
'differs, missing, extra, orphan, stray, twin, document, tombstone, unreadable: see tds.verification_difference.';
comment on column public.tds_differences.ours is 'What the mirror has.';
comment on column public.tds_differences.should_be is 'What the stored document, or Zoho, says.';
comment on column public.tds_differences.since is 'When a comparison first found it so.';
comment on column public.tds_differences.depth is 'inside, lists or details.';
comment on column public.tds_differences.verification_id is 'The comparison that found it.';
comment on column public.tds_differences.found_at is 'When that ended.';
comment on column public.tds_differences.next_command is 'What mends it.';

create or replace view public.tds_verifications as
select v.verification_id, v.depth, v.organization_id, v.entities, v.state, v.asked_by, v.started_at, v.finished_at, v.checked, v.differing,
       v.calls, v.error
  from tds.verification v;
comment on view public.tds_verifications is 'Comparisons of the mirror with its documents and with Zoho, and how each ended.';
comment on column public.tds_verifications.verification_id is 'Its number.';
comment on column public.tds_verifications.depth is 'inside, lists or details.';
comment on column public.tds_verifications.organization_id is 'Whose records; null: of all organisations.';
comment on column public.tds_verifications.entities is 'The entities compared.';
comment on column public.tds_verifications.state is 'asked, running, done, failed or lost.';
comment on column public.tds_verifications.asked_by is 'Who asked for it; the clock: a job.';
comment on column public.tds_verifications.started_at is 'When it began.';
comment on column public.tds_verifications.finished_at is 'When it ended.';
comment on column public.tds_verifications.checked is 'Records compared.';
comment on column public.tds_verifications.differing is 'Records that differ.';
comment on column public.tds_verifications.calls is 'Calls of Zoho''s API it took.';
comment on column public.tds_verifications.error is 'What it failed of, or what of it could not be compared, and why.';

grant select on tds.verification, tds.verification_difference to tds_reader, tds_operator, tds_poller;
grant execute on procedure tds.verify_inside(text[], text, int, jsonb) to tds_operator, tds_poller;
grant execute on function
    tds.begin_verification(text, text[], text, int, text, text[], text, boolean), tds.verify_step(bigint, int),
    tds.finish_verification(bigint, bigint, text), tds.leave_out(bigint, text, text), tds.verification_told(bigint)
    to tds_operator, tds_poller;
grant execute on function tds.verify_on(boolean) to tds_worker, tds_operator;
grant execute on function tds.rebuild_differences(text, int), tds.remove_orphans(text, text, text[]) to tds_operator;

create or replace function tds.ask_for_lists() returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_asked bigint := 0::bigint;
    v_own   text;
begin
    if tds.bulk_sync_refusal() is not null then
        return v_asked;
    end if;
    for v_own in
        select f.organization_id from tds.full_pull f
         where tds.is_kept_in_step(f)
           and not exists (select from tds.verification v where v.depth = 'lists' and v.organization_id = f.organization_id
                              and v.state = 'asked')
         order by 1
    loop
        perform tds.begin_verification('lists', organization_id => v_own, asked_by => 'the clock', at_once => false);
        v_asked := v_asked + 1;
    end loop;
    return v_asked;
end
$$;
revoke all on function tds.ask_for_lists() from public;
comment on function tds.ask_for_lists() is
'Asks whoever polls for a comparison with Zoho''s lists, of every organisation that is served and whose migration has ended; returns of '
'how many. None while bulk_sync_enabled is false.';
grant execute on function tds.ask_for_lists() to tds_worker, tds_operator;

create or replace function tds.take_verification(organization_id text) returns setof tds.verification
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    update tds.verification v
       set state = 'running', started_at = tds.now()
     where v.verification_id = (
           select o.verification_id from tds.verification o
            where o.state = 'asked' and o.depth <> 'inside' and o.organization_id = take_verification.organization_id
            order by o.verification_id limit 1 for update skip locked)
    returning v.*;
end
$$;
revoke all on function tds.take_verification(text) from public;
comment on function tds.take_verification(text) is
'The next comparison with Zoho that somebody asked for, now running: whoever polls does it, and ends it with tds.finish_verification().';
grant execute on function tds.take_verification(text) to tds_poller;

do $do$
begin
    execute 'create or replace view public.tds_danglers as
select d.entity, d.organization_id, d.table_name, d.zoho_id, d.row_key, d.column_name, d.parent, d.parent_zoho_id, d.what, d.since
  from (' || (
        select string_agg(format(
                   $sql$
select %1$L::text as entity, t.organization_id, %2$L::text as table_name, t.%3$I::text as zoho_id, %4$s as row_key,
       %5$L::text as column_name, %6$L::text as parent, t.%7$I::text as parent_zoho_id,
       case when p.id is null and t.%5$I is null then 'parent missing'
            when p.id is null then 'parent gone'
            when t.%5$I is distinct from p.id then case when t.%5$I is null then 'not linked' else 'another row''s id' end
            else 'parent deleted' end as what,
       case when p.deleted_at is not null and t.%5$I = p.id then p.deleted_at else t.synced_at end as since
  from zoho.%2$I t
  left join zoho.%6$I p on p.organization_id = t.organization_id and p.%8$I = t.%7$I
 where t.%7$I is not null and (t.%5$I is distinct from p.id or p.id is null or p.deleted_at is not null)%9$s$sql$,
                   o.entity, l.target, o.id_column, o.row_key, l.column_name, l.parent, l.key_column, l.parent_key,
                   case when o.row_key = '''''' then ' and t.deleted_at is null' else '' end), E'\n union all'
                          order by l.target, l.column_name)
          from tds.link l
         cross join lateral (
               select n.entity, n.target_key, '''''' from tds.entity n where n.target = l.target
                union all
               select c.entity, c.parent_column, format('t.%I::text', c.position_column) from tds.child c where c.target = l.target
                union all
               select b.entity, b.id_column, regexp_replace(b.row_key, '\mx\.', 't.', 'g') from tds.beside b where b.target = l.target
                order by 1 limit 1) o(entity, id_column, row_key)
         where l.parent_column = 'id') || ') d';
end
$do$;
comment on view public.tds_danglers is
'Rows that name a record the mirror has not, or that is deleted, or whose link is another row''s id; order by since for the oldest. A '
'record that is missing comes with its next pull; tds repair ENTITY ID asks for it at once.';
comment on column public.tds_danglers.entity is 'The entity of the row; a contact''s are under customers.';
comment on column public.tds_danglers.organization_id is 'Zoho organisation.';
comment on column public.tds_danglers.table_name is 'Table of schema zoho.';
comment on column public.tds_danglers.zoho_id is 'Zoho''s id of the record that the row is of.';
comment on column public.tds_danglers.row_key is 'Which of its rows there; empty: the record''s own.';
comment on column public.tds_danglers.column_name is 'The link.';
comment on column public.tds_danglers.parent is 'The table that it leads to.';
comment on column public.tds_danglers.parent_zoho_id is 'Zoho''s id of the record that is named.';
comment on column public.tds_danglers.what is
'parent missing (nobody has told of it yet); parent gone (its row was there); not linked; another row''s id; parent deleted.';
comment on column public.tds_danglers.since is 'When the row was last written, or the parent deleted.';
