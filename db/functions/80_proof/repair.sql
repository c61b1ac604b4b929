-- A record is read from Zoho and written whatever is stored of it: its row, its document, what hangs on it, its links, its tombstone.

create or replace function tds.repair_records(
    entity text, zoho_ids text[], organization_id text default null, asked_by text default null) returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_entity constant tds.entity := tds.entity_named(tds.pulled_entity(repair_records.entity));
    v_own    constant text := tds.own_organization(repair_records.organization_id, of_the_api => v_entity.api_path <> '');
    v_asker  constant text := coalesce(repair_records.asked_by, session_user);
begin
    perform tds.durably();
    if v_entity.api_path <> '' then
        return tds.want_forced(v_entity.entity, v_own, repair_records.zoho_ids, v_asker);
    end if;
    -- Zoho cannot be asked: what it told last is told once more
    return (select cardinality(t.written)::bigint from (select tds.write_told(v_entity.entity, v_own, array(
        select row(i.n, 0, tds.now(), 1, true, t.zoho_id, t.modified_at, t.observed_at, 3::smallint, false, t.hash, t.doc,
                   v_own)::tds.record
          from unnest(repair_records.zoho_ids) with ordinality i(id, n)
         cross join lateral (
               select v.zoho_id, v.modified_at, (e.event).observed_at, v.hash, e.doc
                 from tds.record_events(v_entity.entity, i.id, v_own) e
                cross join lateral tds.versions(e.doc, v_entity.id_key, null, 3::smallint, (e.event).observed_at) v
                where (e.event).event = 'upsert' and e.doc is not null
                order by v.modified_at desc nulls last, (e.event).observed_at desc limit 1) t), tds.now()) as written) t);
end
$$;
revoke all on function tds.repair_records(text, text[], text, text) from public;
comment on function tds.repair_records(text, text[], text, text) is
'Has these records read from Zoho and written whatever is stored of them, by whoever polls; returns how many that was news of. Of what '
'the API does not tell (stock adjustments) the newest telling in the inbox is written at once. asked_by: stands with the event, null: the '
'session''s user. Raises ZB002, ZB013, ZB015.';

create or replace function tds.unwritten(entity text, organization_id text, zoho_ids text[])
returns table (zoho_id text, reason text, error text, not_before timestamptz, is_asked boolean)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
    select w.zoho_id, w.reason, w.error, w.not_before, true
      from tds.wanted_detail w
     where w.organization_id = $2 and w.entity = $1 and w.zoho_id = any ($3)
     union all
    select i.record_id, format('event %s waits', i.inbox_id), o.error, o.retry_at, false
      from tds.inbox_open o
      join tds.inbox i on i.received_at = o.received_at and i.inbox_id = o.inbox_id
     where i.organization_id = $2 and i.entity = any (tds.namesakes($1)) and i.record_id = any ($3)
     union all
    -- one that was written after its letter has closed that
    select d.zoho_id, format('dead letter %s', d.dead_letter_id), concat_ws(': ', d.path, d.reason), null, false
      from tds.dead_letter d
     where d.organization_id = $2 and d.entity = any (tds.namesakes($1)) and d.zoho_id = any ($3) and d.resolved_at is null
     order by 1, 2
$$;
revoke all on function tds.unwritten(text, text, text[]) from public;
comment on function tds.unwritten(text, text, text[]) is
'Why these records are not as Zoho tells them: the detail is wanted (is_asked, not before then), an event waits, or nobody can read what '
'was told.';

create or replace function tds.not_living(entity text, organization_id text, zoho_ids text[]) returns text[]
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_entity constant tds.entity := tds.entity_named(tds.pulled_entity(not_living.entity));
    v_ids    text[];
begin
    execute format('select array(select u.id from unnest($2) with ordinality u(id, n)
                                  where not exists (select from zoho.%1$I t
                                                     where t.organization_id = $1 and t.%2$I = u.id and t.deleted_at is null)
                                  order by u.n)', v_entity.target, v_entity.target_key)
       into v_ids using not_living.organization_id, not_living.zoho_ids;
    return v_ids;
end
$$;
revoke all on function tds.not_living(text, text, text[]) from public;
comment on function tds.not_living(text, text, text[]) is
'Those of these records that have no row, or one that is marked deleted. Raises ZB002.';

create or replace function tds.repair(entity text, variadic zoho_ids text[]) returns bigint
language sql volatile
as $$ select tds.repair_records($1, $2) $$;
revoke all on function tds.repair(text, text[]) from public;
comment on function tds.repair(text, text[]) is
'select tds.repair(''invoices'', ''460000000026049''): tds.repair_records() of the one organisation there is; tds repair does it at once.';

create or replace function tds.look_again(verification_ids bigint[] default null) returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now  constant timestamptz := tds.now();
    v_each record;
    v_ids  text[];
    v_bad  tds.difference[];
begin
    for v_each in
        select d.organization_id, d.entity, array_agg(distinct d.zoho_id order by d.zoho_id) as zoho_ids
          from tds.verification_difference d
         where d.closed_at is null and (look_again.verification_ids is null or d.verification_id = any (look_again.verification_ids))
         group by d.organization_id, d.entity
    loop
        v_ids := v_each.zoho_ids;
        while v_ids <> '{}' loop
            v_bad := tds.state_differences(v_each.entity, v_each.organization_id,
                                           tds.states_of(v_each.entity, v_each.organization_id, v_ids[:500]));
            update tds.verification_difference d
               set closed_at = v_now
              from tds.verification v
             where v.verification_id = d.verification_id and d.closed_at is null and d.entity = v_each.entity
               and d.organization_id = v_each.organization_id and d.zoho_id = any (v_ids[:500])
               and case when d.what in ('orphan', 'stray') then not tds.has_row(d)
                        when d.what = 'missing' and v.depth = 'inside' and d.table_name = tds.verified_table(d.entity)
                        then tds.has_record(d.entity, d.organization_id, d.zoho_id)
                             or not d.zoho_id in (select l.zoho_id from tds.lost_records(d.entity, d.organization_id) l(zoho_id))
                        when v.depth = 'inside'
                        then not exists (select from unnest(v_bad) b where (b.zoho_id, b.table_name, b.row_key, b.column_name)
                                                                         = (d.zoho_id, d.table_name, d.row_key, d.column_name))
                        -- Zoho was asked since, and what it said is written
                        else not exists (select from unnest(v_bad) b where b.zoho_id = d.zoho_id)
                             and not exists (select from tds.wanted_detail w where w.organization_id = d.organization_id
                                                and w.entity = d.entity and w.zoho_id = d.zoho_id)
                             and tds.read_since(d.entity, d.organization_id, d.zoho_id, v.started_at) end;
            v_ids := v_ids[501:];
        end loop;
    end loop;
    return (select count(*) from tds.verification_difference d
             where d.closed_at is null and (look_again.verification_ids is null or d.verification_id = any (look_again.verification_ids)));
end
$$;
revoke all on function tds.look_again(bigint[]) from public;
comment on function tds.look_again(bigint[]) is
'Closes what comparisons found (all, or these) and is right by now; returns how many differences stand.';

create or replace function tds.has_row(difference tds.verification_difference) returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_has boolean;
begin
    if (has_row.difference).what = 'stray' then
        return not tds.is_own((has_row.difference).organization_id)
           and tds.has_record((has_row.difference).entity, (has_row.difference).organization_id, (has_row.difference).zoho_id);
    end if;
    v_has := exists (select from tds.orphans((has_row.difference).entity, (has_row.difference).organization_id) o
                      where (o.organization_id, o.zoho_id, o.table_name, o.row_key)
                          = ((has_row.difference).organization_id, (has_row.difference).zoho_id, (has_row.difference).table_name,
                             (has_row.difference).row_key));
    return v_has;
end
$$;
revoke all on function tds.has_row(tds.verification_difference) from public;
comment on function tds.has_row(tds.verification_difference) is 'Whether the row of a stray or an orphan is still there.';

create or replace function tds.read_since(entity text, organization_id text, zoho_id text, at timestamptz) returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return exists (select from tds.inbox i
                    where i.organization_id = read_since.organization_id and i.entity = any (tds.namesakes(read_since.entity))
                      and i.record_id = read_since.zoho_id and i.shape = 'detail' and i.received_at >= read_since.at)
        or exists (select from tds.record_events(read_since.entity, read_since.zoho_id, read_since.organization_id) e
                    where (e.event).shape = 'detail' and e.received_at >= read_since.at);
end
$$;
revoke all on function tds.read_since(text, text, text, timestamptz) from public;
comment on function tds.read_since(text, text, text, timestamptz) is 'Whether Zoho has told a record''s detail since a moment.';

create or replace function tds.to_mend(verification_ids bigint[] default null)
returns table (mend text, organization_id text, entity text, zoho_ids text[])
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    select r.mend, r.organization_id, r.entity, array_agg(r.zoho_id order by r.zoho_id)
      from (select case when bool_or(d.what = 'stray') then 'stray' else min(case d.mend when 'repair' then 'a' else 'b' end) end as mend,
                   d.organization_id, d.entity, d.zoho_id
              from tds.verification_difference d
             where d.closed_at is null and (to_mend.verification_ids is null or d.verification_id = any (to_mend.verification_ids))
             group by d.organization_id, d.entity, d.zoho_id) f
     cross join lateral (select case f.mend when 'a' then 'repair' when 'b' then 'rebuild' else f.mend end as mend, f.organization_id,
                                f.entity, f.zoho_id) r
     group by r.mend, r.organization_id, r.entity
     order by r.mend desc, r.entity;
end
$$;
revoke all on function tds.to_mend(bigint[]) from public;
comment on function tds.to_mend(bigint[]) is
'What stands of what comparisons found (all, or these), by what mends it: stray, repair or rebuild, with the ids.';

grant execute on function tds.repair(text, text[]), tds.repair_records(text, text[], text, text), tds.look_again(bigint[]),
    tds.not_living(text, text, text[]), tds.unwritten(text, text, text[]),
    tds.to_mend(bigint[]), tds.remove_strays(text)
    to tds_operator, tds_poller;
