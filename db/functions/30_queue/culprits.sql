create or replace function tds.culprits(entity text, records tds.record[])
returns table (ord int, path text, value text, reason text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    select distinct on (c.ord) c.ord, c.path, c.value, c.reason
      from (
        select r.ord, '$' as path, left(r.doc::text, 200) as value, 'not an object' as reason
          from unnest(culprits.records) r
         where jsonb_typeof(r.doc) <> 'object'
        union all
        select r.ord, f.key, left(r.doc ->> f.key, 200), p.reason
          from unnest(culprits.records) r
          join tds.field f on f.entity = culprits.entity and f.parent = ''
         cross join lateral tds.problem(f.reader, r.doc -> f.key, f.required, f.max_length) p(reason)
         where p.reason is not null and jsonb_typeof(r.doc) = 'object'
        union all
        select r.ord, format('%s[%s]%s', f.parent, e.n - 1, coalesce('.' || nullif(f.key, ''), '')),
               left(coalesce(e.child ->> f.key, e.child::text), 200), p.reason
          from unnest(culprits.records) r
          join tds.field f on f.entity = culprits.entity and f.parent <> ''
         cross join lateral jsonb_array_elements(case when jsonb_typeof(r.doc -> f.parent) = 'array' then r.doc -> f.parent else '[]' end)
                            with ordinality e(child, n)
         cross join lateral tds.problem(f.reader, e.child -> f.key, f.required, f.max_length) p(reason)
         where p.reason is not null
           ) c
     order by c.ord, c.path;
end
$$;
comment on function tds.culprits(text, tds.record[]) is
'The records that the strict readers refuse, each with the path, the value and the reason; asked only once a set has failed.';
