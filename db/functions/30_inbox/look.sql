-- What receive() may know of a body before it is applied: whether it is text, whose record it is, whether it is new.

create or replace function tds.utf16_text(raw bytea) returns text
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
    -- by its byte order mark, else by the nought beside the first letter, which is one of ASCII's in JSON and in forms
    v_is_big constant boolean := case when substr(utf16_text.raw, 1, 2) = '\xfeff' then true
                                      when substr(utf16_text.raw, 1, 2) = '\xfffe' then false
                                      else get_byte(utf16_text.raw, 0) = 0 end;
begin
    if octet_length(utf16_text.raw) % 2 <> 0 then
        return null;
    end if;
    return (
        with unit as materialized (
            select n, get_byte(utf16_text.raw, 2 * n + case when v_is_big then 0 else 1 end) * 256
                      + get_byte(utf16_text.raw, 2 * n + case when v_is_big then 1 else 0 end) as code
              from generate_series(0, octet_length(utf16_text.raw) / 2 - 1) n
        ), paired as (
            select u.n, u.code, lead(u.code) over (order by u.n) as next, lag(u.code) over (order by u.n) as previous from unit u
        )
        -- a half of a pair alone fails, as does U+0000
        select string_agg(chr(case when p.code between 55296 and 56319 and p.next between 56320 and 57343
                                   then 65536 + (p.code - 55296) * 1024 + p.next - 56320 else p.code end), '' order by p.n)
          from paired p
         where (p.code between 56320 and 57343 and p.previous between 55296 and 56319) is not true);
exception when data_exception or program_limit_exceeded then
    return null;
end
$$;
comment on function tds.utf16_text(bytea) is 'A text in UTF-16, of either order; null where it is none.';

create or replace function tds.body_text(raw bytea, out body text, out problem text)
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
begin
    body_text.body := convert_from(coalesce(body_text.raw, ''), 'UTF8');
exception
    when character_not_in_repertoire or untranslatable_character then
        -- JSON in another encoding than UTF-8 is in UTF-16, as its first letters show; a page of 200 is much smaller than this
        body_text.body := case when octet_length(body_text.raw) between 4 and 4000000
                                    and (substr(body_text.raw, 1, 2) in ('\xfeff', '\xfffe')
                                         or (get_byte(body_text.raw, 0) = 0) <> (get_byte(body_text.raw, 1) = 0))
                               then tds.utf16_text(body_text.raw) end;
        if body_text.body is null then
            body_text.problem := 'not UTF-8 text';
        end if;
end
$$;
comment on function tds.body_text(bytea) is 'The body as text, also where it came in UTF-16; or why it cannot be text.';

create or replace function tds.entity_of(endpoint text, document jsonb) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return coalesce(
        (select p.entity
           from tds.endpoint p
          -- the body itself, what is wrapped in data, and of several records the first
          cross join lateral (values (1, entity_of.document), (2, entity_of.document -> 'data')) w(place, told)
          cross join lateral (select case when jsonb_typeof(w.told) = 'array' then w.told -> 0 else w.told end as told) r
          where p.endpoint = entity_of.endpoint and (p.key = '' or jsonb_typeof(r.told) = 'object' and r.told ? p.key)
          order by w.place, p.priority limit 1),
        entity_of.endpoint);
end
$$;
comment on function tds.entity_of(text, jsonb) is
'The entity a body without a record is about: the endpoint''s own name, the one it is another name of, or, where several kinds of record '
'come under one name, what its keys say, or those of what it wraps in data.';

create or replace function tds.look(endpoint text[], body text[])
returns table (n int, entity text, target text, record_id text, organization_id text, records int)
language plpgsql stable
set search_path = pg_catalog, pg_temp
-- one body or many, the plan is the same; planning anew takes eight times as long as looking
set plan_cache_mode = force_generic_plan
as $$
begin
    return query
    with parsed as materialized (
        select b.n, coalesce(b.endpoint, '') as endpoint, tds.document(b.body) as document
          from unnest(look.endpoint, look.body) with ordinality b(endpoint, body, n)
    ), named as materialized (
        select p.n, p.document,
               coalesce(c.entity, case when c.is_alias then tds.entity_of(p.endpoint, p.document) end, p.endpoint) as entity
          from parsed p
          -- of the kinds of record that come under one name the first that the body holds
          left join lateral (
                select true as is_alias,
                       (array_agg(k.entity order by k.priority) filter (where k.records -> 0 ? k.id_key))[1] as entity
                  from (select e.entity, s.priority, e.id_key, tds.payload(p.document, e.list_key, e.record_key, e.id_key) as records
                          from (select s.entity, min(s.priority) as priority from tds.endpoint s
                                 where s.endpoint = p.endpoint group by s.entity) s
                          join tds.entity e on e.entity = s.entity offset 0) k
                having count(*) > 0) c on true
    )
    select p.n::int, p.entity, e.target, tds.exact_id(r.record -> e.id_key), tds.told_organization(p.document, e.record_key, e.id_key),
           jsonb_array_length(l.records)
      from named p
      left join tds.entity e on e.entity = p.entity
     -- "offset 0": worked out once, and not wherever it is named
     cross join lateral (select tds.payload(p.document, e.list_key, e.record_key, e.id_key) as records offset 0) l
     cross join lateral (select case when jsonb_array_length(l.records) = 1 then l.records -> 0 end as record offset 0) r;
end
$$;
comment on function tds.look(text[], text[]) is
'What each body is about: its entity (target: that one''s table, null for one nobody knows), the id of the one record in it (null '
'for none or many), the organisation it names (see tds.told_organization()), and how many records it has. Raises class 22, 54000 or 54001 '
'if any of them cannot be read.';

create or replace function tds.told_organizations(told jsonb, depth int default 0) returns text[]
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
    v_own constant text := nullif(case when jsonb_typeof(told_organizations.told) = 'object'
                                       then told_organizations.told ->> 'organization_id' end, '');
begin
    if v_own is not null then
        return array[v_own];
    elsif told_organizations.depth > 12 then
        return array[]::text[];
    end if;
    case jsonb_typeof(told_organizations.told)
    when 'string' then
        return coalesce(tds.told_organizations(tds.json_inside(told_organizations.told ->> 0), told_organizations.depth + 1), '{}');
    when 'array' then
        -- of more than these none is taken, see the setting webhook_records
        return array(select distinct o.id
                       from jsonb_array_elements(told_organizations.told) with ordinality e(doc, n)
                      cross join lateral unnest(tds.told_organizations(e.doc, told_organizations.depth + 1)) o(id)
                      where e.n <= 1000
                      order by o.id);
    when 'object' then
        return array(select distinct o.id
                       from (select k.key, k.value
                               from jsonb_each(coalesce(nullif(tds.nested(told_organizations.told), told_organizations.told),
                                                        told_organizations.told)) k
                              where (jsonb_typeof(k.value) in ('object', 'array') or k.value ->> 0 ~ '^\s*[{["]')
                                and k.key <> all (tds.containers())
                              limit 100) h
                      cross join lateral unnest(tds.told_organizations(h.value, told_organizations.depth + 1)) o(id)
                      order by o.id);
    else
        return array[]::text[];
    end case;
end
$$;
comment on function tds.told_organizations(jsonb, int) is
'The organisations that what is told names, nearest the outside: in an envelope, or in the record itself; not in what a record holds.';

create or replace function tds.other_organization(document jsonb, record_key text, id_key text) returns text
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
    v_told text;
begin
    if jsonb_typeof(other_organization.document -> other_organization.record_key -> other_organization.id_key) = 'string' then
        v_told := coalesce(other_organization.document ->> 'organization_id',
                           other_organization.document -> other_organization.record_key ->> 'organization_id',
                           array_to_string(tds.told_organizations(other_organization.document - other_organization.record_key), ', '));
    elsif jsonb_typeof(other_organization.document) = 'object' and other_organization.document ? other_organization.id_key then
        v_told := other_organization.document ->> 'organization_id';
    else
        v_told := array_to_string(tds.told_organizations(other_organization.document), ', ');
    end if;
    return nullif(v_told, '');
end
$$;
comment on function tds.other_organization(jsonb, text, text) is
'As tds.told_organization(), of a document that is not one wrapped record and nothing beside it.';

create or replace function tds.told_organization(document jsonb, record_key text, id_key text) returns text
language sql immutable parallel safe
as $$
    -- without a sub-select, so that the planner puts its text in the place of the call
    select case when case when jsonb_typeof($1 -> $2 -> $3) = 'string' then $1 - $2 = '{}' end
                then nullif($1 -> $2 ->> 'organization_id', '')
                else tds.other_organization($1, $2, $3) end
$$;
comment on function tds.told_organization(jsonb, text, text) is
'The organisation that a body names, beside its record or in it; several (which nobody is), separated by commas; null where it names none.';

create or replace function tds.glimpse(endpoint text, body text, out entity text, out record_id text, out organization_id text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    -- in JSON "item_id": "46…", in a form item_id=46…
    v_pattern constant text := '(?:"%s"\s*:\s*"?|(?:^|&)%1$s=)([A-Za-z0-9_-]{1,50})(?=["&,}\s]|$)';
    v_found   record;
begin
    select min(i.entity) as entity, min(i.id) as id
      into v_found
      from (select k.entity, m.part[1] as id, dense_rank() over (order by k.priority) as place
              from (select e.entity, e.id_key, 0 as priority from tds.entity e where e.entity = glimpse.endpoint
                    union all
                    select e.entity, e.id_key, min(p.priority)
                      from tds.endpoint p join tds.entity e on e.entity = p.entity
                     where p.endpoint = glimpse.endpoint group by e.entity, e.id_key) k
             cross join lateral regexp_matches(glimpse.body, format(v_pattern, k.id_key), 'g') m(part)) i
     where i.place = 1 and tds.is_id(i.id)
    having count(distinct i.id) = 1;
    glimpse.record_id := v_found.id;
    glimpse.entity := coalesce(v_found.entity,
                               (select min(p.entity) from tds.endpoint p where p.endpoint = glimpse.endpoint and p.key = ''),
                               glimpse.endpoint);
    glimpse.organization_id := (regexp_match(glimpse.body, format(v_pattern, 'organization_id')))[1];
end
$$;
comment on function tds.glimpse(text, text) is
'What a text that is not JSON tells all the same: the entity, the id if there is only one, and the organisation.';

create or replace function tds.peek(
    endpoint text, body text, out problem text, out entity text, out record_id text, out organization_id text, out records int)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    select l.entity, l.record_id, l.organization_id, l.records
      into peek.entity, peek.record_id, peek.organization_id, peek.records
      from tds.look(array[peek.endpoint], array[peek.body]) l;
exception when data_exception or statement_too_complex or program_limit_exceeded or out_of_memory or configuration_limit_exceeded then
    select g.entity, g.record_id, g.organization_id
      into peek.entity, peek.record_id, peek.organization_id
      from tds.glimpse(peek.endpoint, peek.body) g;
    peek.problem := tds.document_problem(peek.body);
end
$$;
comment on function tds.peek(text, text) is
'tds.look() at one body; or why it cannot be read, and what can be told of it all the same.';

create or replace function tds.page_since(entity text[], organization_id text, at timestamptz, inbox_id bigint) returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
begin
    return exists (
        select from unnest(page_since.entity) w(name)
         cross join lateral (
               (select from tds.inbox i
                 where i.organization_id = page_since.organization_id
                   and i.entity between w.name and w.name
                   and i.shape = 'list'
                   and i.received_at >= page_since.at
                 order by i.entity, i.received_at
                 limit 1)
                union all
               -- a webhook of several records, or an answer with the details of several
               (select from tds.inbox i
                 where i.organization_id = page_since.organization_id
                   and i.entity between w.name and w.name
                   and i.record_id is null
                   and i.shape <> 'list'
                   and i.received_at >= page_since.at
                   -- in one transaction all come at one moment
                   and (i.received_at > page_since.at or i.inbox_id > page_since.inbox_id)
                 order by i.entity, i.received_at
                 limit 1)) p);
end
$$;
comment on function tds.page_since(text[], text, timestamptz, bigint) is
'Whether a body of several records of one of these entities, a page or another, has come since that event of that moment: it may have told '
'otherwise.';

create or replace function tds.repeats(
    entity text[], organization_id text[], record_id text[], event text[], body text[], at timestamptz)
returns table (n int, inbox_id bigint)
language plpgsql stable
set search_path = pg_catalog, pg_temp
-- Planning anew for every call, over all partitions, takes five times as long as the search. A plan made once must not
-- depend on what the day's partition holds just then: while it is empty, reading all of it looks cheapest.
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
declare
    v_since constant timestamptz := repeats.at - make_interval(hours => tds.setting_int('duplicate_window_hours'));
begin
    return query
    with names as materialized (
        select e.entity, tds.namesakes(e.entity) as names
          from (select distinct g.entity from unnest(repeats.entity) g(entity)) e
    )
    select g.n::int, l.inbox_id
      from unnest(repeats.entity, repeats.organization_id, repeats.record_id, repeats.event)
           with ordinality g(entity, organization_id, record_id, event, n)
      join names m on m.entity = g.entity
     cross join lateral (
            select e.*
              from unnest(m.names) w(name)
             cross join lateral (
                    select i.inbox_id, i.received_at, i.shape, i.event, i.body, i.refusal
                      from tds.inbox i
                     -- "between x and x order by x": so that no plan made while the day was empty takes another index
                     where i.organization_id = g.organization_id
                       and i.entity = w.name
                       and i.record_id between g.record_id and g.record_id
                       and i.received_at > v_since
                       -- the days made ahead need not be looked at
                       and i.received_at < repeats.at + interval '1 day'
                     order by i.record_id desc, i.received_at desc, i.inbox_id desc
                     limit 1) e
             order by e.received_at desc, e.inbox_id desc
             limit 1) l
     where l.shape = 'webhook' and l.event = g.event and l.body = repeats.body[g.n] and l.refusal is null
       -- asked of those alone that are repeated: to begin that search costs a third of this function
       and not tds.page_since(m.names, g.organization_id, l.received_at, l.inbox_id);
end
$$;
comment on function tds.repeats(text[], text[], text[], text[], text[], timestamptz) is
'Which of these webhooks are, byte by byte, their record''s newest event, and its number. A → B → A is three events.';
