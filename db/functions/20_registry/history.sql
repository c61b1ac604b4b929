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

create or replace function tds.put_back(older jsonb, newer jsonb) returns jsonb
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
    -- read from the disk and uncompressed once, not once a key
    v_older constant jsonb := put_back.older || '{}'::jsonb;
    v_newer constant jsonb := put_back.newer || '{}'::jsonb;
    v_back  jsonb := '{}'::jsonb;
    v_other record;
    v_gone  jsonb;
begin
    -- as text: 1.0 and 1.00 are equal, and what was is put back as it was
    select jsonb_object_agg(o.key, o.value) filter (where not o.is_rows) as set,
           jsonb_object_agg(o.key, tds.rows_back(o.value, o.other)) filter (where o.is_rows) as rows
      into v_other
      from (select e.key, e.value, e.other, jsonb_typeof(e.value) = 'array' and coalesce(jsonb_typeof(e.other) = 'array', false) as is_rows
              from (select d.key, d.value, v_newer -> d.key as other from jsonb_each(v_older) d offset 0) e
             -- equal strings are the same, and what is the same byte by byte; the rest is written out to be compared
             where case when e.value = e.other and jsonb_typeof(e.value) in ('string', 'boolean', 'null') then false
                        when record_image_eq(row(e.value), row(e.other)) then false
                        else e.value::text is distinct from e.other::text end) o;
    v_gone := (select jsonb_agg(n.key) from jsonb_object_keys(v_newer) n(key) where not v_older ? n.key);
    if v_other.set is not null then
        v_back := jsonb_build_object('set', v_other.set);
    end if;
    if v_other.rows is not null then
        v_back := v_back || jsonb_build_object('rows', v_other.rows);
    end if;
    if v_gone is not null then
        v_back := v_back || jsonb_build_object('gone', v_gone);
    end if;
    return v_back;
end
$$;
revoke all on function tds.put_back(jsonb, jsonb) from public;
comment on function tds.put_back(jsonb, jsonb) is
'What makes the older of two documents of the newer, see tds.record_history.back; empty where they are the same, byte for byte.';

create or replace function tds.rows_back(older jsonb, newer jsonb) returns jsonb
language sql immutable parallel safe
as $$
    select jsonb_build_object(
        'n', jsonb_array_length($1),
        'at', coalesce((select jsonb_object_agg(e.n, e.doc)
                          from jsonb_array_elements($1) with ordinality e(doc, n)
                         where not record_image_eq(row(e.doc), row($2 -> (e.n - 1)::int))
                           and e.doc::text is distinct from ($2 -> (e.n - 1)::int)::text), '{}'))
$$;
comment on function tds.rows_back(jsonb, jsonb) is
'What makes the older of two arrays of the newer: its length, and by place what was another.';

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

create or replace function tds.only_completes(back jsonb, layers jsonb, modified_at timestamptz) returns boolean
language sql immutable parallel safe
as $$
    select case when not $1 ?| '{set,rows}' then true when $2 is null then false
                else not exists (
                    select k.key from jsonb_object_keys(coalesce($1 -> 'set', '{}')) k(key)
                     union all
                    select k.key from jsonb_object_keys(coalesce($1 -> 'rows', '{}')) k(key)
                    except
                    select k.key
                      from jsonb_to_recordset($2) l(m timestamptz, keys jsonb)
                     cross join lateral jsonb_array_elements_text(l.keys) k(key)
                     where l.m < $3) end
$$;
comment on function tds.only_completes(jsonb, jsonb, timestamptz) is
'Whether a newer document only completes the older: it tells keys that were not known, or were known of an older edit (by the older row''s '
'sync_layers) than the one that the row had been told of already.';
