-- What receive() may know of a body before it is applied: whether it is text, whose record it is, whether it is new.

create or replace function tds.body_text(raw bytea, out body text, out problem text)
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
begin
    body_text.body := convert_from(coalesce(body_text.raw, ''), 'UTF8');
exception
    when character_not_in_repertoire or untranslatable_character then
        body_text.problem := 'not UTF-8 text';
end
$$;
comment on function tds.body_text(bytea) is 'The body as text, or why it cannot be text.';

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
          where p.endpoint = entity_of.endpoint and jsonb_typeof(r.told) = 'object' and r.told ? p.key
          order by w.place, p.priority limit 1),
        entity_of.endpoint);
end
$$;
comment on function tds.entity_of(text, jsonb) is
'The entity a body is about: the endpoint''s own name, or, where several kinds of record come under one name, what its keys say, '
'or those of what it wraps in data.';

create or replace function tds.peek(
    endpoint text, body text, out problem text, out entity text, out record_id text, out organization_id text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_document jsonb;
    v_records  jsonb;
    v_entity   tds.entity;
begin
    peek.entity := peek.endpoint;
    begin
        v_document := tds.document(peek.body);
    exception when data_exception or statement_too_complex or program_limit_exceeded then
        peek.problem := tds.document_problem(peek.body);
        return;
    end;
    if jsonb_typeof(v_document) = 'object' and tds.is_id(v_document ->> 'organization_id') then
        peek.organization_id := v_document ->> 'organization_id';
    end if;
    peek.entity := tds.entity_of(peek.endpoint, v_document);
    select n.* into v_entity from tds.entity n where n.entity = peek.entity;
    v_records := tds.payload(v_document, v_entity.list_key, v_entity.record_key, v_entity.id_key);
    if jsonb_array_length(v_records) = 1 and tds.is_id(v_records -> 0 ->> v_entity.id_key) then
        peek.record_id := v_records -> 0 ->> v_entity.id_key;
    end if;
end
$$;
comment on function tds.peek(text, text) is
'Why a body cannot be read; else the entity it is about, the id of the one record in it (null for none or many), and the organisation it names.';

create or replace function tds.namesakes(entity text) returns text[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return array(select other.entity from tds.entity own join tds.entity other on other.target = own.target
                  where own.entity = namesakes.entity order by other.entity);
end
$$;
comment on function tds.namesakes(text) is
'Every entity under whose name the same records may come: a contact as customers as well as vendors.';

create or replace function tds.same_event(
    entity text, organization_id text, record_id text, shape text, event text, body text, at timestamptz)
returns bigint
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_names text[];
    v_last  record;
begin
    if same_event.shape <> 'webhook' or same_event.record_id is null then
        return null;
    end if;
    v_names := tds.namesakes(same_event.entity);
    select i.inbox_id, i.received_at, i.shape, i.event, i.body, i.refusal
      into v_last
      from tds.inbox i
     where i.organization_id = same_event.organization_id
       and i.entity = any (v_names)
       and i.record_id = same_event.record_id
       and i.received_at > same_event.at - make_interval(hours => tds.setting_int('duplicate_window_hours'))
     order by i.received_at desc, i.inbox_id desc
     limit 1;
    if v_last.shape = 'webhook' and v_last.event = same_event.event and v_last.body = same_event.body
       and v_last.refusal is null
       -- a page that came since may have told otherwise
       and not exists (
            select from tds.inbox i
             where i.organization_id = same_event.organization_id
               and i.entity = any (v_names)
               and i.shape = 'list'
               and i.received_at >= v_last.received_at)
    then
        return v_last.inbox_id;
    end if;
    return null;
end
$$;
comment on function tds.same_event(text, text, text, text, text, text, timestamptz) is
'The event whose very bytes these are, if it is the record''s newest; null otherwise. A → B → A is three events.';
