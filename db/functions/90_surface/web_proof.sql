-- The pages of what differs: from Zoho's own reports, and from the documents that are stored.

create or replace function tds.dashboard_discrepancies(report text, before bigint, at_most int default 50) returns jsonb
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now  constant timestamptz := tds.now();
    v_most constant int := least(dashboard_discrepancies.at_most, 200);
begin
    return jsonb_build_object(
        'at', v_now, 'sql', tds.sql_of('discrepancies'), 'most', v_most,
        'reports', (select coalesce(jsonb_agg(to_jsonb(c) order by c.report), '[]')
                      from (select d.report, count(*) as figures, count(*) filter (where tds.is_noted(d)) as noted
                              from tds.discrepancy d where d.resolved_at is null group by d.report) c),
        'discrepancies', (
            select coalesce(jsonb_agg(to_jsonb(l) - 'documents' || jsonb_build_object(
                                          'documents', jsonb_path_query_array(l.documents, '$[0 to 2]'),
                                          'documents_all', jsonb_array_length(l.documents)) order by l.discrepancy_id desc), '[]')
              from (select v.* from public.tds_discrepancies v
                     where (dashboard_discrepancies.report is null or v.report = dashboard_discrepancies.report)
                       and (dashboard_discrepancies.before is null or v.discrepancy_id < dashboard_discrepancies.before)
                     order by v.discrepancy_id desc limit v_most) l),
        'waiting', (select count(*) from tds.reconcile_run r where r.finished_at is null),
        'comparisons', (select coalesce(jsonb_agg(to_jsonb(l) order by l.reconcile_id desc), '[]')
                          from (select v.* from public.tds_consistency v order by v.reconcile_id desc limit 10) l));
end
$$;
revoke all on function tds.dashboard_discrepancies(text, bigint, int) from public;
comment on function tds.dashboard_discrepancies(text, bigint, int) is
'The page of the discrepancies that are open, newest first: of a report, older than one; null: any. And the last comparisons.';

create or replace function tds.dashboard_discrepancy(discrepancy_id bigint) returns jsonb
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_found tds.discrepancy;
begin
    select d.* into v_found from tds.discrepancy d where d.discrepancy_id = dashboard_discrepancy.discrepancy_id;
    if v_found.discrepancy_id is null then
        perform tds.no_discrepancy(dashboard_discrepancy.discrepancy_id);
    end if;
    return jsonb_build_object(
        'at', tds.now(),
        'sql', jsonb_build_object('discrepancy', format('select * from tds.discrepancy where discrepancy_id = %s;',
                                                        v_found.discrepancy_id)),
        'most', 100,
        'discrepancy', to_jsonb(v_found) - 'documents' || jsonb_build_object(
            'documents', jsonb_path_query_array(v_found.documents, '$[0 to 99]'),
            'documents_all', jsonb_array_length(v_found.documents),
            'note_command', format('select tds.note_discrepancy(%s, ''…'');', v_found.discrepancy_id)));
end
$$;
revoke all on function tds.dashboard_discrepancy(bigint) from public;
comment on function tds.dashboard_discrepancy(bigint) is
'The page of one discrepancy, open or not, with the first hundred documents that explain it. Raises ZB063.';

create or replace function tds.api_note_discrepancy(discrepancy_id bigint, note text, requested_by text) returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform tds.note_discrepancy(api_note_discrepancy.discrepancy_id, api_note_discrepancy.note);
    update tds.discrepancy d
       set noted_by = 'API key ' || api_note_discrepancy.requested_by
     where d.discrepancy_id = api_note_discrepancy.discrepancy_id;
    return api_note_discrepancy.discrepancy_id;
end
$$;
revoke all on function tds.api_note_discrepancy(bigint, text, text) from public;
comment on function tds.api_note_discrepancy(bigint, text, text) is
'tds.note_discrepancy() for the holder of an API key; returns its number. Raises ZB063.';

create or replace function tds.dashboard_verification(entity text, at_most int default 100) returns jsonb
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now  constant timestamptz := tds.now();
    v_most constant int := least(dashboard_verification.at_most, 500);
begin
    return jsonb_build_object(
        'at', v_now, 'sql', tds.sql_of('verification'), 'most', v_most,
        'counts', (select coalesce(jsonb_agg(to_jsonb(c) order by c.entity), '[]')
                     from (select d.entity, count(*) as differences, min(d.since) as since
                             from tds.verification_difference d where d.closed_at is null group by d.entity) c),
        'differences', (
            select coalesce(jsonb_agg(to_jsonb(l) || jsonb_build_object('ours', left(l.ours #>> '{}', 200),
                                                                       'should_be', left(l.should_be #>> '{}', 200))
                                      order by l.entity, l.organization_id, l.zoho_id, l.table_name, l.row_key, l.column_name), '[]')
              from (select v.* from public.tds_differences v
                     where dashboard_verification.entity is null or v.entity = dashboard_verification.entity
                     order by v.entity, v.organization_id, v.zoho_id, v.table_name, v.row_key, v.column_name limit v_most) l),
        'verifications', (select coalesce(jsonb_agg(to_jsonb(l) order by l.verification_id desc), '[]')
                            from (select v.* from public.tds_verifications v order by v.verification_id desc limit 10) l));
end
$$;
revoke all on function tds.dashboard_verification(text, int) from public;
comment on function tds.dashboard_verification(text, int) is
'The page of the verifications: the last ones, and the first so many differences that are open, of an entity or of any (null), each with '
'the command that mends it.';

grant execute on function
    tds.dashboard_discrepancies(text, bigint, int), tds.dashboard_discrepancy(bigint), tds.dashboard_verification(text, int)
    to tds_receiver, tds_operator;
grant execute on function tds.api_note_discrepancy(bigint, text, text) to tds_receiver;
