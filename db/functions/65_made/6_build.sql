create or replace function tds.switched_call(name text, arguments text, returns text, target text) returns text
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_argument record;
begin
    select string_agg(format('%I.%I', switched_call.name, w.words[1]), ', ' order by a.n) filter (where w.words[1] <> 'out') as given,
           string_agg(format('%I.%I', switched_call.name, w.words[2]), ', ' order by a.n) filter (where w.words[1] = 'out') as kept,
           string_agg(format('v.%I', w.words[2]), ', ' order by a.n) filter (where w.words[1] = 'out') as told
      into v_argument
      from unnest(string_to_array(switched_call.arguments, ', ')) with ordinality a(argument, n)
     cross join lateral string_to_array(a.argument, ' ') w(words);
    return tds.fill(
        case when switched_call.returns = 'void' then 'perform {{call}};'
             when switched_call.returns = 'record' then format(E'select %s\n          into %s\n          from {{call}} v;',
                                                                  v_argument.told, v_argument.kept)
             when switched_call.returns ~ '^(setof|table) ' then 'return query select v.* from {{call}} v;'
             else 'return {{call}};' end,
        jsonb_build_object('call', format('tds.%I(%s)', switched_call.target, v_argument.given)));
end
$$;
comment on function tds.switched_call(text, text, text, text) is
'The statement by which a function hands its arguments to another one of the same arguments and results.';

create or replace function tds.make_switch(
    name text, arguments text, returns text, volatility text, target text, comment text) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    perform tds.make(
        make_switch.name, 'entity text, ' || make_switch.arguments, make_switch.returns, make_switch.volatility,
        make_switch.comment || ' Made by tds.make_switch() from tds.entity.',
        tds.fill($body$
begin
    case {{me:I}}.entity{{branches}}
    else
        perform tds.entity_named({{me:I}}.entity);
        raise case_not_found using message = 'registered after the functions were made', detail = {{me:I}}.entity,
            hint = 'select tds.build()';
    end case;
end
$body$,
            jsonb_build_object('me', make_switch.name, 'branches', (
                select string_agg(tds.fill(E'\n    when {{entity:L}} then\n        {{statement}}', jsonb_build_object(
                           'entity', n.entity,
                           'statement', case when f.oid is null then 'return;'
                                             else tds.switched_call(make_switch.name, make_switch.arguments, make_switch.returns,
                                                                    make_switch.target || n.entity) end)), '' order by n.entity)
                  from tds.entity n
                  left join pg_proc f on f.pronamespace = 'tds'::regnamespace and f.proname = make_switch.target || n.entity))));
end
$$;
revoke all on function tds.make_switch(text, text, text, text, text, text) from public;
comment on function tds.make_switch(text, text, text, text, text, text) is
'Makes a function that hands its arguments to another one by the name of the entity, which is the end of the other''s name (target is '
'its beginning); an entity that has no such function returns at once.';

create or replace function tds.make_switches() returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    perform tds.make_switch('write_states',
        'organization_ids text[], states tds.record_state[], at timestamptz', 'bigint[]', 'volatile', 'write_',
        'tds.write_<entity>(): writes resolved states, each of the organisation told beside it, returns the places of those written.');
    perform tds.make_switch('insert_events',
        'inbox_ids bigint[], received_ats timestamptz[], events tds.event[], skip bigint[], at timestamptz, '
        'out verdicts tds.verdict[], out rest tds.record[], out begun int', 'record', 'volatile', 'insert_',
        'tds.insert_<entity>(): the short way of what is new or unchanged, from the inbox or from events parsed already.');
    perform tds.make_switch('meet', 'records tds.record[]', 'setof tds.meeting', 'stable', 'meet_',
        'Each record beside the row it meets: unchanged; new; over (newer than every version the row has, so that each of its keys '
        'wins); or fold, what only tds.fold() can tell. Takes no lock.');
    perform tds.make_switch('suspects', 'events tds.event[]', 'bigint[]', 'stable', 'suspects_',
        'tds.suspects_<entity>(): the ords of the records of a batch that may be unreadable.');
    perform tds.make_switch('culprits',
        'records tds.record[]', 'table (ord bigint, path text, value text, reason text)', 'stable', 'culprits_',
        'tds.culprits_<entity>(): what the strict readers refuse, and why.');
    perform tds.make_switch('link_rows', 'organization_ids text[], zoho_ids text[]', 'void', 'volatile', 'link_',
        'tds.link_<entity>(): links these records with the rows they name and the rows that name them.');
    perform tds.make_switch('check_anew', 'organization_id text, zoho_currency_id text, codes text[]', 'void', 'volatile', 'check_',
        'tds.check_<entity>(): makes the arithmetic checks of documents in a currency anew.');
    perform tds.make_switch('stored_states', 'organization_id text, after text, batch int', 'tds.record_state[]', 'stable', 'stored_',
        'tds.stored_<entity>(): the next rows as states.');
    perform tds.make_switch('derive_states', 'organization_id text, states tds.record_state[]', 'setof tds.derivation', 'stable', 'derive_',
        'tds.derive_<entity>(): rows as they are and as the mapping makes them.');
    perform tds.make_switch('compare_records', 'organization_id text, pages jsonb[]', 'setof tds.compared', 'stable', 'compare_',
        'tds.compare_<entity>(): the records of pages of Zoho''s list beside the rows of the mirror.');
    perform tds.make_switch('whole_rows',
        'organization_id text, states tds.record_state[], written text[], at timestamptz', 'void', 'volatile', 'whole_',
        'tds.whole_<entity>(): what is made beside records whose rows were written.');
    perform tds.make_switch('orphans', 'of_organization text',
        'table (organization_id text, zoho_id text, table_name text, row_key text, ours jsonb)', 'stable', 'orphans_',
        'tds.orphans_<entity>(): rows that hang on records which the mirror has not.');
    perform tds.make_switch('delete_orphans', 'of_organization text, zoho_ids text[]', 'table (organization_id text, zoho_id text)',
        'volatile', 'delete_orphans_', 'tds.delete_orphans_<entity>(): deletes rows that hang on records which the mirror has not.');
end
$$;
revoke all on function tds.make_switches() from public;
comment on function tds.make_switches() is 'Makes the functions that call those of an entity by its name.';

create or replace function tds.build() returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_entity text;
begin
    for v_entity in select n.entity from tds.entity n order by n.entity loop
        perform tds.make_child_writers(v_entity);
        perform tds.make_writer(v_entity);
        perform tds.make_inserter(v_entity);
        perform tds.make_meeting(v_entity);
        perform tds.make_suspects(v_entity);
        perform tds.make_culprits(v_entity);
        perform tds.make_linker(v_entity);
        perform tds.make_stored(v_entity);
        perform tds.make_deriver(v_entity);
        perform tds.make_checker(v_entity);
        perform tds.make_comparison(v_entity);
        perform tds.make_whole(v_entity);
        perform tds.make_orphans(v_entity);
    end loop;
    perform tds.make_switches();
end
$$;
revoke all on function tds.build() from public;
comment on function tds.build() is
'Makes the functions that write and verify the mirror, from the mapping: for each entity write_…, insert_…, meet_…, suspects_…, '
'culprits_…, link_…, stored_…, derive_…, check_…, compare_…, '
'whole_…, orphans_…, delete_orphans_…, and the switches that call them by the entity''s '
'name; read them with \sf.';

select tds.build();
