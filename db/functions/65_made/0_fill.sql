-- How the makers write SQL: a template with names in it, and what stands for each name.

create or replace function tds.fill(template text, named jsonb) returns text
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
    -- each piece but the first begins with what stands between {{ and }}; what is filled in is not looked at again
    v_pieces   constant text[] := string_to_array(fill.template, '{{');
    v_filled   text := case when fill.template = '' then '' else v_pieces[1] end;
    v_piece    text;
    v_tag      text[];
    v_names    text[] := array[]::text[];
    v_value    jsonb;
    v_problem  text;
    v_problems text;
begin
    foreach v_piece in array coalesce(v_pieces[2:], '{}') loop
        v_tag := regexp_match(v_piece, '^([a-z_][a-z0-9_]*)(:[IL])?\}\}');
        v_value := fill.named -> v_tag[1];
        v_names := v_names || v_tag[1];
        v_filled := v_filled
                    || case v_tag[2] when ':I' then quote_ident(v_value #>> '{}') when ':L' then quote_nullable(v_value #>> '{}')
                                     else v_value #>> '{}' end
                    || substr(v_piece, strpos(v_piece, '}}') + 2);
        v_problem := case when v_tag is null then format('{{%s is no placeholder', left(v_piece, 40))
                          when v_value is null then format('nothing is given for {{%s}}', split_part(v_piece, '}}', 1))
                          when jsonb_typeof(v_value) in ('object', 'array')
                              then format('an %s is given for {{%s}}', jsonb_typeof(v_value), split_part(v_piece, '}}', 1))
                          when v_value = 'null' and v_tag[2] is distinct from ':L'
                              then format('null is given for {{%s}}', split_part(v_piece, '}}', 1)) end;
        v_problems := coalesce(v_problems || '; ' || v_problem, v_problems, v_problem);
    end loop;
    if fill.named - v_names <> '{}' then
        v_problems := concat_ws('; ', v_problems, (select string_agg(format('the template has no {{%s}}', k.key), '; ' order by k.key)
                                                     from jsonb_object_keys(fill.named - v_names) k(key)));
    end if;
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
