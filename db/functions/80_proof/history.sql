-- What a record was: its row's document, and step by step what is put back.

create or replace function tds.field_changes(older jsonb, newer jsonb, path text default '')
returns table (field text, before jsonb, after jsonb)
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
begin
    if jsonb_typeof(field_changes.older) = 'object' and jsonb_typeof(field_changes.newer) = 'object' then
        return query
        select f.*
          from (select k.key from jsonb_object_keys(field_changes.older) k(key)
                 union
                select k.key from jsonb_object_keys(field_changes.newer) k(key)) k
         cross join lateral tds.field_changes(field_changes.older -> k.key, field_changes.newer -> k.key,
                                              concat_ws('.', nullif(field_changes.path, ''), k.key)) f
         where (field_changes.older -> k.key)::text is distinct from (field_changes.newer -> k.key)::text;
    elsif jsonb_typeof(field_changes.older) = 'array' and jsonb_typeof(field_changes.newer) = 'array' then
        return query
        select f.*
          from generate_series(1, greatest(jsonb_array_length(field_changes.older), jsonb_array_length(field_changes.newer))) g(n)
         cross join lateral tds.field_changes(field_changes.older -> (g.n - 1), field_changes.newer -> (g.n - 1),
                                              format('%s[%s]', field_changes.path, g.n)) f
         where (field_changes.older -> (g.n - 1))::text is distinct from (field_changes.newer -> (g.n - 1))::text;
    elsif field_changes.older::text is distinct from field_changes.newer::text then
        return query select field_changes.path, field_changes.older, field_changes.newer;
    end if;
end
$$;
comment on function tds.field_changes(jsonb, jsonb, text) is
'In what two documents differ, field by field: nested ones by their path (billing_address.city), elements of arrays by their place, from 1 '
'(line_items[2].rate). before is null for what was added, after for what is gone.';

create or replace function tds.record_versions(entity text, zoho_id text, organization_id text default null)
returns setof tds.record_version
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_entity constant tds.entity := tds.entity_named(record_versions.entity);
begin
    return query execute format(
        $sql$
        with recursive step as materialized (
            select h.*, row_number() over (partition by h.organization_id order by h.history_id desc) as n
              from tds.record_history h
             where h.target = %1$L and h.zoho_id = $1 and h.organization_id in (
                   select m.organization_id from zoho.%1$I m where m.%2$I = $1 and ($2 is null or m.organization_id = $2))
        ), version as (
            -- the newest is the row's; each step leads to the one before
            select m.organization_id, 0::bigint as n, m.zoho_metadata as document, m.deleted_at, m.sync_modified_at as modified_at,
                   m.sync_observed_at as observed_at, m.synced_at, m.sync_event
              from zoho.%1$I m
             where m.%2$I = $1 and ($2 is null or m.organization_id = $2)
             union all
            select v.organization_id, s.n, tds.as_it_was(v.document, s.back), s.was_deleted_at, s.was_modified_at, s.was_observed_at,
                   s.was_synced_at, s.was_event
              from version v
              join step s on s.organization_id = v.organization_id and s.n = v.n + 1
        )
        select v.organization_id, (row_number() over o)::int, v.document, v.deleted_at,
               -- what only completes is true since the version that it completes
               coalesce(s.changed_at, case when s.n is null then coalesce(v.modified_at, v.observed_at) end),
               coalesce(s.written_at, v.synced_at), case when s.n is null then v.sync_event else s.inbox_id end, coalesce(s.kind, 'first')
          from version v
          left join step s on s.organization_id = v.organization_id and s.n = v.n + 1
        window o as (partition by v.organization_id order by v.n desc)
         order by 1, 2$sql$, v_entity.target, v_entity.target_key)
        using record_versions.zoho_id, record_versions.organization_id;
end
$$;
revoke all on function tds.record_versions(text, text, text) from public;
comment on function tds.record_versions(text, text, text) is
'Every version of a record that is known, in the order in which the mirror had them, the oldest (kind first) first. since: from when on, '
'in Zoho''s time, it is true; null: since the one before. Raises ZB002.';

create or replace function tds.record_at(
    entity text, zoho_id text, at timestamptz, organization_id text default null, known_at timestamptz default null)
returns table (
    organization text, document jsonb, deleted_at timestamptz, since timestamptz, written_at timestamptz, inbox_id bigint)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    with version as materialized (
        select v.*, count(v.since) over (partition by v.organization order by v.number) as part
          from tds.record_versions(record_at.entity, record_at.zoho_id, record_at.organization_id) v
         where record_at.known_at is null or v.written_at <= record_at.known_at
    )
    select distinct on (v.organization) v.organization, v.document, v.deleted_at, p.since, v.written_at, v.inbox_id
      from version v
     cross join lateral (select max(e.since) as since from version e
                          where e.organization = v.organization and e.part = v.part) p
     where p.since <= record_at.at
     order by v.organization, v.number desc;
end
$$;
revoke all on function tds.record_at(text, text, timestamptz, text, timestamptz) from public;
grant execute on function tds.record_at(text, text, timestamptz, text, timestamptz) to tds_reader, tds_operator;
comment on function tds.record_at(text, text, timestamptz, text, timestamptz) is
'What a record was at that moment in Zoho''s time, as is known now (known_at: as the mirror knew it at that moment of ours): its document, '
'whether it was deleted, since when, the event that told it and when. No row: nothing is known of it as early as that. organization_id '
'null: any. Raises ZB002.';

create or replace function tds.record_changes(entity text, zoho_id text, organization_id text default null)
returns table (
    organization text, changed_at timestamptz, written_at timestamptz, inbox_id bigint, kind text, field text, before jsonb,
    after jsonb)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    with version as materialized (
        select v.*, lag(v.document) over w as document_before, lag(v.deleted_at) over w as deleted_before,
               count(v.since) over w as part
          from tds.record_versions(record_changes.entity, record_changes.zoho_id, record_changes.organization_id) v
        window w as (partition by v.organization order by v.number)
    )
    select v.organization, max(v.since) over (partition by v.organization, v.part), v.written_at, v.inbox_id, v.kind,
           f.field, f.before, f.after
      from version v
      left join lateral (
            select c.field, c.before, c.after from tds.field_changes(v.document_before, v.document) c where v.kind <> 'first'
             union all
            select 'deleted_at', to_jsonb(v.deleted_before), to_jsonb(v.deleted_at)
             where v.kind <> 'first' and v.deleted_before is distinct from v.deleted_at) f on true
     -- what changed nothing but the row's own books is no change of the record
     where v.kind in ('first', 'undone') or f.field is not null
     order by v.organization, v.number, f.field;
end
$$;
revoke all on function tds.record_changes(text, text, text) from public;
grant execute on function tds.record_changes(text, text, text) to tds_reader, tds_operator;
comment on function tds.record_changes(text, text, text) is
'How a record became what it is, a row a field and change, in the order in which the mirror was told: since when in Zoho''s time '
'(changed_at), when it was told (written_at) and by which event, what stood there before and after. kind first: the oldest that is known. '
'organization_id null: any. Raises ZB002.';

grant select on tds.record_history, tds.history_rule to tds_reader, tds_operator;
