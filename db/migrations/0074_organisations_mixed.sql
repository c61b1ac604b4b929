-- A batch holds records of any number of organisations: an event in work says whose it is, and so does each of its records.
-- depends: 0073_looked_at_once

alter type tds.event add attribute organization_id text;
comment on type tds.event is
'An event in work: its body parsed once (records, an array), and its number in its batch, shifted by 32 bits (first_ord), so that its '
'n-th record is the batch''s first_ord + n-th. modified_at: the version that a detail without a last_modified_time inherits from '
'what asked for it. look_closer: whether its body may hold a number of more digits than the setting number_digits '
'(tds.has_long_number()). organization_id: whose it is.';

alter type tds.record add attribute organization_id text;
comment on type tds.record is
'A record on its way through: the ord-th of its batch, the position-th of its event (alone: the only one), with its '
'version (modified_at: Zoho''s last_modified_time; observed_at: when the request was sent or the webhook came; '
'rank: 1 list, 2 webhook, 3 detail). organization_id: whose it is.';

alter type tds.verdict add attribute organization_id text;
comment on type tds.verdict is
'What became of a record: applied, unchanged, stale, retried, parked or dead; its version; why its detail is wanted, if it '
'is, and from when; unsettled: last_modified_time could not decide, so later reads of the record are looked at once more. organization_id: '
'whose it is.';

comment on column tds.entity.prepare is 'Function called before states are written: tds.<prepare>(organization_ids, states).';
comment on column tds.entity.complete is 'Function called after rows were written: tds.<complete>(organization_ids, zoho_ids, at).';

-- those that took one organisation
do $$
declare
    v_name text;
begin
    for v_name in
        select p.oid::regprocedure::text
          from pg_proc p
         where p.pronamespace = 'tds'::regnamespace
           and (p.proname like any (array['insert\_%', 'link\_%'])
                and pg_get_function_identity_arguments(p.oid)
                    ~ '^(entity text, )?organization_id text, (inbox_ids bigint|zoho_ids text)\[\]'
                or p.proname like 'meet%'
                and pg_get_function_identity_arguments(p.oid) ~ '^(entity text, )?organization_id text, records tds.record\[\]'
                or p.proname like 'write\_%' and p.proname <> 'write_whole'
                and pg_get_function_identity_arguments(p.oid) ~ '^(entity text, )?organization_id text, states tds.record_state\[\]')
         order by 1
    loop
        execute format('drop function %s', v_name);
    end loop;
end
$$;
drop function if exists tds.link_apart(text, text, text[]);
drop function if exists tds.insert_new(tds.entity, text, bigint[], timestamptz[], tds.event[], bigint[], timestamptz);
drop function if exists tds.apply_events(tds.entity, text, bigint[], timestamptz[], boolean, timestamptz, timestamptz);
drop function if exists tds.apply_isolated(tds.entity, text, tds.record[], timestamptz, timestamptz);
drop function if exists tds.apply_records(tds.entity, text, tds.record[], timestamptz);
drop function if exists tds.apply_resolved(tds.entity, text, tds.record[], timestamptz);
drop function if exists tds.resolve(tds.entity, text, tds.record[]);
drop function if exists tds.settle(tds.entity, text, tds.record[], timestamptz);
drop function if exists tds.leave_locked(tds.entity, text, tds.record[], timestamptz);
drop function if exists tds.go_on_alone(text, tds.record[], text, text, text, timestamptz);
drop function if exists tds.prepare_contacts(text, tds.record_state[]);
drop function if exists tds.told_stock_levels(text, text[], timestamptz);
drop function if exists tds.write_stock_levels(text, text[], timestamptz);
drop function if exists tds.told_contact_addresses(text, text[], timestamptz);
drop function if exists tds.write_contact_addresses(text, text[], timestamptz);
drop function if exists tds.want_adjusted(text, text[], timestamptz);
drop function if exists tds.told_product_prices(text, text[], timestamptz);
drop function if exists tds.write_product_prices(text, text[], timestamptz, boolean);
drop function if exists tds.resolve_dead_letters(tds.entity, text, bigint[], timestamptz[], tds.verdict[], timestamptz);
drop function if exists tds.note_life(tds.entity, text, tds.verdict[], timestamptz);
drop function if exists tds.note_wants(tds.entity, text, tds.verdict[], bigint[], timestamptz[]);
drop function if exists tds.pace_unknown(tds.entity, text, text[], timestamptz);
