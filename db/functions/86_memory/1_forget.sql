-- A person's data erased, wherever it stands: by structure in what is the person's, and then by the person's own words everywhere else.

create or replace function tds.person_records(organization_id text, contact_id text)
returns setof tds.person_record
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_entity record;
begin
    for v_entity in
        select distinct on (n.target) n.target, n.target_key, n.entity, tds.partner_column(n.target) as partner
          from tds.entity n where tds.partner_column(n.target) is not null
         order by n.target, n.entity
    loop
        return query execute format(
            $sql$
            select %1$L, case to_jsonb(t) ->> 'contact_type' when 'vendor' then 'vendors' when 'customer' then 'customers' else %3$L end,
                   t.%2$I, jsonb_build_array(t.zoho_metadata, coalesce((select jsonb_agg(l.hidden)
                       from jsonb_to_recordset(t.sync_layers) l(hidden jsonb)), '[]'))
              from zoho.%1$I t
             where t.organization_id = $1 and t.%4$I = $2
             order by t.%2$I$sql$,
            v_entity.target, v_entity.target_key, v_entity.entity, v_entity.partner)
            using person_records.organization_id, person_records.contact_id;
    end loop;
end
$$;
revoke all on function tds.person_records(text, text) from public;
comment on function tds.person_records(text, text) is
'The rows of a contact: its own and its documents, with what their documents and layers say.';

create or replace function tds.names_id(told text, id text) returns boolean
language sql immutable parallel safe
as $$ select coalesce(strpos($1, $2) > 0 and $1 ~ ('(^|[^0-9A-Za-z_-])' || $2 || '($|[^0-9A-Za-z_-])'), false) $$;
comment on function tds.names_id(text, text) is 'Whether a text holds an id of Zoho''s, and not only as a part of another.';

create or replace function tds.person_bodies(organization_id text, contact_id text, own_ids text[], after bigint)
returns table (inbox_id bigint, received_at timestamptz, entity text, shape text, text_of text, records jsonb)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    with told as materialized (
        select i.inbox_id, i.received_at, i.entity, i.shape, i.body, b.body as text_of
          from tds.inbox i
          -- bytes that are no text may be one in another coding
         cross join lateral (select coalesce(i.body, replace(encode(i.body_raw, 'escape'), '\000', '')) as body) b
         where i.inbox_id > person_bodies.after
           and (i.organization_id = person_bodies.organization_id or i.organization_id is null or i.refusal is not null)
           and (i.record_id = any (person_bodies.own_ids || person_bodies.contact_id)
                or tds.names_id(b.body, person_bodies.contact_id))
    )
    select t.inbox_id, t.received_at, t.entity, t.shape, t.text_of,
           case when n.entity is not null and t.body is not null and tds.document_problem(t.body) is null
                then (select r.records from tds.body_records(t.body, n.list_key, n.record_key, n.id_key) r) end
      from told t
      left join tds.entity n on n.entity = t.entity
     order by t.inbox_id;
end
$$;
revoke all on function tds.person_bodies(text, text, text[], bigint) from public;
comment on function tds.person_bodies(text, text, text[], bigint) is
'The bodies that name a contact or are of its documents, with their records where they can be read.';

create or replace function tds.persons_words(organization_id text, contact_id text, own_ids text[], after bigint default -1)
returns table (told text, is_common boolean)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_kept constant text[] := tds.bookkeeping_keys();
    v_ids  constant text[] := array[persons_words.contact_id];
begin
    return query
    with value as materialized (
        select l.from_key, l.told
          from tds.person_records(persons_words.organization_id, persons_words.contact_id) r
         cross join lateral jsonb_array_elements(r.doc) d(doc)
         cross join lateral tds.personal_values(d.doc, '', 0, false, v_kept) l
         where persons_words.after < 0
         union
        select l.from_key, l.told
          from tds.record_history h
          join tds.person_records(persons_words.organization_id, persons_words.contact_id) r
            on r.target = h.target and r.zoho_id = h.zoho_id
         cross join lateral (select h.back -> 'set' as doc union all
                             select jsonb_object_agg(k.key, (select jsonb_agg(e.value) from jsonb_each(k.value -> 'at') e))
                               from jsonb_each(h.back -> 'rows') k union all
                             select l.hidden from jsonb_to_recordset(h.was_layers) l(hidden jsonb)) d
         cross join lateral tds.personal_values(d.doc, '', 0, false, v_kept) l
         where h.organization_id = persons_words.organization_id and persons_words.after < 0
         union
        select l.from_key, l.told
          from tds.person_bodies(persons_words.organization_id, persons_words.contact_id, persons_words.own_ids, persons_words.after) b
          join tds.entity n on n.entity = b.entity
         cross join lateral jsonb_array_elements(b.records) d(doc)
         cross join lateral tds.personal_values(d.doc, '', 0, false, v_kept) l
         where tds.is_persons(n, d.doc, v_ids) and tds.partner_column(n.target) is not null
            or d.doc ->> n.id_key = any (persons_words.own_ids)
    )
    select v.told, bool_and(v.from_key ~ '^(city|state|state_code|country|country_code|zip|zipcode|salutation|.*notes|.*terms|.*label)$')
      from value v
     where char_length(btrim(v.told)) >= 3 and v.told !~ '^(\[forgotten\]\s*)+$'
     group by v.told;
end
$$;
revoke all on function tds.persons_words(text, text, text[], bigint) from public;
comment on function tds.persons_words(text, text, text[], bigint) is
'What is said of a person in rows, history and bodies; is_common: a place, a form of address or a text that others may have as well.';

create or replace function tds.bookkeeping_words(words text[]) returns setof text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    -- of numbers and addresses none is a term of anybody's
    v_words   constant text[] := array(select distinct lower(w.word) from unnest(bookkeeping_words.words) w(word)
                                        where w.word ~ '^[[:alpha:]]+([ _-][[:alpha:]]+)*$');
    v_pattern constant text := tds.words_pattern(v_words);
    v_kept    constant text[] := tds.bookkeeping_keys();
    v_table   record;
begin
    if v_words = '{}' then
        return;
    end if;
    for v_table in
        select a.attrelid::regclass as relation
          from pg_attribute a
          join pg_class c on c.oid = a.attrelid and c.relnamespace = 'zoho'::regnamespace
         where c.relkind in ('r', 'p') and not c.relispartition and a.attname = 'zoho_metadata' and not a.attisdropped
         order by a.attrelid::regclass::text
    loop
        return query execute format(
            $sql$
            select distinct w.word
              from %1$s t
             cross join lateral jsonb_path_query(t.zoho_metadata, 'strict $.** ? (@.type() == "object").keyvalue()
                                                                   ? (@.value.type() == "string")') k(pair)
             cross join lateral (select lower(k.pair ->> 'value') as value, k.pair ->> 'key' as key) v
              join unnest($1) w(word) on w.word = v.value or w.word = any (string_to_array(v.value, '_'))
             where t.zoho_metadata::text ~* $2 and v.key !~ '^cf_' and (v.key = any ($3) or v.key ~ '(^|_)(status|type|mode)$')$sql$,
            v_table.relation)
            using v_words, v_pattern, v_kept;
    end loop;
end
$$;
revoke all on function tds.bookkeeping_words(text[]) from public;
comment on function tds.bookkeeping_words(text[]) is
'Those of a person''s words that bookkeeping says of records too, as a status, a type or a code (paid; sales of sales_and_purchases): '
'taken away, they would be missing in everybody''s books.';

create or replace function tds.shared_words(organization_id text, contact_id text, words text[]) returns text[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return array(
        select distinct w.word
          from unnest(shared_words.words) w(word)
          join (select lower(v.told #>> '{}') as told
                  from zoho.contacts t
                 cross join lateral jsonb_array_elements(jsonb_path_query_array(t.zoho_metadata, 'strict $.** ? (@.type() == "string")'))
                       v(told)
                 where not (t.organization_id = shared_words.organization_id and t.zoho_contact_id = shared_words.contact_id)
                 union
                select lower(p.name) from zoho.products p
                 union
                select b.word from tds.bookkeeping_words(shared_words.words) b(word)
                 union
                select lower(o.name) from zoho.organizations o
                 union
                select lower(f.key) from tds.field f
                 union
                select n.entity from tds.entity n) o on o.told = lower(w.word));
end
$$;
revoke all on function tds.shared_words(text, text, text[]) from public;
comment on function tds.shared_words(text, text, text[]) is
'Those of a person''s words that are as well a value of another contact''s, a product''s name, a term of bookkeeping or a word of our '
'own: they are not taken away from others.';

create or replace function tds.in_quotes(word text) returns text
language sql immutable parallel safe
as $$ select substr(to_json($1)::text, 2, char_length(to_json($1)::text) - 2) $$;
comment on function tds.in_quotes(text) is 'A text as JSON writes it, without the quotes around it.';

create or replace function tds.with_escapes(word text) returns text
language sql immutable parallel safe
as $$
    select string_agg(case when ascii(c.c) > 65535
                           then '\u' || to_hex(55296 + ((ascii(c.c) - 65536) >> 10))
                                || '\u' || to_hex(56320 + ((ascii(c.c) - 65536) & 1023))
                           when ascii(c.c) > 126 then '\u' || lpad(to_hex(ascii(c.c)), 4, '0') else c.c end, '' order by c.n)
      from string_to_table(tds.in_quotes($1), null) with ordinality c(c, n)
$$;
comment on function tds.with_escapes(text) is 'A text as JSON in ASCII writes it.';

create or replace function tds.as_in_a_form(word text, blank text) returns text
language sql immutable parallel safe
as $$
    select string_agg(case when c.c ~ '^[A-Za-z0-9_.~-]$' then c.c when c.c = ' ' then $2
                           else upper(regexp_replace(encode(convert_to(c.c, 'UTF8'), 'hex'), '(..)', '%\1', 'g')) end, '' order by c.n)
      from string_to_table($1, null) with ordinality c(c, n)
$$;
comment on function tds.as_in_a_form(text, text) is 'A text as a form''s body writes it.';

create or replace function tds.words_pattern(words text[], in_json boolean default false) returns text
language sql immutable parallel safe
as $$
    -- each word as it is, as JSON writes it, as JSON in JSON does, with \u, and as a form does; a short one not within another word, and
    -- in_json one that may be the name of a field, or part of it, not where it is that (currency_code, of who is said to have a Code)
    select coalesce(string_agg(distinct case when w.is_short then '(?:(?<![[:alnum:]])|(?<=\\[nrtbf]))' else '' end
                                        || regexp_replace(f.form, '([^[:alnum:][:space:]])', '\\\1', 'g')
                                        || case when w.is_short then '(?![[:alnum:]])' else '' end
                                        || case when $2 and w.word ~ '^[A-Za-z0-9_]+$' then '(?![[:alnum:]_]*"[[:space:]]*:)' else '' end,
                               '|'), '(?=a)b')
      from (select u.word, u.word ~ '^[0-9 ()+./-]*$' or char_length(u.word) < 8 and u.word !~ '[@[:space:]]' as is_short
              from unnest($1) u(word)) w
     cross join lateral (
           select tds.in_quotes(w.word) as json, tds.in_quotes(tds.in_quotes(w.word)) as twice,
                  tds.with_escapes(w.word) as escaped, tds.as_in_a_form(w.word, '+') as form, tds.as_in_a_form(w.word, '%20') as form20) v
     cross join lateral (values (w.word), (v.json), (v.twice), (v.escaped), (tds.in_quotes(v.escaped)), (v.form), (v.form20)) f(form)
$$;
comment on function tds.words_pattern(text[], boolean) is
'A regular expression that finds these words, however JSON or a form writes them; in_json: but not in the names of fields. Of no words, '
'one that finds nothing.';

create or replace function tds.erase_rows(organization_id text, contact_id text, at timestamptz) returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_kept   constant text[] := tds.bookkeeping_keys();
    v_last   constant bigint := coalesce((select max(h.history_id) from tds.record_history h), 0);
    v_group  record;
    v_states tds.record_state[];
    v_told   bigint;
    v_rows   bigint := 0::bigint;
begin
    for v_group in
        select r.entity, r.target, n.target_key, array_agg(r.zoho_id order by r.zoho_id) as zoho_ids
          from tds.person_records(erase_rows.organization_id, erase_rows.contact_id) r
          join tds.entity n on n.entity = r.entity
         group by r.entity, r.target, n.target_key
         order by r.target = 'contacts' desc, r.entity
    loop
        execute format(
            $sql$
            select array_agg(row(t.%2$I, d.doc, t.sync_version + 1,
                                 case when t.sync_hash = jsonb_hash_extended(t.zoho_metadata, 0) then jsonb_hash_extended(d.doc, 0) end,
                                 t.sync_modified_at, t.sync_observed_at, t.sync_rank, t.sync_read_at, t.deleted_at,
                                 (select jsonb_agg(l.layer || jsonb_build_object('hidden', tds.without_person(coalesce(l.layer -> 'hidden',
                                      '{}'), '', 0, $3)) order by l.n)
                                    from jsonb_array_elements(t.sync_layers) with ordinality l(layer, n)), t.sync_event)::tds.record_state
                             order by t.%2$I),
                   count(*) filter (where d.doc is distinct from t.zoho_metadata)
              from zoho.%1$I t
             cross join lateral (select tds.without_person(t.zoho_metadata, '', 0, $3) as doc offset 0) d
             where t.organization_id = $1 and t.%2$I = any ($2)$sql$, v_group.target, v_group.target_key)
           into v_states, v_told using erase_rows.organization_id, v_group.zoho_ids, v_kept;
        if cardinality(tds.write_states_of(v_group.entity, erase_rows.organization_id, v_states, erase_rows.at))
           < cardinality(v_states) then
            raise exception using errcode = 'ZB045', message = 'a record of the person was written meanwhile', detail = v_group.entity,
                hint = 'nothing was erased: once more, while no worker is at it';
        end if;
        v_rows := v_rows + v_told;
    end loop;
    -- that it was erased is no change of the record; what it was, is kept without what describes the person
    delete from tds.record_history h where h.history_id > v_last and h.organization_id = erase_rows.organization_id
        and h.written_at = erase_rows.at;
    update tds.record_history h
       set back = tds.back_without_person(h.back, v_kept),
           was_layers = (select jsonb_agg(l.layer || jsonb_build_object('hidden', tds.without_person(coalesce(l.layer -> 'hidden', '{}'),
               '', 0,
               v_kept)) order by l.n)
                           from jsonb_array_elements(h.was_layers) with ordinality l(layer, n)), was_hash = null
      from tds.person_records(erase_rows.organization_id, erase_rows.contact_id) r
     where h.organization_id = erase_rows.organization_id and h.target = r.target and h.zoho_id = r.zoho_id;
    return v_rows;
end
$$;
revoke all on function tds.erase_rows(text, text, timestamptz) from public;
comment on function tds.erase_rows(text, text, timestamptz) is
'Writes a contact''s rows, its documents'' and their children''s anew without what describes the person, and their history. Returns of how '
'many the document told of it.';

create or replace function tds.back_without_person(back jsonb, kept text[]) returns jsonb
language sql immutable parallel safe
as $$
    select jsonb_strip_nulls(jsonb_build_object('gone', $1 -> 'gone'))
           || jsonb_build_object('set', (select coalesce(jsonb_object_agg(e.key, tds.without_person(e.value, e.key, 1, $2)), '{}')
                                           from jsonb_each($1 -> 'set') e))
           || jsonb_build_object('rows', (
                  select coalesce(jsonb_object_agg(r.key, jsonb_build_object('n', r.value -> 'n', 'at', (
                             select coalesce(jsonb_object_agg(a.key, tds.without_person(a.value, r.key, 1, $2)), '{}')
                               from jsonb_each(r.value -> 'at') a))), '{}')
                    from jsonb_each($1 -> 'rows') r
                   where not tds.is_all_personal(r.key)))
$$;
comment on function tds.back_without_person(jsonb, text[]) is
'A difference of two documents of a person (tds.record_history.back) without what describes the person.';

create or replace function tds.erase_bodies(organization_id text, contact_id text, own_ids text[], after bigint) returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_rows bigint;
begin
    with told as materialized (
        select b.*, case when b.records is not null
                         then tds.unless_forgotten(n, erase_bodies.organization_id, b.records, erase_bodies.own_ids) end as without,
                             n.list_key,
               n.record_key
          from tds.person_bodies(erase_bodies.organization_id, erase_bodies.contact_id, erase_bodies.own_ids, erase_bodies.after) b
          left join tds.entity n on n.entity = b.entity
         where not exists (select from tds.inbox_open o where o.inbox_id = b.inbox_id)
    )
    update tds.inbox i
       set body = case when t.records is null then case when i.body is not null then '{"forgotten": true}' end
                       when jsonb_array_length(t.without) = 1 and t.shape <> 'list'
                           then jsonb_build_object(t.record_key, t.without -> 0)::text
                       else jsonb_build_object(t.list_key, t.without)::text end,
           body_raw = case when i.body_raw is not null then convert_to('{"forgotten": true}', 'UTF8') end
      from told t
     where i.received_at = t.received_at and i.inbox_id = t.inbox_id
       and t.records is distinct from coalesce(t.without, '[]');
    get diagnostics v_rows = row_count;
    return v_rows;
end
$$;
revoke all on function tds.erase_bodies(text, text, text[], bigint) from public;
comment on function tds.erase_bodies(text, text, text[], bigint) is
'Writes the finished bodies that name a contact anew, its records without what describes the person and the others as they are; what '
'cannot '
'be read is replaced.';

create or replace function tds.columns_of_codes() returns text[]
language sql immutable parallel safe
as $$
    select '{account,announced,asked_by,audience,change,check_name,column_name,content_type,credentials,currency,depth,endpoint,entity,
             error_code,event,feed,image_document_id,job,json_type,kind,measure,mend,of,operation,organization_id,outcome,outcomes,party_id,
             party_kind,period,purpose,queue,record_id,relation,report,requested_by,row_key,runner,seen_hash,severity,sha256,shape,source,
             state,status,step,table_name,target,unit,wanted_detail.reason,what,worst,zoho_id,zoho_item_id,zoho_warehouse_id}'::text[]
$$;
comment on function tds.columns_of_codes() is
'Columns of our own tables (one table''s: table.column) by which programs find their way: a code or an id, and no text about anybody.';

create or replace function tds.texts_of_tables(only_ours boolean) returns table (relation regclass, sets text, is_found text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    select c.oid::regclass,
           -- a number stays one
           string_agg(case when a.atttypid = 'text[]'::regtype
                           then format($sql$%1$I = (select array_agg(regexp_replace(regexp_replace(e, $1, '[forgotten]', 'gi'), $2, '0',
                               'g')
                                                                     order by n) from unnest(t.%1$I) with ordinality u(e, n))$sql$,
                                                                         a.attname)
                           else format($sql$%1$I = regexp_replace(regexp_replace(t.%1$I::text, %3$s, '[forgotten]', 'gi'), $2, '0',
                               'g')::%2$s$sql$,
                                       a.attname, format_type(a.atttypid, a.atttypmod), p.pattern) end, ', ' order by a.attnum),
           string_agg(format('t.%1$I::text ~* %2$s or t.%1$I::text ~ $2', a.attname, p.pattern), ' or ' order by a.attnum)
      from pg_class c
      join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
       and a.atttypid in ('text'::regtype, 'varchar'::regtype, 'json'::regtype, 'jsonb'::regtype, 'text[]'::regtype)
     cross join lateral (
           select case when a.atttypid in ('json'::regtype, 'jsonb'::regtype) then '$3' when a.atttypid = 'text[]'::regtype then '$1'
                       -- bodies, and records of dead letters, are texts
                       else format($sql$case when t.%1$I ~ '^\s*[{\[]' then $3 else $1 end$sql$, a.attname) end as pattern) p
     where c.relnamespace in ('tds'::regnamespace, 'zoho'::regnamespace) and c.relkind in ('r', 'p') and not c.relispartition
       and (c.relnamespace = 'tds'::regnamespace or not texts_of_tables.only_ours or c.relname = 'contact_addresses'
            or exists (select from tds.entity n
                         left join tds.child k on k.entity = n.entity
                        where c.relname in (n.target, k.target) and tds.partner_column(n.target) is not null))
       -- what is the program's own, and what is insert-only and holds numbers
       and c.relname <> all ('{sql_file,sql_hash,migration,entity,field,derived,child,link,endpoint,setting,job,health_check,heal_step,
            retention_rule,forgotten,history_rule,stock_history,api_key,api_token,api_account,beside,column_to_fill,gate,lease,measure,
            organization,own_shard,pgmq_install,reading_floor,report,report_measure,verified_sum}'::text[])
       -- a word of ours in a column by which programs find their way is nobody's
       and (c.relnamespace <> 'tds'::regnamespace
            or not array[a.attname::text, c.relname || '.' || a.attname] && tds.columns_of_codes())
     group by c.oid
     order by c.oid::regclass::text;
end
$$;
revoke all on function tds.texts_of_tables(boolean) from public;
comment on function tds.texts_of_tables(boolean) is
'Our tables that hold texts, with the SQL that replaces what $1 ($3 in JSON) and $2 find in them; only_ours: not those of goods.';

create or replace function tds.erase_words(words text[], only_ours boolean) returns table (relation regclass, changed bigint)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_texts  constant text[] := array(select w.word from unnest(erase_words.words) w(word) where w.word !~ '^[0-9]+$');
    v_words  constant text := tds.words_pattern(v_texts);
    v_json   constant text := tds.words_pattern(v_texts, true);
    v_digits constant text := tds.words_pattern(array(select w.word from unnest(erase_words.words) w(word) where w.word ~ '^[0-9]+$'));
    v_table  record;
begin
    if cardinality(erase_words.words) = 0 then
        return;
    end if;
    -- what is erased is not to come back by a crash
    perform tds.durably();
    for v_table in select t.relation, t.sets, t.is_found from tds.texts_of_tables(erase_words.only_ours) t loop
        execute format('update %s t set %s where (%s)%s', v_table.relation, v_table.sets, v_table.is_found,
                       case when erase_words.only_ours and v_table.relation = 'tds.inbox'::regclass
                            then ' and t.entity in (select n.entity from tds.entity n where tds.partner_column(n.target) is not null)'
                            else '' end)
          using v_words, v_digits, v_json;
        get diagnostics erase_words.changed = row_count;
        if erase_words.changed > 0 then
            erase_words.relation := v_table.relation;
            return next;
        end if;
    end loop;
end
$$;
revoke all on function tds.erase_words(text[], boolean) from public;
comment on function tds.erase_words(text[], boolean) is
'Replaces these words by [forgotten], and a number by 0, in every text, array and document of our tables; only_ours: not in those of '
'goods.';

create or replace function tds.erase_dead_letters(organization_id text, contact_id text, own_ids text[], words text[]) returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_kept    constant text[] := tds.bookkeeping_keys();
    v_pattern constant text := tds.words_pattern(erase_dead_letters.words);
    v_rows    bigint;
begin
    update tds.dead_letter l
       set record = case when l.record is not null
                         then coalesce(tds.without_person(tds.json_inside(l.record), '', 0, v_kept)::text, '{"forgotten": true}') end,
           value = case when l.value ~ '^-?[0-9]{1,6}([.,][0-9]+)?$' then l.value when l.value is not null then '[forgotten]' end,
           reason = regexp_replace(replace(l.reason, coalesce(nullif(l.value, ''), '[forgotten]'), '[forgotten]'), v_pattern, '[forgotten]',
               'gi'),
           error_context = regexp_replace(l.error_context, v_pattern, '[forgotten]', 'gi')
     where (l.organization_id = erase_dead_letters.organization_id or l.organization_id is null)
       and (l.zoho_id = any (erase_dead_letters.own_ids || erase_dead_letters.contact_id)
            or tds.names_id(concat_ws(' ', l.record, l.value), erase_dead_letters.contact_id));
    get diagnostics v_rows = row_count;
    return v_rows;
end
$$;
revoke all on function tds.erase_dead_letters(text, text, text[], text[]) from public;
comment on function tds.erase_dead_letters(text, text, text[], text[]) is
'Takes out of dead letters that are of a contact or its documents, or name it, what describes the person.';

create or replace function tds.refuse_while_open(organization_id text, contact_id text, own_ids text[]) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_open bigint[];
begin
    v_open := array(
        select o.inbox_id
          from tds.inbox_open o
          join tds.inbox i on i.received_at = o.received_at and i.inbox_id = o.inbox_id
         where (i.organization_id = refuse_while_open.organization_id or i.organization_id is null)
           and (i.record_id = any (refuse_while_open.own_ids || refuse_while_open.contact_id)
                or tds.names_id(i.body, refuse_while_open.contact_id))
         order by o.inbox_id);
    if v_open <> '{}' then
        raise exception using errcode = 'ZB045', message = 'bodies that name the person are not finished yet',
            detail = format('events %s', array_to_string(v_open[:10], ', ')),
            hint = 'CALL tds.process_batch(); then once more. What stays: select * from tds.inbox_open';
    end if;
end
$$;
revoke all on function tds.refuse_while_open(text, text, text[]) from public;
comment on function tds.refuse_while_open(text, text, text[]) is 'Raises ZB045 while events that name a contact are not finished.';

create or replace function tds.own_words(organization_id text, contact_id text, own_ids text[], after bigint)
returns table (word text, is_strong boolean)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    with told as materialized (
        select btrim(w.told) as word, bool_and(w.is_common) as is_common
          from tds.persons_words(own_words.organization_id, own_words.contact_id, own_words.own_ids, own_words.after) w
         group by 1
    ), shared as materialized (
        select s.word from unnest(tds.shared_words(own_words.organization_id, own_words.contact_id, array(select t.word
            from told t))) s(word)
    )
    select t.word, not t.is_common and (t.word ~ '@' or char_length(t.word) >= 8 or t.word ~ '\s' and char_length(t.word) >= 6)
      from told t
     where t.word <> all (own_words.own_ids || own_words.contact_id)
       and t.word not in (select s.word from shared s)
       -- a short number may be any other
       and not (t.word ~ '^[0-9., ]*$' and char_length(regexp_replace(t.word, '[^0-9]', '', 'g')) < 7);
end
$$;
revoke all on function tds.own_words(text, text, text[], bigint) from public;
comment on function tds.own_words(text, text, text[], bigint) is
'The words that are a person''s alone; is_strong: of a form that means nobody and nothing else.';

create or replace function tds.erase(organization_id text, contact_id text, after bigint, at timestamptz)
returns table (what text, changed bigint)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_own    constant text[] := array(select r.zoho_id from tds.person_records(erase.organization_id, erase.contact_id) r
                                       where r.target <> 'contacts' order by r.zoho_id);
    v_words  text[];
    v_strong text[];
    v_all    text[];
begin
    -- what is said of the person is known only until it is erased
    select coalesce(array_agg(w.word) filter (where not w.is_strong and char_length(w.word) >= 4), '{}'),
           coalesce(array_agg(w.word) filter (where w.is_strong), '{}'), coalesce(array_agg(w.word), '{}')
      into v_words, v_strong, v_all
      from tds.own_words(erase.organization_id, erase.contact_id, v_own, erase.after) w;
    if erase.after < 0 then
        return query select 'rows of the person and of the documents', tds.erase_rows(erase.organization_id, erase.contact_id, erase.at);
    end if;
    return query select 'bodies', tds.erase_bodies(erase.organization_id, erase.contact_id, v_own, erase.after);
    return query select 'dead letters', tds.erase_dead_letters(erase.organization_id, erase.contact_id, v_own, v_all);
    return query
    select format('mentions in %s', e.relation), sum(e.changed)::bigint
      from (select x.relation, x.changed from tds.erase_words(v_strong, false) x
            union all
            select x.relation, x.changed from tds.erase_words(v_words, true) x) e
     group by e.relation;
    -- bytes that are no text: what cannot be taken apart is replaced
    update tds.inbox i set body_raw = convert_to('{"forgotten": true}', 'UTF8')
     where i.body_raw is not null and replace(encode(i.body_raw, 'escape'), '\000', '') ~* tds.words_pattern(v_strong);
    update tds.drift d set sample = '[forgotten]' where btrim(d.sample, '"') = any (v_all);
end
$$;
revoke all on function tds.erase(text, text, bigint, timestamptz) from public;
comment on function tds.erase(text, text, bigint, timestamptz) is
'Erases what describes a contact: rows (after negative), bodies after that number, dead letters, and the person''s own words everywhere.';

create or replace function tds.organization_of_contact(contact_id text, organization_id text) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_known text[];
begin
    v_known := array(
        select c.organization_id from zoho.contacts c where c.zoho_contact_id = organization_of_contact.contact_id
         union
        select f.organization_id from tds.forgotten f where f.zoho_contact_id = organization_of_contact.contact_id
         union
        select i.organization_id from tds.inbox i
         where i.organization_id is not null and i.record_id = organization_of_contact.contact_id
           and i.entity in (select n.entity from tds.entity n where n.target = 'contacts'));
    if organization_of_contact.organization_id is not null then
        v_known := array(select k from unnest(v_known) k where k = organization_of_contact.organization_id);
    end if;
    if cardinality(v_known) <> 1 then
        raise exception using errcode = 'ZB044', message = case when v_known = '{}' then 'no such contact'
            else 'several organisations have it' end,
            detail = concat_ws(', ', organization_of_contact.contact_id, array_to_string(v_known, ', ')),
            hint = case when v_known = '{}' then 'select zoho_contact_id, name from zoho.contacts'
                        else 'name it: tds.forget(contact_id, organization_id)' end;
    end if;
    return v_known[1];
end
$$;
revoke all on function tds.organization_of_contact(text, text) from public;
comment on function tds.organization_of_contact(text, text) is
'The organisation that has a contact, or has forgotten it. Raises ZB044 where none or several have.';

create or replace function tds.note_for_vacuum(at timestamptz) returns int
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_table  record;
    v_tables int := 0;
begin
    for v_table in
        select n.nspname as schema, c.relname as name, c.relkind
          from pg_class c
          join pg_namespace n on n.oid = c.relnamespace
         where c.relkind in ('r', 'p')
           and (c.oid in (select t.relation from tds.texts_of_tables(true) t)
                or exists (select from pg_inherits h where h.inhrelid = c.oid and h.inhparent in (
                               select t.relation from tds.texts_of_tables(true) t)))
         order by 1, 2
    loop
        -- the planner's samples hold values, too
        execute format('analyze %I.%I', v_table.schema, v_table.name);
        if v_table.relkind = 'r' then
            insert into tds.vacuum_wish (relation, wished_at) values (format('%I.%I', v_table.schema, v_table.name), note_for_vacuum.at)
            on conflict on constraint vacuum_wish_pkey do nothing;
            v_tables := v_tables + 1;
        end if;
    end loop;
    return v_tables;
end
$$;
revoke all on function tds.note_for_vacuum(timestamptz) from public;
comment on function tds.note_for_vacuum(timestamptz) is
'Samples the tables that hold texts anew, and has the workers vacuum them, which no function can; returns how many.';

create or replace function tds.forget(contact_id text, organization_id text default null) returns table (what text, changed bigint,
    note text)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now    constant timestamptz := tds.now();
    v_id     constant text := tds.organization_of_contact(forget.contact_id, forget.organization_id);
    v_before tds.forgotten;
    v_report jsonb;
    v_tables int;
begin
    perform tds.lock_contacts(v_id);
    perform tds.refuse_while_open(v_id, forget.contact_id, array(select r.zoho_id from tds.person_records(v_id, forget.contact_id) r));
    select f.* into v_before from tds.forgotten f where f.organization_id = v_id and f.zoho_contact_id = forget.contact_id;
    -- from now on what comes of the person is stored without what describes whom
    insert into tds.forgotten as f (organization_id, zoho_contact_id, forgotten_at, forgotten_by, swept_to, report)
    values (v_id, forget.contact_id, v_now, session_user, coalesce((select max(i.inbox_id) from tds.inbox i), 0), '{}')
    on conflict on constraint forgotten_pkey do update set swept_to = excluded.swept_to;
    select jsonb_object_agg(e.what, e.changed) into v_report from tds.erase(v_id, forget.contact_id, -1, v_now) e;
    -- asked again, it is kept what was done in all
    update tds.forgotten f
       set report = (select jsonb_object_agg(k.key, k.changed)
                       from (select r.key, sum(r.value::bigint) as changed
                               from (select e.* from jsonb_each_text(v_report) e
                                     union all select e.* from jsonb_each_text(coalesce(v_before.report, '{}')) e) r
                              group by r.key order by r.key) k)
     where f.organization_id = v_id and f.zoho_contact_id = forget.contact_id;
    v_tables := tds.note_for_vacuum(v_now);
    return query
    select 'forgotten already'::text, 1::bigint, format('since %s, by %s', v_before.forgotten_at, v_before.forgotten_by)
     where v_before.forgotten_at is not null
     union all
    select e.key, e.value::bigint, 'erased'::text from jsonb_each_text(v_report) e where e.value <> '0'
     union all
    select format('%s kept', r.target), count(*), 'ids, numbers, days, statuses and sums, as the law of bookkeeping asks'
      from tds.person_records(v_id, forget.contact_id) r
     group by r.target
     union all
    select 'tables to vacuum', v_tables::bigint,
           'dead rows stay on the disk until then: the workers vacuum, or vacuum (analyze). Backups, WAL and the server''s log keep '
           'them longer';
end
$$;
revoke all on function tds.forget(text, text) from public;
grant execute on function tds.forget(text, text) to tds_operator;
comment on function tds.forget(text, text) is
'Erases a person''s data (docs/history.md): what describes the contact goes from its rows and documents, bodies, dead letters, samples, '
'history and messages; documents keep ids, numbers and sums. What comes of it later is stored without it too, until tds.remember(). '
'Returns what was done; asked again, since when it is forgotten, too. organization_id null: the one that has the contact. Raises ZB044 '
'where nobody knows it, ZB045 while events that name it are not finished.';

create or replace function tds.remember(contact_id text, organization_id text default null) returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_id   constant text := tds.organization_of_contact(remember.contact_id, remember.organization_id);
    v_type text;
begin
    delete from tds.forgotten f where f.organization_id = v_id and f.zoho_contact_id = remember.contact_id;
    if not found then
        return false;
    end if;
    v_type := (select c.contact_type from zoho.contacts c where c.organization_id = v_id
        and c.zoho_contact_id = remember.contact_id limit 1);
    -- what was known is erased; Zoho is asked what it says
    perform tds.want(case v_type when 'vendor' then 'vendors' else 'customers' end, remember.contact_id, v_id, 'remembered');
    return true;
end
$$;
revoke all on function tds.remember(text, text) from public;
grant execute on function tds.remember(text, text) to tds_operator;
comment on function tds.remember(text, text) is
'Takes tds.forget() back for what comes from now on: Zoho is asked for the contact, its documents come as they change or with a full '
'pull. Returns whether it was forgotten. Raises ZB044.';

create or replace function tds.forget_again() returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now    constant timestamptz := tds.now();
    -- what is not finished is looked at once it is
    v_to     constant bigint := coalesce((select min(o.inbox_id) - 1 from tds.inbox_open o), (select max(i.inbox_id) from tds.inbox i), 0);
    v_person tds.forgotten;
    v_rows   bigint := 0::bigint;
begin
    for v_person in
        select f.* from tds.forgotten f where f.swept_to < v_to order by f.organization_id, f.zoho_contact_id for update skip locked
    loop
        if exists (select from tds.person_bodies(v_person.organization_id, v_person.zoho_contact_id,
                                                 array(select r.zoho_id from tds.person_records(v_person.organization_id,
                                                     v_person.zoho_contact_id) r), v_person.swept_to)) then
            v_rows := v_rows + (select coalesce(sum(e.changed), 0)::bigint
                                  from tds.erase(v_person.organization_id, v_person.zoho_contact_id, v_person.swept_to, v_now) e);
        end if;
        update tds.forgotten f set swept_to = v_to
         where f.organization_id = v_person.organization_id and f.zoho_contact_id = v_person.zoho_contact_id;
    end loop;
    return v_rows;
end
$$;
revoke all on function tds.forget_again() from public;
grant execute on function tds.forget_again() to tds_worker, tds_operator;
comment on function tds.forget_again() is
'Takes out of the bodies that came since, and are finished, what describes persons who were forgotten; a job. Returns how much that was.';

insert into tds.job (job, schedule, command, description) values
    ('forget_again', '*/5 * * * *', 'select tds.forget_again()',
     'Takes out of bodies that came since what describes persons who were forgotten.')
on conflict on constraint job_pkey do update
   set command = excluded.command, description = excluded.description
 where (tds.job.command, tds.job.description) is distinct from (excluded.command, excluded.description);

grant select on tds.forgotten to tds_reader, tds_operator;
