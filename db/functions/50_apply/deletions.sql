-- A record is deleted when that is proved and nothing contradicts: Zoho answered 404 for it, and a delete event announced it, or a
-- complete list lacked it, or Zoho answered so twice with a pause between. What is known of each is a row of tds.held_deletion
-- until a sign of life; a spell of 404s is held back whole.

insert into tds.setting (name, value, description) values
    ('deletions_per_hour', '50',
        'Records of one entity that may be marked deleted, or answer 404, within an hour; of more, all are held back.'),
    ('deletions_percent_per_hour', '10',
        'The same as a share of the entity''s living records, in percent; up to 5 records are never too many.'),
    ('deletion_probe_seconds', '600',
        'How often one of the deletions held back is asked for again, in seconds: once Zoho shows it, all are.')
on conflict on constraint setting_pkey do nothing;

create or replace function tds.lock_deletions(entity text, owners text[]) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    perform tds.take_turn('tds.held_deletion', o.id || ' ' || lock_deletions.entity)
       from (select u.id from unnest(lock_deletions.owners) u(id) order by u.id) o;
end
$$;
revoke all on function tds.lock_deletions(text, text[]) from public;
comment on function tds.lock_deletions(text, text[]) is
'Lets one batch at a time weigh deletions of an entity, of each of these organisations: few of two batches each may be too many together.';

create or replace function tds.living(entity tds.entity, organization_id text) returns bigint
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_living bigint;
begin
    execute format('select count(*) from zoho.%I t where t.organization_id = $1 and t.deleted_at is null', (living.entity).target)
       into v_living using living.organization_id;
    return v_living;
end
$$;
revoke all on function tds.living(tds.entity, text) from public;
comment on function tds.living(tds.entity, text) is 'How many records of an entity are not deleted.';

create or replace function tds.is_proved(deletion tds.held_deletion) returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return coalesce((is_proved.deletion).proved_at is not null
                    and ((is_proved.deletion).announced_at is not null or (is_proved.deletion).missing_at is not null
                         or (is_proved.deletion).proved_at >= (is_proved.deletion).absent_at + tds.second_look()), false);
end
$$;
revoke all on function tds.is_proved(tds.held_deletion) from public;
comment on function tds.is_proved(tds.held_deletion) is
'Whether a deletion is proved: a 404, and an announcement, or a list without it, or another 404 that was asked for after a pause.';

create or replace function tds.are_too_many(entity tds.entity, organization_id text, at timestamptz) returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_count  bigint;
    v_marked bigint;
begin
    -- ids that only webhooks have ever named are no records: whoever makes them up holds nothing back
    execute format($sql$
        select count(*) filter (where h.state = 'held' or h.changed_at > $3 - interval '1 hour'), count(*) filter (where h.state = 'done')
          from tds.held_deletion h
          join zoho.%1$I t on t.organization_id = h.organization_id and t.%2$I = h.zoho_id and t.sync_read_at is not null
         where h.organization_id = $1 and h.entity = $2 and h.proved_at is not null and h.state in ('waiting', 'done', 'held')$sql$,
        (are_too_many.entity).target, (are_too_many.entity).target_key)
       into v_count, v_marked using are_too_many.organization_id, (are_too_many.entity).entity, are_too_many.at;
    return v_count > 5
       and (v_count > tds.setting_int('deletions_per_hour')
            or v_count * 100 > tds.setting_int('deletions_percent_per_hour')
                               * (tds.living(are_too_many.entity, are_too_many.organization_id) + v_marked));
end
$$;
revoke all on function tds.are_too_many(tds.entity, text, timestamptz) from public;
comment on function tds.are_too_many(tds.entity, text, timestamptz) is
'Whether more records of an entity that were ever read answered 404 within the last hour than the settings deletions_per_hour and '
'deletions_percent_per_hour allow.';

create or replace function tds.probe_reason() returns text
language sql immutable parallel safe
as $$ select 'one of the deletions held back' $$;
comment on function tds.probe_reason() is
'Why a record is wanted whose deletion is held back: should Zoho show it, all that are held back with it are asked for.';

create or replace function tds.is_probed(entity text, organization_id text, but text[] default '{}') returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return exists (select from tds.wanted_detail w
                     join tds.held_deletion h on h.organization_id = w.organization_id and h.entity = w.entity and h.zoho_id = w.zoho_id
                    where w.organization_id = is_probed.organization_id and w.entity = is_probed.entity and h.state = 'held'
                      and w.zoho_id <> all (is_probed.but));
end
$$;
revoke all on function tds.is_probed(text, text, text[]) from public;
comment on function tds.is_probed(text, text, text[]) is
'Whether one of the records whose deletion is held back is asked for, one of these left out.';

create or replace function tds.hold_deletions(entity tds.entity, organization_id text, at timestamptz) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_marked text[];
begin
    v_marked := array(
        select h.zoho_id from tds.held_deletion h
         where h.organization_id = hold_deletions.organization_id and h.entity = (hold_deletions.entity).entity
           and h.state = 'done' and h.changed_at > hold_deletions.at - interval '1 hour'
         order by h.zoho_id);
    update tds.held_deletion h
       set state = 'held', changed_at = hold_deletions.at
     where h.organization_id = hold_deletions.organization_id and h.entity = (hold_deletions.entity).entity and h.proved_at is not null
       and h.state in ('waiting', 'done') and h.changed_at > hold_deletions.at - interval '1 hour';
    execute format($sql$
        with marked as materialized (
            select t.* from zoho.%1$I t
             where t.organization_id = $1 and t.%2$I = any ($2) and t.deleted_at is not null order by t.%2$I for update
        ), noted as (
            insert into tds.record_history (
                organization_id, target, zoho_id, kind, changed_at, written_at, back, was_version, was_hash, was_modified_at,
                was_observed_at, was_rank, was_read_at, was_layers, was_deleted_at, was_synced_at, was_event)
            select m.organization_id, %1$L, m.%2$I, 'revived', m.deleted_at, $3, '{}', m.sync_version, m.sync_hash, m.sync_modified_at,
                   m.sync_observed_at, m.sync_rank, m.sync_read_at, m.sync_layers, m.deleted_at, m.synced_at, m.sync_event
              from marked m
             where tds.keeps_history(%1$L)
             order by m.%2$I)
        update zoho.%1$I t set deleted_at = null, sync_version = t.sync_version + 1, synced_at = $3, sync_event = null
          from marked m where t.organization_id = $1 and t.%2$I = m.%2$I$sql$,
                   (hold_deletions.entity).target, (hold_deletions.entity).target_key)
      using hold_deletions.organization_id, v_marked, hold_deletions.at;
    -- nobody asks for each of them: one is asked for now and then, and stays that one, however many join it
    with held as materialized (
        select w.zoho_id from tds.wanted_detail w
          join tds.held_deletion h on h.organization_id = w.organization_id and h.entity = w.entity and h.zoho_id = w.zoho_id
         where w.organization_id = hold_deletions.organization_id and w.entity = (hold_deletions.entity).entity and h.state = 'held'
           and w.reason <> tds.probe_reason()
         order by w.zoho_id for update of w)
    delete from tds.wanted_detail w using held d
     where w.organization_id = hold_deletions.organization_id and w.entity = (hold_deletions.entity).entity and w.zoho_id = d.zoho_id;
    perform tds.want((hold_deletions.entity).entity, hold_deletions.organization_id, array(
        select row(h.zoho_id, tds.probe_reason(),
                   tds.zoho_now(h.organization_id) + make_interval(secs => tds.setting_int('deletion_probe_seconds')), null, null)::tds.wish
          from tds.held_deletion h
         where h.organization_id = hold_deletions.organization_id and h.entity = (hold_deletions.entity).entity and h.state = 'held'
           -- asked once
           and not (select tds.is_probed((hold_deletions.entity).entity, hold_deletions.organization_id))
         order by h.proved_at, h.zoho_id
         limit 1));
    raise warning using errcode = 'ZB016', message = 'deletions held back',
        detail = format('%s of organisation %s: more answered 404 within an hour than deletions_per_hour and '
                        'deletions_percent_per_hour allow',
                        (hold_deletions.entity).entity, hold_deletions.organization_id),
        hint = format('select * from tds_held_deletions; select tds.confirm_deletions(%1$L) or tds.refuse_deletions(%1$L)',
            (hold_deletions.entity).entity);
end
$$;
revoke all on function tds.hold_deletions(tds.entity, text, timestamptz) from public;
comment on function tds.hold_deletions(tds.entity, text, timestamptz) is
'Holds back all deletions of an entity of the last hour, those that were marked already too, and has one of them asked for from time '
'to time.';

create or replace function tds.note_absences(entity tds.entity, organization_id text, records tds.record[], at timestamptz) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    insert into tds.held_deletion as h (organization_id, entity, zoho_id, announced_at, absent_at, proved_at, state, changed_at)
    select note_absences.organization_id, (note_absences.entity).entity, a.zoho_id, a.announced_at, a.absent_at, a.proved_at, 'waiting',
        note_absences.at
      from (select r.zoho_id, max(r.observed_at) filter (where r.rank <> 3) as announced_at,
                   min(r.observed_at) filter (where r.rank = 3) as absent_at, max(r.observed_at) filter (where r.rank = 3) as proved_at
              from unnest(note_absences.records) r
             where r.is_delete
             group by r.zoho_id) a
      left join lateral (select m.known from tds.meet((note_absences.entity).entity, array(
                                                 select x from unnest(note_absences.records) x where x.zoho_id = a.zoho_id
                                                          and x.is_delete)) m
                          limit 1) k on true
     -- what was seen alive since proves nothing
     where greatest(a.announced_at, a.proved_at) >= coalesce(tds.alive_at(k.known), '-infinity')
     order by a.zoho_id
    on conflict on constraint held_deletion_pkey do update
       set announced_at = greatest(h.announced_at, excluded.announced_at),
           absent_at = least(h.absent_at, excluded.absent_at),
           proved_at = greatest(h.proved_at, excluded.proved_at),
           changed_at = case when h.state = 'waiting' then excluded.changed_at else h.changed_at end;
end
$$;
revoke all on function tds.note_absences(tds.entity, text, tds.record[], timestamptz) from public;
comment on function tds.note_absences(tds.entity, text, tds.record[], timestamptz) is
'Writes down what these deletions are evidence of, unless a record was seen alive since.';

create or replace function tds.alive_at(known tds.record_state) returns timestamptz
language sql immutable parallel safe
as $$
    select greatest(($1).read_at, case when ($1).rank = 2 then ($1).observed_at end,
                    (select max(l.o) from jsonb_to_recordset(($1).layers) l(o timestamptz, r smallint) where l.r = 2))
$$;
comment on function tds.alive_at(tds.record_state) is
'The last time that a read or a webhook showed a record alive, as far as its row knows.';

create or replace function tds.next_probe(entity tds.entity, organization_id text, records tds.record[]) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_absent constant text[] := array(select distinct r.zoho_id from unnest(next_probe.records) r where r.is_delete and r.rank = 3);
    v_first  constant text := (
        select min(h.zoho_id) from tds.held_deletion h
         where h.organization_id = next_probe.organization_id and h.entity = (next_probe.entity).entity and h.state = 'held'
           and h.zoho_id = any (v_absent));
begin
    return case when v_first is not null and not tds.is_probed((next_probe.entity).entity, next_probe.organization_id, but => v_absent)
                then v_first end;
end
$$;
revoke all on function tds.next_probe(tds.entity, text, tds.record[]) from public;
comment on function tds.next_probe(tds.entity, text, tds.record[]) is
'Of the records held back that answered 404 once more, the one to ask for again after deletion_probe_seconds, unless another is.';

create or replace function tds.resolve_deleted(entity text, organization_id text, zoho_ids text[], at timestamptz) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    update tds.dead_letter d
       set resolved_at = resolve_deleted.at, resolution = format('Zoho has deleted the record: 404 at %s', h.proved_at)
      from tds.held_deletion h
     where h.organization_id = resolve_deleted.organization_id and h.entity = resolve_deleted.entity
       and h.zoho_id = any (resolve_deleted.zoho_ids) and h.state in ('done', 'confirmed')
       and d.organization_id = h.organization_id and d.entity = any (tds.namesakes(h.entity)) and d.resolved_at is null
       -- as the index dead_letter_told_idx has it
       and coalesce(d.zoho_id, md5(d.record)) = h.zoho_id and d.zoho_id = h.zoho_id
       -- what was told later speaks of a record that is there
       and d.observed_at < h.proved_at;
end
$$;
revoke all on function tds.resolve_deleted(text, text, text[], timestamptz) from public;
comment on function tds.resolve_deleted(text, text, text[], timestamptz) is
'Closes dead letters of records that are proved deleted since: nobody will tell them anew.';

create or replace function tds.weigh_deletions(
    entity tds.entity, organization_id text, records tds.record[], at timestamptz, out passed tds.record[], out verdicts tds.verdict[])
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_held     boolean;
    v_proved   tds.held_deletion[];
    v_phantoms text[];
    v_probe    text;
begin
    perform tds.note_absences(weigh_deletions.entity, weigh_deletions.organization_id, weigh_deletions.records, weigh_deletions.at);
    -- they are put aside (tds.note_life()) once all rows are written: rows before wants, as everybody does
    v_held := tds.are_too_many(weigh_deletions.entity, weigh_deletions.organization_id, weigh_deletions.at);
    v_proved := array(
        select h from tds.held_deletion h
         where h.organization_id = weigh_deletions.organization_id and h.entity = (weigh_deletions.entity).entity
           and h.zoho_id in (select r.zoho_id from unnest(weigh_deletions.records) r where r.is_delete)
           and h.state in ('waiting', 'confirmed', 'done') and (h.state = 'confirmed' or not v_held and tds.is_proved(h))
         order by h.zoho_id);
    update tds.held_deletion h
       set state = 'done', changed_at = weigh_deletions.at
      from unnest(v_proved) p
     where (h.organization_id, h.entity, h.zoho_id) = (p.organization_id, p.entity, p.zoho_id) and h.state = 'waiting';
    perform tds.resolve_deleted((weigh_deletions.entity).entity, weigh_deletions.organization_id,
                                array(select p.zoho_id from unnest(v_proved) p), weigh_deletions.at);
    v_phantoms := tds.remove_phantoms(
        weigh_deletions.entity, weigh_deletions.organization_id,
        array(select p from unnest(v_proved) p
               where p.announced_at is null
                 and not exists (select from unnest(weigh_deletions.records) r
                                  where r.zoho_id = p.zoho_id and not r.is_delete and r.rank <> 2)));
    weigh_deletions.passed := array(
        select case when not r.is_delete then r
                    else row(r.ord, r.inbox_id, r.received_at, r.position, r.alone, r.zoho_id, r.modified_at, p.proved_at, 3::smallint,
                        true,
                             r.hash, r.doc, r.organization_id)::tds.record end
          from unnest(weigh_deletions.records) r
          left join unnest(v_proved) p on p.zoho_id = r.zoho_id
         -- a hint asks for the detail; a proof counts once it is complete
         where not r.is_delete or p.zoho_id is not null and not p.zoho_id = any (v_phantoms));
    v_probe := tds.next_probe(weigh_deletions.entity, weigh_deletions.organization_id, weigh_deletions.records);
    weigh_deletions.verdicts := array(
        select row(r.ord, r.inbox_id, r.zoho_id, 'unchanged', r.modified_at, r.observed_at, r.rank, d.wanted,
                   case when r.zoho_id = v_probe then r.observed_at + make_interval(secs => tds.setting_int('deletion_probe_seconds'))
                        when r.rank = 3 then r.observed_at + tds.second_look() else r.observed_at end, false,
                   r.organization_id)::tds.verdict
          from unnest(weigh_deletions.records) r
          left join tds.held_deletion h on h.organization_id = weigh_deletions.organization_id
                                       and h.entity = (weigh_deletions.entity).entity and h.zoho_id = r.zoho_id
         cross join lateral (select case when r.zoho_id = v_probe and r.rank = 3 then tds.probe_reason()
                                         when v_held or h.state is distinct from 'waiting' then null
                                         when r.rank = 3 then 'answered 404 once' else 'said to be deleted' end) d(wanted)
         where r.is_delete
           and (r.zoho_id = any (v_phantoms) or not exists (select from unnest(v_proved) p where p.zoho_id = r.zoho_id)));
end
$$;
revoke all on function tds.weigh_deletions(tds.entity, text, tds.record[], timestamptz) from public;
comment on function tds.weigh_deletions(tds.entity, text, tds.record[], timestamptz) is
'Weighs the deletions among these records: passed are the records without those that are not proved or are held back, whose verdicts '
'are told.';

create or replace function tds.unlink_statement(link tds.link) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_keys constant text[] := tds.key_columns((unlink_statement.link).target);
begin
    -- by the link or by the id that is named: each table has an index for one of them
    return format(
        'with led as (select %4$s from zoho.%1$I t where t.organization_id = $1 and t.%2$I = any ($2) and t.%3$I = any ($3) '
        'order by %4$s for update) update zoho.%1$I t set %2$I = null from led l where (%4$s) = (%5$s)',
        (unlink_statement.link).target, (unlink_statement.link).column_name, (unlink_statement.link).key_column,
        (select string_agg(format('t.%I', k), ', ' order by n) from unnest(v_keys) with ordinality u(k, n)),
        (select string_agg(format('l.%I', k), ', ' order by n) from unnest(v_keys) with ordinality u(k, n)));
end
$$;
revoke all on function tds.unlink_statement(tds.link) from public;
comment on function tds.unlink_statement(tds.link) is
'The statement that takes a link back from the rows of an organisation ($1) that lead to these rows ($2) of these records ($3), in key '
'order.';

create or replace function tds.unlink_rows(parents text[], organization_id text, zoho_ids text[], row_ids bigint[]) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_link tds.link;
begin
    for v_link in
        select l.* from tds.link l
         where l.parent = any (unlink_rows.parents) and not l.follows and cardinality(unlink_rows.row_ids) > 0
         order by l.target, l.column_name
    loop
        execute tds.unlink_statement(v_link) using unlink_rows.organization_id, unlink_rows.row_ids, unlink_rows.zoho_ids;
    end loop;
end
$$;
revoke all on function tds.unlink_rows(text[], text, text[], bigint[]) from public;
comment on function tds.unlink_rows(text[], text, text[], bigint[]) is
'Takes back the links to rows that these tables no longer have (their ids, Zoho''s and ours): whoever names them has nobody to point to, '
'as before they came.';

create or replace function tds.link_parents(target text) returns text[]
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select array(select distinct l.parent from tds.link l
                  where l.parent = $1 or format('zoho.%I', l.parent)::regclass in (
                        select h.inhrelid from pg_inherits h where h.inhparent = format('zoho.%I', $1)::regclass)
                  order by l.parent)
$$;
revoke all on function tds.link_parents(text) from public;
comment on function tds.link_parents(text) is 'The names by which links lead to rows of that table: its own, and those of its parts.';

create or replace function tds.remove_records(entity tds.entity, organization_id text, zoho_ids text[]) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_parents constant text[] := tds.link_parents((remove_records.entity).target);
    v_target  record;
    v_ids     bigint[];
begin
    if v_parents <> '{}' then
        execute format('select array(select t.id from zoho.%I t where t.organization_id = $1 and t.%I = any ($2))',
                       (remove_records.entity).target, (remove_records.entity).target_key)
           into v_ids using remove_records.organization_id, remove_records.zoho_ids;
    end if;
    for v_target in
        select (remove_records.entity).target as name, (remove_records.entity).target_key as id_column
         union all
        select c.target, c.parent_column from tds.child c where c.entity = (remove_records.entity).entity
         union all
        select p.name, p.id_column from jsonb_each_text((remove_records.entity).parts) p(name, id_column)
    loop
        execute format('delete from zoho.%1$I t where t.organization_id = $1 and t.%2$I = any ($2)', v_target.name, v_target.id_column)
          using remove_records.organization_id, remove_records.zoho_ids;
    end loop;
    perform tds.unlink_rows(v_parents, remove_records.organization_id, remove_records.zoho_ids, v_ids);
    delete from tds.record_history h
     where h.organization_id = remove_records.organization_id and h.target = (remove_records.entity).target
       and h.zoho_id = any (remove_records.zoho_ids);
    delete from tds.held_deletion h
     where h.organization_id = remove_records.organization_id and h.entity = (remove_records.entity).entity
       and h.zoho_id = any (remove_records.zoho_ids);
end
$$;
revoke all on function tds.remove_records(tds.entity, text, text[]) from public;
comment on function tds.remove_records(tds.entity, text, text[]) is
'Removes the rows of records, with what hangs on them, the links that lead to them, their history, and what is known of their absence.';

create or replace function tds.remove_phantoms(entity tds.entity, organization_id text, proved tds.held_deletion[]) returns text[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_ids text[];
begin
    execute format('select coalesce(array_agg(t.%1$I order by t.%1$I), ''{}'') from zoho.%2$I t
                     where t.organization_id = $1 and t.%1$I = any ($2) and t.sync_read_at is null',
                   (remove_phantoms.entity).target_key, (remove_phantoms.entity).target)
       into v_ids
      using remove_phantoms.organization_id, array(select p.zoho_id from unnest(remove_phantoms.proved) p);
    if v_ids = '{}' then
        return v_ids;
    end if;
    perform tds.remove_records(remove_phantoms.entity, remove_phantoms.organization_id, v_ids);
    return v_ids;
end
$$;
revoke all on function tds.remove_phantoms(tds.entity, text, tds.held_deletion[]) from public;
comment on function tds.remove_phantoms(tds.entity, text, tds.held_deletion[]) is
'Removes those records that only webhooks have ever told of and that Zoho does not have: they never were. Returns their ids.';

create or replace function tds.note_life_of(entity tds.entity, organization_id text, verdicts tds.verdict[], at timestamptz) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_alive tds.held_deletion[];
    v_dead  tds.record[];
begin
    if exists (select from tds.held_deletion h
                where h.organization_id = note_life_of.organization_id and h.entity = (note_life_of.entity).entity
                  and h.proved_at is not null and h.state in ('waiting', 'done') and h.changed_at > note_life_of.at - interval '1 hour')
       and tds.are_too_many(note_life_of.entity, note_life_of.organization_id, note_life_of.at) then
        perform tds.hold_deletions(note_life_of.entity, note_life_of.organization_id, note_life_of.at);
    end if;
    v_alive := array(
        select h
          from tds.held_deletion h
          join (select v.zoho_id, max(v.observed_at) as observed_at from unnest(note_life_of.verdicts) v
                 where v.outcome in ('applied', 'unchanged', 'stale') group by v.zoho_id) v on v.zoho_id = h.zoho_id
         where h.organization_id = note_life_of.organization_id and h.entity = any (tds.namesakes((note_life_of.entity).entity))
           and v.observed_at > greatest(h.announced_at, h.missing_at, h.proved_at)
         order by h.entity, h.zoho_id
           -- whoever holds one is noting another absence of it, which is then weighed against the row
           for update of h skip locked);
    delete from tds.held_deletion h using unnest(v_alive) a where (h.organization_id, h.entity, h.zoho_id) = (a.organization_id,
        a.entity, a.zoho_id);
    -- the spell is over: all that it held back are asked for
    perform tds.release_deletions(a.entity, a.organization_id, note_life_of.at)
       from (select distinct x.entity, x.organization_id from unnest(v_alive) x where x.state = 'held' order by 1, 2) a;
    -- told late, of before its proved deletion
    v_dead := array(
        select row(0, 0, note_life_of.at, 1, true, h.zoho_id, null, h.proved_at, 3::smallint, true, 0, '{}',
                   h.organization_id)::tds.record
          from tds.held_deletion h
         where h.organization_id = note_life_of.organization_id and h.entity = (note_life_of.entity).entity
           and h.state in ('done', 'confirmed')
           and h.zoho_id in (select v.zoho_id from unnest(note_life_of.verdicts) v
                              where v.outcome = 'applied' and v.observed_at < h.proved_at)
         order by h.zoho_id);
    -- of two 404s that alone proved it only the later one still says so
    perform tds.want((note_life_of.entity).entity, note_life_of.organization_id, d.wishes)
       from (select array_agg(row(h.zoho_id, 'seen between two 404s', h.proved_at + interval '1 microsecond', null, null)::tds.wish
                              order by h.zoho_id) as wishes
               from tds.held_deletion h
              where h.organization_id = note_life_of.organization_id and h.entity = (note_life_of.entity).entity and h.state = 'done'
                and h.announced_at is null and h.missing_at is null
                and h.zoho_id in (select v.zoho_id from unnest(note_life_of.verdicts) v
                                   where v.outcome in ('applied', 'unchanged', 'stale')
                                     and v.observed_at > h.absent_at and v.observed_at < h.proved_at and v.wanted is null)) d
      where d.wishes is not null;
    if v_dead <> '{}' then
        perform tds.apply_resolved(note_life_of.entity, v_dead, note_life_of.at);
    end if;
end
$$;
revoke all on function tds.note_life_of(tds.entity, text, tds.verdict[], timestamptz) from public;
comment on function tds.note_life_of(tds.entity, text, tds.verdict[], timestamptz) is
'What these verdicts mean for deletions: whatever was seen alive after its proof is none; once one that was held back is, all are '
'asked for again.';

create or replace function tds.note_life(entity tds.entity, owners text[], verdicts tds.verdict[], at timestamptz) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_names  constant text[] := tds.namesakes((note_life.entity).entity);
    v_owners constant text[] := array(select distinct h.organization_id from tds.held_deletion h
                                       where h.organization_id = any (note_life.owners) and h.entity = any (v_names));
    v_group  record;
begin
    -- hardly ever any
    if v_owners = '{}' then
        return;
    end if;
    for v_group in
        select v.organization_id, array_agg(v) as verdicts
          from unnest(note_life.verdicts) v
         where v.organization_id in (select o.id from unnest(v_owners) o(id))
         group by v.organization_id
         order by v.organization_id
    loop
        perform tds.note_life_of(note_life.entity, v_group.organization_id, v_group.verdicts, note_life.at);
    end loop;
end
$$;
revoke all on function tds.note_life(tds.entity, text[], tds.verdict[], timestamptz) from public;
comment on function tds.note_life(tds.entity, text[], tds.verdict[], timestamptz) is
'tds.note_life_of() for those organisations of a batch that have deletions in hand. owners: the organisations of the verdicts, each once.';

create or replace function tds.release_deletions(entity text, organization_id text, at timestamptz) returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_ids text[];
begin
    v_ids := array(
        select h.zoho_id from tds.held_deletion h
         where h.organization_id = release_deletions.organization_id and h.entity = release_deletions.entity and h.state = 'held'
         order by h.zoho_id for update);
    delete from tds.held_deletion h
     where h.organization_id = release_deletions.organization_id and h.entity = release_deletions.entity and h.zoho_id = any (v_ids);
    perform tds.want(release_deletions.entity, release_deletions.organization_id, array(
        select row(i.zoho_id, 'its deletion was held back', release_deletions.at + tds.zoho_ahead(release_deletions.organization_id),
            null, null)::tds.wish
          from unnest(v_ids) i(zoho_id)));
    return cardinality(v_ids)::bigint;
end
$$;
revoke all on function tds.release_deletions(text, text, timestamptz) from public;
comment on function tds.release_deletions(text, text, timestamptz) is
'Forgets the deletions of an entity that are held back and asks for the records again; returns how many.';

create or replace function tds.confirm_deletions(entity text, zoho_ids text[] default null, organization_id text default null)
    returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now      constant timestamptz := tds.now();
    v_entity   constant tds.entity := tds.entity_named(confirm_deletions.entity);
    v_organization_id constant text := tds.own_organization(confirm_deletions.organization_id);
    v_held     tds.held_deletion[];
begin
    v_held := array(
        select h from tds.held_deletion h
         where h.organization_id = v_organization_id and h.entity = v_entity.entity and h.state = 'held'
           and (confirm_deletions.zoho_ids is null or h.zoho_id = any (confirm_deletions.zoho_ids))
         order by h.zoho_id for update);
    update tds.held_deletion h
       set state = 'confirmed', changed_at = v_now
      from unnest(v_held) d
     where (h.organization_id, h.entity, h.zoho_id) = (d.organization_id, d.entity, d.zoho_id);
    perform tds.receive(d.entity, convert_to(jsonb_build_object(v_entity.record_key, jsonb_build_object(v_entity.id_key,
        d.zoho_id))::text, 'UTF8'),
                        d.organization_id, 'operator', 'detail', 'delete', d.proved_at)
       from unnest(v_held) d;
    return cardinality(v_held)::bigint;
end
$$;
revoke all on function tds.confirm_deletions(text, text[], text) from public;
comment on function tds.confirm_deletions(text, text[], text) is
'Says that records are deleted whose deletion is held back (all of an entity, or these): they are marked so as soon as that is processed. '
'Returns how many. Raises ZB002, ZB013.';

create or replace function tds.refuse_deletions(entity text, zoho_ids text[] default null, organization_id text default null) returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now  constant timestamptz := tds.now();
    v_entity constant tds.entity := tds.entity_named(refuse_deletions.entity);
    v_organization_id constant text := tds.own_organization(refuse_deletions.organization_id);
    v_rows bigint;
begin
    update tds.held_deletion h
       set state = 'refused', changed_at = v_now
     where h.organization_id = v_organization_id and h.entity = v_entity.entity and h.state = 'held'
       and (refuse_deletions.zoho_ids is null or h.zoho_id = any (refuse_deletions.zoho_ids));
    get diagnostics v_rows = row_count;
    return v_rows;
end
$$;
revoke all on function tds.refuse_deletions(text, text[], text) from public;
comment on function tds.refuse_deletions(text, text[], text) is
'Says that records are not deleted whose deletion is held back (all of an entity, or these): whatever Zoho answers, they stay until it '
'has shown '
'them again. Returns how many. Raises ZB002, ZB013.';
grant execute on function tds.confirm_deletions(text, text[], text), tds.refuse_deletions(text, text[], text) to tds_operator;

create or replace function tds.ask_for_deleted(organization_id text) returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now  constant timestamptz := tds.now();
    v_rows bigint := 0::bigint;
    v_each record;
begin
    for v_each in
        select h.entity, array_agg(row(h.zoho_id, 'gone by its 404s alone', tds.zoho_now(h.organization_id), null, null)::tds.wish
                                   order by h.zoho_id) as wishes
          from tds.held_deletion h
         where h.organization_id = ask_for_deleted.organization_id and h.state = 'done' and h.announced_at is null and h.missing_at is null
           and h.changed_at < v_now - interval '1 hour' and h.proved_at < h.absent_at + interval '12 hours'
         group by h.organization_id, h.entity
         order by h.entity
    loop
        v_rows := v_rows + tds.want(v_each.entity, ask_for_deleted.organization_id, v_each.wishes);
    end loop;
    return v_rows;
end
$$;
revoke all on function tds.ask_for_deleted(text) from public;
comment on function tds.ask_for_deleted(text) is
'Asks once more for records that are marked deleted because they answered 404 twice within hours, and for nothing else: a spell of them '
'may have been too short to be held back. Returns how many.';

create or replace function tds.forget_deletions() returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now  constant timestamptz := tds.now();
    v_rows bigint;
begin
    delete from tds.held_deletion h where h.state in ('done', 'waiting', 'confirmed') and h.changed_at < v_now - interval '7 days';
    get diagnostics v_rows = row_count;
    return v_rows;
end
$$;
revoke all on function tds.forget_deletions() from public;
comment on function tds.forget_deletions() is
'Forgets what was known of deletions that are marked, or never came to a proof, for a week; returns how many.';
grant execute on function tds.forget_deletions() to tds_worker, tds_operator;

create or replace view public.tds_held_deletions as
select h.organization_id, h.entity, h.zoho_id, h.state, h.announced_at, h.missing_at, h.absent_at, h.proved_at, h.changed_at
  from tds.held_deletion h
 where h.state in ('held', 'refused');
comment on view public.tds_held_deletions is
'Records that Zoho answered 404 for, more of them within an hour than the settings allow: none is marked deleted until somebody '
'confirms it '
'(tds.confirm_deletions(entity)), or refuses (tds.refuse_deletions(entity)), or Zoho shows one of them again.';
comment on column public.tds_held_deletions.organization_id is 'Zoho organisation.';
comment on column public.tds_held_deletions.entity is 'The entity.';
comment on column public.tds_held_deletions.zoho_id is 'Zoho''s id.';
comment on column public.tds_held_deletions.state is 'held: to be decided; refused: somebody said that it is not deleted.';
comment on column public.tds_held_deletions.announced_at is 'When an event said that it was deleted.';
comment on column public.tds_held_deletions.missing_at is 'When the last complete list was asked for that lacked it.';
comment on column public.tds_held_deletions.absent_at is 'When it was asked for the first time that was answered 404.';
comment on column public.tds_held_deletions.proved_at is 'The last time.';
comment on column public.tds_held_deletions.changed_at is 'When its state changed.';
grant select on public.tds_held_deletions to tds_reader, tds_operator, tds_poller;
