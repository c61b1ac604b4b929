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
        perform tds.make_culprits(v_entity);
        perform tds.make_linker(v_entity);
    end loop;
end
$$;
revoke all on function tds.build() from public;
comment on function tds.build() is
'Makes the functions that write the mirror, from the mapping: for each entity write_…, insert_…, culprits_…, link_…; read them with \sf.';

select tds.build();
