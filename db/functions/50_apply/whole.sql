-- Records written whole, whatever is stored of them: what a rebuild makes anew of their documents, and what a repair reads from Zoho.

create or replace function tds.is_layers(layers jsonb) returns boolean
language sql immutable parallel safe
as $$
    select case when jsonb_typeof($1) <> 'array' then false else not exists (
        select from jsonb_array_elements($1) l(layer)
         where case when jsonb_typeof(l.layer) <> 'object' then true
                    else jsonb_typeof(l.layer -> 'keys') is distinct from 'array' or jsonb_typeof(l.layer -> 'hidden') <> 'object'
                         or jsonb_typeof(l.layer -> 'under') <> 'array' or jsonb_typeof(l.layer -> 'rest') <> 'array'
                         or not coalesce(tds.is_time(l.layer ->> 'o'), false) or not tds.is_time(l.layer ->> 'm')
                         or not tds.is_time(l.layer ->> 'c') or l.layer -> 'r' not in ('1', '2', '3') end) end
$$;
comment on function tds.is_layers(jsonb) is 'Whether these are layers as tds.record_state has them, which can be read.';

create or replace function tds.is_sound(state tds.record_state) returns boolean
language sql immutable parallel safe
as $$ select coalesce(jsonb_typeof(($1).doc) = 'object', false) and (($1).layers is null or tds.is_layers(($1).layers)) $$;
comment on function tds.is_sound(tds.record_state) is
'Whether a row''s document and its layers have the form that everything that reads them goes by.';

create or replace function tds.remove_orphans(entity text, organization_id text default null, zoho_ids text[] default null) returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_entity constant tds.entity := tds.entity_named(remove_orphans.entity);
    v_now    constant timestamptz := tds.now();
    v_gone   jsonb;
begin
    v_gone := (select coalesce(jsonb_agg(to_jsonb(d)), '[]')
                 from tds.delete_orphans(remove_orphans.entity, remove_orphans.organization_id, remove_orphans.zoho_ids) d);
    -- a record whose row is lost may be there in Zoho
    if v_entity.api_path <> '' and remove_orphans.zoho_ids is null then
        perform tds.want(v_entity.entity, g.organization_id, array(
            select row(i.id, 'rows of it were left over', v_now + tds.zoho_ahead(g.organization_id), null, null)::tds.wish
              from unnest(g.zoho_ids) i(id) where tds.is_id(i.id)))
           from (select r.organization_id, array_agg(distinct r.zoho_id) as zoho_ids
                   from jsonb_to_recordset(v_gone) r(organization_id text, zoho_id text) group by r.organization_id) g
          where tds.is_own(g.organization_id);
    end if;
    return jsonb_array_length(v_gone)::bigint;
end
$$;
revoke all on function tds.remove_orphans(text, text, text[]) from public;
comment on function tds.remove_orphans(text, text, text[]) is
'Removes rows that hang on records which the mirror has not (of these ids, or all: 10,000 of a table at most), and asks Zoho for those '
'records; returns how many.';

create or replace function tds.remove_twins(entity text, organization_id text, zoho_ids text[]) returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_rows bigint := 0::bigint;
begin
    if (select n.target from tds.entity n where n.entity = remove_twins.entity) <> 'contacts' then
        return v_rows;
    end if;
    perform tds.take_turn('zoho.contacts', remove_twins.organization_id);
    with ranked as (
        -- of a contact that stands in both tables the row stays that is where its document says; else the one observed later
        select c.contact_type, c.zoho_contact_id,
               row_number() over (partition by c.zoho_contact_id
                                  order by c.zoho_metadata ->> 'contact_type' = c.contact_type desc nulls last, c.sync_observed_at desc,
                                           c.contact_type) as place
          from zoho.contacts c
         where c.organization_id = remove_twins.organization_id and c.zoho_contact_id = any (remove_twins.zoho_ids)
    ), addresses as (
        delete from zoho.contact_addresses a using ranked r
         where a.organization_id = remove_twins.organization_id and a.contact_type = r.contact_type
           and a.zoho_contact_id = r.zoho_contact_id and r.place > 1)
    delete from zoho.contacts c using ranked r
     where c.organization_id = remove_twins.organization_id and c.contact_type = r.contact_type
       and c.zoho_contact_id = r.zoho_contact_id and r.place > 1;
    get diagnostics v_rows = row_count;
    return v_rows;
end
$$;
revoke all on function tds.remove_twins(text, text, text[]) from public;
comment on function tds.remove_twins(text, text, text[]) is
'Removes the second row of those of these contacts that stand as customer and as vendor, which nobody writes: Zoho has one of each id.';

create or replace function tds.write_states_of(entity text, organization_id text, states tds.record_state[], at timestamptz) returns text[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_owners  constant text[] := array(select write_states_of.organization_id from unnest(write_states_of.states));
    v_written constant bigint[] := tds.write_states(write_states_of.entity, v_owners, write_states_of.states, write_states_of.at);
begin
    return array(select write_states_of.states[w.n].zoho_id from unnest(v_written) w(n));
end
$$;
revoke all on function tds.write_states_of(text, text, tds.record_state[], timestamptz) from public;
comment on function tds.write_states_of(text, text, tds.record_state[], timestamptz) is
'tds.write_states() of one organisation; returns the ids written.';

create or replace function tds.write_whole(entity text, organization_id text, states tds.record_state[], at timestamptz) returns text[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_written constant text[] := tds.write_states_of(write_whole.entity, write_whole.organization_id, write_whole.states, write_whole.at);
begin
    -- the writer leaves what hangs on the record to its hook, which goes by what the document has: rows that it knows nothing of, too
    perform tds.whole_rows(write_whole.entity, write_whole.organization_id, write_whole.states, v_written, write_whole.at);
    return v_written;
end
$$;
revoke all on function tds.write_whole(text, text, tds.record_state[], timestamptz) from public;
comment on function tds.write_whole(text, text, tds.record_state[], timestamptz) is
'tds.write_states(), and all that is made beside these records, whatever their documents have of it; returns the ids written.';

create or replace function tds.newest_told(entity text, organization_id text, zoho_ids text[], shape text) returns tds.record[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_names constant text[] := tds.namesakes(newest_told.entity);
    v_rows  tds.record[] := array[]::tds.record[];
    v_id    text;
    v_event record;
begin
    foreach v_id in array newest_told.zoho_ids loop
        for v_event in
            select i.inbox_id, i.received_at
              from tds.inbox i
              join tds.inbox_outcome o on o.received_at = i.received_at and o.inbox_id = i.inbox_id
             where i.organization_id = newest_told.organization_id and i.entity = any (v_names) and i.shape = newest_told.shape
               and i.event = 'upsert' and (i.record_id = v_id or i.record_id is null and strpos(i.body, v_id) > 0)
               and o.dead = 0
             order by i.received_at desc, i.inbox_id desc
             limit 3
        loop
            v_rows := v_rows || array(
                select r from unnest(tds.explode(newest_told.entity, tds.read_events(
                           newest_told.entity, array[v_event.inbox_id], array[v_event.received_at]))) r
                 where r.zoho_id = v_id limit 1);
            exit when v_id in (select r.zoho_id from unnest(v_rows) r);
        end loop;
    end loop;
    return v_rows;
end
$$;
revoke all on function tds.newest_told(text, text, text[], text) from public;
comment on function tds.newest_told(text, text, text[], text) is
'What the newest lists (shape list) or details that the inbox still has tell of these records: each has keys that the other lacks.';

create or replace function tds.numbered(records tds.record[], first bigint) returns tds.record[]
language sql immutable
as $$
    select coalesce(array_agg(row($2 + r.n, r.inbox_id, r.received_at, r.position, r.alone, r.zoho_id, r.modified_at, r.observed_at, r.rank,
                                  r.is_delete, r.hash, r.doc, r.organization_id)::tds.record order by r.n), '{}')
      from unnest($1) with ordinality r(ord, inbox_id, received_at, position, alone, zoho_id, modified_at, observed_at, rank, is_delete,
                                        hash, doc, organization_id, n)
$$;
comment on function tds.numbered(tds.record[], bigint) is 'Records of several batches, numbered apart.';

create or replace function tds.forget_row(known tds.record_state, told tds.record[]) returns tds.record_state
language sql stable
as $$
    -- what the list has that the details lack stays as it is known only where no list row is at hand
    select row(($1).zoho_id,
               case when exists (select from unnest($2) t where t.zoho_id = ($1).zoho_id and t.rank = 1)
                         or jsonb_typeof(($1).doc) is distinct from 'object' then '{}'
                    else ($1).doc - array(select k.key from unnest($2) t cross join lateral jsonb_object_keys(t.doc) k(key)
                                           where t.zoho_id = ($1).zoho_id) end,
               ($1).version, null, least(($1).modified_at, k.modified_at), least(($1).observed_at, k.observed_at) - interval '1 second',
               1::smallint, null, null, null, null)::tds.record_state
      from (select max(t.modified_at) as modified_at, max(t.observed_at) as observed_at
              from unnest($2) t where t.zoho_id = ($1).zoho_id and t.rank = 3) k
$$;
comment on function tds.forget_row(tds.record_state, tds.record[]) is
'A row as if nothing were known of it but what these tellings leave out, and no later than they were told.';

create or replace function tds.write_told(entity text, organization_id text, told tds.record[], at timestamptz) returns text[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_entity  constant tds.entity := tds.entity_named(write_told.entity);
    v_fields  constant text[] := array(select f.key from tds.field f where f.entity = write_told.entity and f.list_key = '');
    v_ids     text[];
    v_told    tds.record[];
    v_known   tds.record_state[];
    v_states  tds.record_state[];
    v_written text[];
begin
    -- one that cannot be read is a dead letter, by the way that all events take, and nothing is forgotten for it
    v_told := array(select t from unnest(write_told.told) t
                     where t.zoho_id is not null and not t.is_delete
                       and t.ord not in (select c.ord from tds.culprits(write_told.entity, write_told.told) c));
    v_ids := array(select distinct t.zoho_id from unnest(v_told) t where t.rank = 3 order by 1);
    if v_ids = '{}' then
        return v_ids;
    end if;
    perform tds.remove_twins(write_told.entity, write_told.organization_id, v_ids);
    execute format(
        'select array(select row(t.%1$I, t.zoho_metadata, t.sync_version, t.sync_hash, t.sync_modified_at, t.sync_observed_at, '
        't.sync_rank, t.sync_read_at, t.deleted_at, t.sync_layers, t.sync_event)::tds.record_state from zoho.%2$I t '
        'where t.organization_id = $1 and t.%1$I = any ($2) '
        'order by t.%1$I for update)', v_entity.target_key, v_entity.target)
       into v_known using write_told.organization_id, v_ids;
    -- what nothing can read would stop whoever writes over it
    execute format('update zoho.%1$I t set zoho_metadata = ''{}'', sync_layers = null where t.organization_id = $1 and t.%2$I = any ($2)',
                   v_entity.target, v_entity.target_key)
      using write_told.organization_id, array(select k.zoho_id from unnest(v_known) k where not tds.is_sound(k));
    v_told := array(select t from unnest(v_told) t where t.zoho_id = any (v_ids));
    v_states := array(
        select f.state
          from tds.fold(v_told, array(select tds.forget_row(k, v_told) from unnest(v_known) k), v_entity.detail_key, v_fields,
                        (select tds.second_look())) f
         order by (f.state).zoho_id);
    v_written := tds.write_whole(write_told.entity, write_told.organization_id, v_states, write_told.at);
    perform tds.link_rows(write_told.entity, array(select write_told.organization_id from unnest(v_written)), v_written);
    return v_written;
end
$$;
revoke all on function tds.write_told(text, text, tds.record[], timestamptz) from public;
comment on function tds.write_told(text, text, tds.record[], timestamptz) is
'Writes records as these tellings have them (a detail each, and the list row that has what details lack), whatever their rows hold: '
'columns, document, what hangs on them, links; a tombstone goes. Returns the ids written.';

create or replace function tds.write_forced(
    entity text, organization_id text, zoho_ids text[], body bytea, observed_at timestamptz, modified_at timestamptz) returns text[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now   constant timestamptz := tds.now();
    v_event tds.event;
    v_told  tds.record[];
begin
    select 0::bigint, 0::bigint, v_now, false, write_forced.observed_at, write_forced.modified_at, 3::smallint, false,
           tds.unless_forgotten(n, write_forced.organization_id, b.records), null::boolean, write_forced.organization_id
      into v_event
      from tds.entity n
     cross join lateral tds.body_records(convert_from(write_forced.body, 'UTF8'), n.list_key, n.record_key, n.id_key) b
     where n.entity = write_forced.entity;
    v_told := array(select t from unnest(tds.explode(write_forced.entity, array[v_event])) t
                     where t.zoho_id = any (write_forced.zoho_ids));
    return tds.write_told(
        write_forced.entity, write_forced.organization_id,
        tds.numbered(v_told, 0) || tds.numbered(tds.newest_told(write_forced.entity, write_forced.organization_id, write_forced.zoho_ids,
                                                                'list'), 1000000),
        v_now);
exception when others then
    -- it goes the way of all events, where its fault is told
    if not tds.is_data_error(sqlstate) then
        raise;
    end if;
    raise warning using errcode = sqlstate, message = 'a repair has to go the way of all events: ' || sqlerrm,
        detail = format('%s %s', write_forced.entity, array_to_string(write_forced.zoho_ids, ', ')), hint = 'tds dead list';
    return array[]::text[];
end
$$;
revoke all on function tds.write_forced(text, text, text[], bytea, timestamptz, timestamptz) from public;
comment on function tds.write_forced(text, text, text[], bytea, timestamptz, timestamptz) is
'Writes these records from an answer of Zoho''s, whatever their rows hold, but for what describes forgotten persons; returns the ids '
'written. What cannot be read is left to the event''s own way.';

create or replace function tds.forced_absence(entity text, organization_id text, zoho_ids text[], observed_at timestamptz) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_entity constant tds.entity := tds.entity_named(forced_absence.entity);
    v_now    constant timestamptz := tds.now();
    v_ids    text[];
    v_gone   text[];
begin
    perform tds.remove_orphans(forced_absence.entity, forced_absence.organization_id, forced_absence.zoho_ids);
    perform tds.remove_twins(forced_absence.entity, forced_absence.organization_id, forced_absence.zoho_ids);
    execute format('select array(select t.%1$I from zoho.%2$I t where t.organization_id = $1 and t.%1$I = any ($2)
                                    and t.deleted_at is not null order by t.%1$I for update)', v_entity.target_key, v_entity.target)
       into v_gone using forced_absence.organization_id, forced_absence.zoho_ids;
    v_gone := array(
        select u.id from unnest(v_gone) u(id)
         union
        select h.zoho_id from tds.held_deletion h
         where h.organization_id = forced_absence.organization_id and h.entity = v_entity.entity
           and h.zoho_id = any (forced_absence.zoho_ids) and h.state = 'done'
         order by 1);
    -- as it was told last
    perform tds.write_told(
        v_entity.entity, forced_absence.organization_id,
        tds.numbered(tds.newest_told(v_entity.entity, forced_absence.organization_id, forced_absence.zoho_ids, 'detail'), 0)
        || tds.numbered(tds.newest_told(v_entity.entity, forced_absence.organization_id, forced_absence.zoho_ids, 'list'), 1000000), v_now);
    -- a row with another record's document is nobody's
    execute format('select array(select t.%1$I from zoho.%2$I t where t.organization_id = $1 and t.%1$I = any ($2)
                                    and tds.exact_id(t.zoho_metadata -> %3$L) is distinct from t.%1$I order by t.%1$I for update)',
                   v_entity.target_key, v_entity.target, v_entity.id_key)
       into v_ids using forced_absence.organization_id, forced_absence.zoho_ids;
    if v_ids <> '{}' then
        execute format('delete from zoho.%2$I t where t.organization_id = $1 and t.%1$I = any ($2)', v_entity.target_key, v_entity.target)
          using forced_absence.organization_id, v_ids;
        perform tds.remove_orphans(forced_absence.entity, forced_absence.organization_id, v_ids);
    end if;
    -- what is marked deleted and is not there is deleted: since when it is known to be
    execute format(
        'with marked as (update zoho.%2$I t set deleted_at = $3, sync_version = t.sync_version + 1, synced_at = $4
                          where t.organization_id = $1 and t.%1$I = any ($2) returning t.%1$I as zoho_id)
         insert into tds.held_deletion as h (organization_id, entity, zoho_id, announced_at, absent_at, proved_at, state, changed_at)
         select $1, $5, m.zoho_id, $3, $3, $3, ''done'', $4 from marked m order by m.zoho_id
         on conflict on constraint held_deletion_pkey do update
            set announced_at = coalesce(h.announced_at, excluded.announced_at), absent_at = coalesce(h.absent_at, excluded.absent_at),
                proved_at = excluded.proved_at, state = excluded.state, changed_at = excluded.changed_at', v_entity.target_key,
        v_entity.target)
      using forced_absence.organization_id, v_gone, forced_absence.observed_at, v_now, v_entity.entity;
end
$$;
revoke all on function tds.forced_absence(text, text, text[], timestamptz) from public;
comment on function tds.forced_absence(text, text, text[], timestamptz) is
'What it means that Zoho has not a record that was to be repaired: rows left over of it go, its row is as it was told last, and one '
'that is marked or proved deleted is so from now on. A record that is not marked goes by the rules of evidence.';

create or replace function tds.remove_strays(entity text) returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_entity constant tds.entity := tds.entity_named(remove_strays.entity);
    v_own    constant text := tds.known_organization(null, of_the_api => v_entity.api_path <> '');
    v_stray  text;
    v_ids    text[];
    v_sum    bigint := 0::bigint;
begin
    foreach v_stray in array tds.organizations_of(remove_strays.entity) loop
        continue when tds.is_own(v_stray);
        execute format('with gone as (delete from zoho.%2$I t where t.organization_id = $1 returning t.%1$I as zoho_id)
                        select array(select g.zoho_id from gone g order by 1)', v_entity.target_key, v_entity.target)
           into v_ids using v_stray;
        v_sum := v_sum + cardinality(v_ids);
        perform tds.remove_orphans(remove_strays.entity, v_stray, v_ids);
        -- it may be the row of a record of our own
        if v_entity.api_path <> '' and v_own is not null then
            perform tds.want_forced(v_entity.entity, v_own, array(select i.id from unnest(v_ids) i(id) where tds.is_id(i.id)),
                                    session_user);
        end if;
    end loop;
    return v_sum;
end
$$;
revoke all on function tds.remove_strays(text) from public;
comment on function tds.remove_strays(text) is
'Removes rows of organisations that nobody knows, and asks Zoho for the records by our own organisation; returns how many.';
