-- A pass over a list is complete when it saw every record that was there all the while. Pages shift under it: a record that is
-- deleted pulls the next page's first one onto a page that was read already. So the ids are counted that were seen, not the rows, and
-- of lists of several pages Zoho is asked before how many records they have.

insert into tds.setting (name, value, description) values
    ('passes_per_run', '3',
        'How often a list is read from its first page on, where it moves while it is read, before the run ends as partial.')
on conflict on constraint setting_pkey do nothing;

create or replace function tds.note_page(run tds.run, entity tds.entity, page int, body bytea) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_since constant timestamptz := date_trunc('second', (note_page.run).counted_at);
    -- of a filtered list a record is a part from its edit on, of a whole one from its creation on
    v_key   constant text := case when (note_page.run).filtered then 'last_modified_time' else 'created_time' end;
begin
    insert into tds.run_page (run_id, page, zoho_ids, fresh)
    select (note_page.run).run_id, note_page.page, coalesce(array_agg(e.zoho_id order by e.n), '{}'),
           coalesce(array_agg(e.zoho_id) filter (where e.is_fresh), '{}')
      from (select d.doc ->> (note_page.entity).id_key as zoho_id, d.n,
                   case when tds.is_time(d.doc ->> v_key) then (d.doc ->> v_key)::timestamptz >= v_since end as is_fresh
              from tds.body_records(convert_from(note_page.body, 'UTF8'), (note_page.entity).list_key, (note_page.entity).record_key,
                                    (note_page.entity).id_key) b
             cross join lateral jsonb_array_elements(b.records) with ordinality d(doc, n)) e
     where e.zoho_id is not null
    on conflict on constraint run_page_pkey do update set zoho_ids = excluded.zoho_ids, fresh = excluded.fresh;
exception when data_exception or statement_too_complex or program_limit_exceeded then
    return; -- it cannot be read: whoever processes it says why, and its records count as not seen
end
$$;
revoke all on function tds.note_page(tds.run, tds.entity, int, bytea) from public;
comment on function tds.note_page(tds.run, tds.entity, int, bytea) is 'Notes which records a page has, until its list is read.';

create or replace function tds.note_count(run_id bigint, records int, at timestamptz, calls int default 1) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    update tds.run r
       set counted = coalesce(note_count.records, -1), counted_at = note_count.at, calls = r.calls + note_count.calls,
           next_page = 1, pages = 0, records = 0
     where r.run_id = note_count.run_id and r.state = 'running';
    delete from tds.run_page p where p.run_id = note_count.run_id;
end
$$;
revoke all on function tds.note_count(bigint, int, timestamptz, int) from public;
comment on function tds.note_count(bigint, int, timestamptz, int) is
'Notes how many records a running run''s list has (null: Zoho does not say) by Zoho''s clock; it is read from its first page on.';
grant execute on function tds.note_count(bigint, int, timestamptz, int) to tds_poller, tds_operator;

create or replace function tds.is_whole(run tds.run) returns boolean
language sql immutable parallel safe
as $$ select not ($1).filtered and not ($1).options ?| array['update_only', 'pricelist_ids', 'modified_since'] $$;
comment on function tds.is_whole(tds.run) is 'Whether a run reads all of a list.';

create or replace function tds.page_size(run tds.run) returns int
language sql immutable parallel safe
as $$ select case when ($1).entity = 'stock' then 200 else coalesce((($1).options ->> 'batch_size')::int, 200) end $$;
comment on function tds.page_size(tds.run) is 'How many records a full page of a run has.';

create or replace function tds.missing_ids(run tds.run, entity tds.entity) returns text[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_ids text[];
begin
    execute format($sql$
        select array_agg(t.%1$I order by t.%1$I) from zoho.%2$I t
         where t.organization_id = $1 and t.deleted_at is null
           -- what came into the mirror while the list was read may have come into the list too
           and t.sync_read_at < $2 and t.sync_observed_at < $2
           and ($4 is null or t.zoho_metadata ->> 'contact_type' = $4)
           and not exists (select from tds.run_page p where p.run_id = $3 and t.%1$I = any (p.zoho_ids))$sql$,
        (missing_ids.entity).target_key, (missing_ids.entity).target)
       into v_ids
      using (missing_ids.run).organization_id, (missing_ids.run).cursor_from, (missing_ids.run).run_id,
            (missing_ids.entity).list_filter ->> 'contact_type';
    return coalesce(v_ids, '{}');
end
$$;
revoke all on function tds.missing_ids(tds.run, tds.entity) from public;
comment on function tds.missing_ids(tds.run, tds.entity) is 'The living records of the mirror that no page of a run has.';

create or replace function tds.why_incomplete(run tds.run, entity tds.entity, seen text[], missing int) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_fresh  int;
    v_rows   int;
    v_last   int;
    v_living bigint;
begin
    select count(distinct f.zoho_id)::int into v_fresh
      from tds.run_page p cross join lateral unnest(p.fresh) f(zoho_id) where p.run_id = (why_incomplete.run).run_id;
    if (why_incomplete.run).counted >= 0 then
        -- of those that were there then, none is missing
        if cardinality(why_incomplete.seen) - v_fresh = (why_incomplete.run).counted then
            return null;
        end if;
        if cardinality(why_incomplete.seen) = (why_incomplete.run).counted
            and md5(why_incomplete.seen::text) = (why_incomplete.run).seen_hash then
            return null;
        end if;
        return format('Zoho counted %s records, and %s of them were on the pages', (why_incomplete.run).counted,
            cardinality(why_incomplete.seen) - v_fresh);
    end if;
    select sum(cardinality(p.zoho_ids))::int, (array_agg(cardinality(p.zoho_ids) order by p.page desc))[1] into v_rows, v_last
      from tds.run_page p where p.run_id = (why_incomplete.run).run_id;
    if (why_incomplete.run).counted = -1 and md5(why_incomplete.seen::text) = (why_incomplete.run).seen_hash
        and v_rows = cardinality(why_incomplete.seen) then
        return null;
    end if;
    if v_rows > cardinality(why_incomplete.seen) then
        return format('%s records were on two pages', v_rows - cardinality(why_incomplete.seen));
    end if;
    if (why_incomplete.entity).counted and (why_incomplete.entity).paged and (why_incomplete.run).is_pass
        and (why_incomplete.run).counted is null
       and v_last = tds.page_size(why_incomplete.run) then
        return 'its last page is full, and nobody has counted';
    end if;
    if tds.is_whole(why_incomplete.run)
       and tds.lists_all((why_incomplete.run).entity, (why_incomplete.run).organization_id) then
        v_living := (why_incomplete.missing + cardinality(why_incomplete.seen))::bigint;
        if why_incomplete.missing > 5 and why_incomplete.missing * 100 > tds.setting_int('deletions_percent_per_hour') * v_living
           or cardinality(why_incomplete.seen) = 0 and why_incomplete.missing > 0
           or why_incomplete.missing > 0 and v_last = tds.page_size(why_incomplete.run) then
            return format('%s records are known that were on no page', why_incomplete.missing);
        end if;
    end if;
    return null;
end
$$;
revoke all on function tds.why_incomplete(tds.run, tds.entity, text[], int) from public;
comment on function tds.why_incomplete(tds.run, tds.entity, text[], int) is
'What speaks against a pass having seen everything; null: nothing. Where Zoho counts, the records that were there when it did decide; '
'where it '
'does not, two passes that agree.';

create or replace function tds.end_pass(run_id bigint, at timestamptz) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_run     tds.run;
    v_entity  tds.entity;
    v_seen    text[];
    v_missing text[] := array[]::text[];
    v_why     text;
begin
    select r.* into strict v_run from tds.run r where r.run_id = end_pass.run_id;
    select n.* into strict v_entity from tds.entity n where n.entity = tds.pulled_entity(v_run.entity);
    v_seen := array(select distinct i.zoho_id from tds.run_page p cross join lateral unnest(p.zoho_ids) i(zoho_id)
                     where p.run_id = end_pass.run_id order by 1);
    if tds.is_whole(v_run) and v_entity.paged and tds.lists_all(v_run.entity, v_run.organization_id) then
        v_missing := tds.missing_ids(v_run, v_entity);
    end if;
    v_why := tds.why_incomplete(v_run, v_entity, v_seen, cardinality(v_missing));
    -- an empty list, confirmed by nothing but itself, is believed for no more records than may be deleted at once
    if v_why is null and v_seen = '{}' and cardinality(v_missing) > 5 then
        v_why := format('the list is empty, and %s records are known', cardinality(v_missing));
    end if;
    if v_why is null then
        perform tds.end_list(end_pass.run_id, end_pass.at);
        perform tds.want_missing(v_run, v_entity, v_missing, end_pass.at);
        delete from tds.run_page p where p.run_id = end_pass.run_id;
        return;
    end if;
    if v_run.passes >= tds.setting_int('passes_per_run') then
        update tds.run r
           set state = 'partial', finished_at = end_pass.at, error = left('the list moved while it was read: ' || v_why, 1000)
         where r.run_id = end_pass.run_id;
        delete from tds.run_page p where p.run_id = end_pass.run_id;
    else
        update tds.run r
           set passes = r.passes + 1, next_page = 1, counted = null, counted_at = null, cursor_from = null, records = 0, pages = 0,
               seen_hash = md5(v_seen::text),
               error = left('read again: ' || v_why, 1000)
         where r.run_id = end_pass.run_id;
    end if;
end
$$;
revoke all on function tds.end_pass(bigint, timestamptz) from public;
comment on function tds.end_pass(bigint, timestamptz) is
'Ends a pass over a list: the list is read; or it is to be read once more, from its first page on; or, after passes_per_run of them, '
'the run is '
'partial and moves no cursor. Known records that a complete pass lacks are asked for by themselves.';

create or replace function tds.want_missing(run tds.run, entity tds.entity, zoho_ids text[], at timestamptz) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    insert into tds.held_deletion as h (organization_id, entity, zoho_id, missing_at, state, changed_at)
    select (want_missing.run).organization_id, (want_missing.entity).entity, i.zoho_id, (want_missing.run).cursor_from, 'waiting',
        want_missing.at
      from unnest(want_missing.zoho_ids) i(zoho_id)
     order by i.zoho_id
    on conflict on constraint held_deletion_pkey do update set missing_at = excluded.missing_at;
    perform tds.want((want_missing.entity).entity, (want_missing.run).organization_id, array(
        select row(i.zoho_id, 'missing from the list', tds.zoho_now((want_missing.run).organization_id), null,
                   case when (want_missing.run).requested_at is not null then (want_missing.run).run_id end)::tds.wish
          from unnest(want_missing.zoho_ids) i(zoho_id)));
end
$$;
revoke all on function tds.want_missing(tds.run, tds.entity, text[], timestamptz) from public;
comment on function tds.want_missing(tds.run, tds.entity, text[], timestamptz) is
'Asks for records that a complete list lacks: a 404 proves that they are deleted.';
