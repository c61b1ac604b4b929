create or replace function tds.make_switch(
    name text, arguments text, returns text, volatility text, comment text, target text, call text) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    perform tds.make(make_switch.name, 'entity text, ' || make_switch.arguments, make_switch.returns, make_switch.volatility, make_switch.comment,
        format($body$
begin
    case %1$s.entity%2$s
    else
        perform tds.entity_named(%1$s.entity);
        raise case_not_found using message = 'registered after the functions were made', detail = %1$s.entity, hint = 'select tds.build()';
    end case;
end
$body$,
            make_switch.name,
            (select string_agg(format(E'\n    when %L then\n        ', n.entity)
                               || case when exists (select from pg_proc f where f.pronamespace = 'tds'::regnamespace
                                                       and f.proname = replace(make_switch.target, '{entity}', n.entity))
                                       then replace(make_switch.call, '{entity}', n.entity) else 'return;' end, '' order by n.entity)
               from tds.entity n)));
end
$$;
revoke all on function tds.make_switch(text, text, text, text, text, text, text) from public;
comment on function tds.make_switch(text, text, text, text, text, text, text) is
'Makes a function that calls another one by the name of the entity: target is its name, call a statement, both with {entity} in '
'them; an entity that has no such function returns at once.';

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
        perform tds.make_culprits(v_entity);
        perform tds.make_linker(v_entity);
        perform tds.make_deriver(v_entity);
        perform tds.make_checker(v_entity);
        perform tds.make_comparison(v_entity);
    end loop;
    perform tds.make_switch('write_states', 'organization_id text, states tds.record_state[], at timestamptz', 'text[]', 'volatile',
                            'tds.write_<entity>(): writes resolved states, returns the ids written.',
                            'write_{entity}', 'return tds.write_{entity}(write_states.organization_id, write_states.states, write_states.at);');
    perform tds.make_switch('insert_events',
                            'organization_id text, inbox_ids bigint[], received_ats timestamptz[], events tds.event[], skip bigint[], at timestamptz, '
                            'out verdicts tds.verdict[], out rest tds.record[], out begun int',
                            'record', 'volatile',
                            'tds.insert_<entity>(): the short way of what is new or unchanged, from the inbox or from events parsed already.',
                            'insert_{entity}', 'select n.verdicts, n.rest, n.begun into insert_events.verdicts, insert_events.rest, insert_events.begun from tds.insert_{entity}('
                            'insert_events.organization_id, insert_events.inbox_ids, insert_events.received_ats, insert_events.events, insert_events.skip, '
                            'insert_events.at) n;');
    perform tds.make_switch('meet', 'organization_id text, records tds.record[]', 'setof tds.meeting', 'stable',
                            'Each record beside the row it meets: unchanged; new; over (newer than every version the row has, so that each of its keys '
                            'wins); or fold, what only tds.fold() can tell. Takes no lock.',
                            'meet_{entity}', 'return query select m.* from tds.meet_{entity}(meet.organization_id, meet.records) m;');
    perform tds.make_switch('suspects', 'events tds.event[]', 'bigint[]', 'stable',
                            'tds.suspects_<entity>(): the ords of the records of a batch that may be unreadable.',
                            'suspects_{entity}', 'return tds.suspects_{entity}(suspects.events);');
    perform tds.make_switch('culprits', 'records tds.record[]', 'table (ord bigint, path text, value text, reason text)', 'stable',
                            'tds.culprits_<entity>(): what the strict readers refuse, and why.',
                            'culprits_{entity}', 'return query select c.ord, c.path, c.value, c.reason from tds.culprits_{entity}(culprits.records) c;');
    perform tds.make_switch('link_rows', 'organization_id text, zoho_ids text[]', 'void', 'volatile',
                            'tds.link_<entity>(): links these records with the rows they name and the rows that name them.',
                            'link_{entity}', 'perform tds.link_{entity}(link_rows.organization_id, link_rows.zoho_ids);');
    perform tds.make_switch('check_anew', 'organization_id text, zoho_currency_id text, codes text[]', 'void', 'volatile',
                            'tds.check_<entity>(): makes the arithmetic checks of documents in a currency anew.',
                            'check_{entity}', 'perform tds.check_{entity}(check_anew.organization_id, check_anew.zoho_currency_id, check_anew.codes);');
    perform tds.make_switch('stored_states', 'organization_id text, after text, batch int', 'tds.record_state[]', 'stable',
                            'tds.stored_<entity>(): the next rows as states.',
                            'stored_{entity}', 'return tds.stored_{entity}(stored_states.organization_id, stored_states.after, stored_states.batch);');
    perform tds.make_switch('derive_states', 'organization_id text, states tds.record_state[]', 'setof tds.derivation', 'stable',
                            'tds.derive_<entity>(): rows as they are and as the mapping makes them.',
                            'derive_{entity}', 'return query select v.* from tds.derive_{entity}(derive_states.organization_id, derive_states.states) v;');
    perform tds.make_switch('compare_records', 'organization_id text, pages jsonb[]', 'setof tds.compared', 'stable',
                            'tds.compare_<entity>(): the records of pages of Zoho''s list beside the rows of the mirror.',
                            'compare_{entity}', 'return query select v.* from tds.compare_{entity}(compare_records.organization_id, compare_records.pages) v;');
end
$$;
revoke all on function tds.build() from public;
comment on function tds.build() is
'Makes the functions that write and verify the mirror, from the mapping: for each entity write_…, insert_…, meet_…, culprits_…, link_…, stored_…, '
'derive_…, check_…, compare_…, and the switches that call them by the entity''s name; read them with \sf.';

select tds.build();
