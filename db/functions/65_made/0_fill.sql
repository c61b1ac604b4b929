-- How the makers write SQL: a template with names in it, and what stands for each name.

create or replace function tds.fill(template text, named jsonb) returns text
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
    v_filled   text;
    v_problems text;
begin
    -- each piece but the first begins with what stands between {{ and }}; what is filled in is not looked at again
    with piece as (
        select p.n, p.piece, split_part(p.piece, '}}', 1) as tag, substr(p.piece, strpos(p.piece, '}}') + 2) as rest
          from regexp_split_to_table(fill.template, '\{\{') with ordinality p(piece, n)
    ), placed as (
        select p.*, t.found is not null as is_tag, t.found[1] as name, t.found[2] as kind,
               fill.named ->> t.found[1] as value, jsonb_typeof(fill.named -> t.found[1]) as type
          from piece p
          left join lateral regexp_match(p.piece, '^([a-z_][a-z0-9_]*)(:[IL])?\}\}') t(found) on p.n > 1
    ), problem as (
        select p.n, case when not p.is_tag then format('{{%s is no placeholder', left(p.piece, 40))
                         when p.type is null then format('nothing is given for {{%s}}', p.tag)
                         when p.type in ('object', 'array') then format('an %s is given for {{%s}}', p.type, p.tag)
                         when p.type = 'null' and p.kind is distinct from ':L' then format('null is given for {{%s}}', p.tag) end as problem
          from placed p
         where p.n > 1
        union all
        select null, format('the template has no {{%s}}', k.key)
          from jsonb_object_keys(fill.named) k(key)
         where k.key not in (select p.name from placed p where p.is_tag)
    )
    select string_agg(case when p.n = 1 then p.piece
                           else case p.kind when ':I' then quote_ident(p.value) when ':L' then quote_nullable(p.value) else p.value end
                                || p.rest end, '' order by p.n),
           (select string_agg(b.problem, '; ' order by b.n, b.problem) from problem b)
      into v_filled, v_problems
      from placed p;
    if v_problems is not null or v_filled is null then
        raise exception using errcode = 'ZB030', message = 'template not filled', detail = coalesce(v_problems, 'no template'),
            hint = 'name everything the template names and nothing else: {{name}} is SQL, {{name:I}} an identifier, {{name:L}} a literal';
    end if;
    return v_filled;
end
$$;
comment on function tds.fill(text, jsonb) is
'A template with its placeholders filled in: {{name}} with SQL as it is, {{name:I}} with an identifier and {{name:L}} with a literal '
'(or NULL), both quoted where they must be. Raises ZB030 for a placeholder that nothing is given for, and for what no placeholder names.';
