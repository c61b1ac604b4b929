create or replace function tds.record_now(entity text, zoho_id text, organization_id text default null)
returns setof tds.standing
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_entity constant tds.entity := tds.entity_named(record_now.entity);
    v_names  constant text[] := tds.namesakes(record_now.entity);
begin
    return query execute format(
        $sql$
        select organization_id, m.organization_id is not null, m.sync_version, m.sync_modified_at, m.sync_observed_at, m.synced_at,
            m.deleted_at,
               w.wanted_at, w.reason, w.error, l.numbers
          from (select m.* from zoho.%1$I m where m.%2$I = $1) m
          full join (select distinct on (w.organization_id) w.* from tds.wanted_detail w
                      where w.zoho_id = $1 and w.entity = any ($2) order by w.organization_id, w.wanted_at desc) w using (organization_id)
          full join (select l.organization_id, array_agg(l.dead_letter_id order by l.dead_letter_id) as numbers from tds.dead_letter l
                      where l.resolved_at is null and l.zoho_id = $1 and l.entity = any ($2) group by l.organization_id) l
                          using (organization_id)
         where $3 is null or organization_id = $3
         order by organization_id
        $sql$, v_entity.target, v_entity.target_key)
        using record_now.zoho_id, v_names, record_now.organization_id;
end
$$;
revoke all on function tds.record_now(text, text, text) from public;
comment on function tds.record_now(text, text, text) is
'How a record stands: its row''s version and times, whether its detail is wanted, and the dead letters that wait. organization_id null: '
'any. Raises ZB002.';

grant execute on function tds.record_now(text, text, text) to tds_reader, tds_operator;
