create or replace function tds.heal_floors(dry_run boolean) returns setof tds.healed
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_relation text;
    v_floor    tds.reading_floor;
    v_below    bigint;
begin
    for v_relation in select distinct f.relation from tds.reading_floor f order by f.relation loop
        continue when to_regclass(v_relation) is null;
        v_floor := tds.floor_of(v_relation);
        execute format('select count(*) from %2$s m where m.%1$I < $1 and m.%1$I <> all ($2)',
                       tds.identity_column(v_relation::regclass), v_relation::regclass)
           into v_below using v_floor.floor, v_floor.aside;
        continue when v_below = 0;
        if not heal_floors.dry_run then
            perform tds.forget_floor(v_relation);
        end if;
        return next row('table ' || v_relation, format('began its reading at the beginning: %s rows lay below its floor', v_below), true,
                        format('floor: %s', v_floor.floor))::tds.healed;
    end loop;
end
$$;
revoke all on function tds.heal_floors(boolean) from public;
comment on function tds.heal_floors(boolean) is
'Step: has tables read from their beginning again, where rows lie below the floor, as messages with numbers that somebody entered by hand.';
select tds.register_heal('floors', 48, 'Has queues read from their beginning again where messages lie below where reading begins.');
grant execute on function tds.heal_floors(boolean) to tds_worker, tds_operator;
