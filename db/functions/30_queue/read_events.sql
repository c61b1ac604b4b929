create or replace function tds.shape_rank(shape text) returns smallint
language sql immutable parallel safe
as $$ select case $1 when 'list' then 1 when 'webhook' then 2 else 3 end::smallint $$;
comment on function tds.shape_rank(text) is 'How much a body says: 1 list, 2 webhook, 3 detail; settles two observations of one moment.';

create or replace function tds.events_documents(inbox_ids bigint[], received_ats timestamptz[])
returns table (inbox_id bigint, received_at timestamptz, entity text, organization_id text, record_id text, shape text, event text,
               observed_at timestamptz, records jsonb)
language sql stable
as $$
    select i.inbox_id, i.received_at, i.entity, i.organization_id, i.record_id, i.shape, i.event, i.observed_at,
           tds.payload(tds.document(i.body), n.list_key, n.record_key, n.id_key)
      from unnest($1, $2) e(inbox_id, received_at)
      join tds.inbox i on i.received_at = e.received_at and i.inbox_id = e.inbox_id
      join tds.entity n on n.entity = i.entity
$$;
comment on function tds.events_documents(bigint[], timestamptz[]) is
'The events with the records their bodies hold, as a JSON array; records is null where a body holds none. Raises class 22 for a body that is not JSON.';

create or replace function tds.read_records(entity text, inbox_ids bigint[], received_ats timestamptz[]) returns tds.record[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_id_key constant text := (select n.id_key from tds.entity n where n.entity = read_records.entity);
begin
    -- materialized: a body is parsed once, not once a record
    return (
        with document as materialized (
            select d.* from tds.events_documents(read_records.inbox_ids, read_records.received_ats) d)
        select array_agg(row(r.ord, r.inbox_id, r.received_at, r.position, r.alone, r.zoho_id, r.modified_at,
                             r.observed_at, r.rank, r.is_delete, jsonb_hash_extended(r.doc, 0), r.doc)::tds.record)
          from (select (row_number() over ())::int as ord,
                       d.inbox_id, d.received_at, p.position::int as position,
                       d.record_id is not null as alone,
                       case when tds.is_id(t.id) and jsonb_typeof(p.doc -> v_id_key) in ('string', 'number') then t.id end as zoho_id,
                       case when tds.is_time(t.modified) then t.modified::timestamptz end as modified_at,
                       d.observed_at, tds.shape_rank(d.shape) as rank, d.event = 'delete' as is_delete, p.doc
                  from document d
                 cross join lateral jsonb_array_elements(d.records) with ordinality p(doc, position)
                 -- offset 0: read once, not once for every mention
                 cross join lateral (select p.doc ->> v_id_key as id, p.doc ->> 'last_modified_time' as modified offset 0) t) r);
end
$$;
comment on function tds.read_records(text, bigint[], timestamptz[]) is
'The records of these events of one entity, each with its id and version; an id or a last_modified_time that cannot be '
'read is null here and named by tds.culprits().';
