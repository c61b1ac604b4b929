-- Of what the history is kept, and the difference of two documents: what makes the older of the newer.

insert into tds.history_rule (target, is_kept)
select t.target, true
  from unnest('{bills,credit_notes,customer_payments,invoices,sales_orders,vendor_credits,vendor_payments}'::text[]) t(target)
on conflict on constraint history_rule_pkey do nothing;

create or replace function tds.keeps_history(target text) returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
as $$ select coalesce((select r.is_kept from tds.history_rule r where r.target = $1), false) $$;
revoke all on function tds.keeps_history(text) from public;
comment on function tds.keeps_history(text) is 'Whether each change of the documents of that table of the mirror is kept.';

create or replace function tds.keep_history(entity text, is_kept boolean default true) returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_entity constant tds.entity := tds.entity_named(keep_history.entity);
begin
    insert into tds.history_rule as r (target, is_kept, changed_at) values (v_entity.target, keep_history.is_kept, tds.now())
    on conflict on constraint history_rule_pkey do update set is_kept = excluded.is_kept, changed_at = excluded.changed_at;
    return keep_history.is_kept;
end
$$;
revoke all on function tds.keep_history(text, boolean) from public;
grant execute on function tds.keep_history(text, boolean) to tds_operator;
comment on function tds.keep_history(text, boolean) is
'Begins to keep the history of an entity''s records, or no longer does; what is kept already stays until its retention ends. Customers and '
'vendors are one table, and one setting. Raises ZB002.';

create or replace function tds.put_back(older jsonb, newer jsonb) returns table (back jsonb)
language sql stable parallel safe rows 1
as $$
    -- offset 0: read from the disk and uncompressed once, not once a key. The keys of an object lie in an order of their own, so that those
    -- of two documents are compared place by place; only what is another there is looked up. What is the same byte by byte is the same,
    -- the rest is compared as text: 1.0 and 1.00 are equal, and what was is put back as it was
    select case when o.set is null then '{}' else jsonb_build_object('set', o.set) end
           || case when o.rows is null then '{}' else jsonb_build_object('rows', o.rows) end
           || case when o.gone is null then '{}' else jsonb_build_object('gone', o.gone) end
      from (select $1 || '{}' as older, $2 || '{}' as newer offset 0) d
     cross join lateral (
           select jsonb_object_agg(e.key, e.value) filter (where not e.is_rows and e.value::text is distinct from e.other::text) as set,
                  jsonb_object_agg(e.key, jsonb_build_object('n', jsonb_array_length(e.value), 'at', coalesce(r.at, '{}')))
                      filter (where e.is_rows and (r.at is not null or jsonb_array_length(e.value) <> jsonb_array_length(e.other))) as rows,
                  jsonb_agg(e.other_key) filter (where not d.older ? e.other_key) as gone
             from (select p.key, p.value, p.other_key, p.other,
                          coalesce(jsonb_typeof(p.value) = 'array' and jsonb_typeof(p.other) = 'array', false) as is_rows
                     from (select e.key, e.value, e.other_key, case when e.key = e.other_key then e.other else d.newer -> e.key end as other
                             from rows from (jsonb_each(d.older), jsonb_each(d.newer)) e(key, value, other_key, other)
                            where not record_image_eq(row(e.key, e.value), row(e.other_key, e.other)) offset 0) p offset 0) e
            cross join lateral (
                  select case when e.is_rows then (
                             select jsonb_object_agg(a.n, a.doc)
                               from (select w.n, w.doc, e.other -> (w.n - 1)::int as other
                                       from jsonb_array_elements(e.value) with ordinality w(doc, n) offset 0) a
                              where not record_image_eq(row(a.doc), row(a.other)) and a.doc::text is distinct from a.other::text)
                         end as at offset 0) r) o
    offset 0
$$;
revoke all on function tds.put_back(jsonb, jsonb) from public;
comment on function tds.put_back(jsonb, jsonb) is
'What makes the older of two documents of the newer, see tds.record_history.back; empty where they are the same, byte for byte. One row, '
'so that it can be joined laterally; the planner puts its text in the place of the call.';

create or replace function tds.as_it_was(newer jsonb, back jsonb) returns jsonb
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
    v_older jsonb := as_it_was.newer;
begin
    if as_it_was.back ? 'gone' then
        v_older := v_older - array(select jsonb_array_elements_text(as_it_was.back -> 'gone'));
    end if;
    if as_it_was.back ? 'set' then
        v_older := v_older || (as_it_was.back -> 'set');
    end if;
    if as_it_was.back ? 'rows' then
        v_older := v_older || coalesce((
            select jsonb_object_agg(r.key, coalesce(
                       (select jsonb_agg(coalesce(r.value -> 'at' -> g.n::text, as_it_was.newer -> r.key -> (g.n - 1)) order by g.n)
                          from generate_series(1, (r.value ->> 'n')::int) g(n)), '[]'))
              from jsonb_each(as_it_was.back -> 'rows') r), '{}');
    end if;
    return v_older;
end
$$;
revoke all on function tds.as_it_was(jsonb, jsonb) from public;
comment on function tds.as_it_was(jsonb, jsonb) is 'The older document, of the newer and what tds.put_back() says of the two.';

create or replace function tds.only_layers(back jsonb, layers jsonb, modified_at timestamptz) returns boolean
language sql immutable parallel safe
as $$
    select not exists (
        select k.key from jsonb_object_keys(coalesce($1 -> 'set', '{}')) k(key)
         union all
        select k.key from jsonb_object_keys(coalesce($1 -> 'rows', '{}')) k(key)
        except
        select k.key
          from jsonb_to_recordset($2) l(m timestamptz, keys jsonb)
         cross join lateral jsonb_array_elements_text(l.keys) k(key)
         where l.m < $3)
$$;
revoke all on function tds.only_layers(jsonb, jsonb, timestamptz) from public;
comment on function tds.only_layers(jsonb, jsonb, timestamptz) is
'Whether all that is put back (tds.put_back()) was told of an edit before that moment, by the layers of the row.';

create or replace function tds.only_completes(back jsonb, layers jsonb, modified_at timestamptz) returns boolean
language sql immutable parallel safe
as $$
    -- the planner puts its text in the place of the call, which nearly always knows without looking at keys one by one
    select case when not $1 ?| '{set,rows}' then true
                when $2 is null or jsonb_array_length($2) = 1 and $2 -> 0 -> 'keys' = '[]' then false
                else tds.only_layers($1, $2, $3) end
$$;
comment on function tds.only_completes(jsonb, jsonb, timestamptz) is
'Whether a newer document only completes the older: it tells keys that were not known, or were known of an older edit (by the older row''s '
'sync_layers) than the one that the row had been told of already.';
