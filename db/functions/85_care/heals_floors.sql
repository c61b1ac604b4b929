create or replace function tds.heal_floors(dry_run boolean) returns setof tds.healed
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_queue text;
    v_floor tds.queue_floor;
    v_below bigint;
begin
    for v_queue in select distinct f.queue from tds.queue_floor f order by f.queue loop
        continue when to_regclass(format('pgmq.%I', 'q_' || tds.queue_name(v_queue))) is null;
        v_floor := tds.queue_floor(v_queue);
        execute format('select count(*) from %s m where m.msg_id < $1 and m.msg_id <> all ($2)', tds.queue_table(v_queue))
           into v_below using v_floor.floor, v_floor.aside;
        continue when v_below = 0;
        if not heal_floors.dry_run then
            perform tds.forget_floor(v_queue);
        end if;
        return next row('queue ' || v_queue, format('began its reading at the beginning: %s messages lay below its floor', v_below), true,
                        format('floor: %s', v_floor.floor))::tds.healed;
    end loop;
end
$$;
revoke all on function tds.heal_floors(boolean) from public;
comment on function tds.heal_floors(boolean) is
'Step: has queues read from their beginning again, where messages lie below the floor, as numbers that somebody entered by hand.';
select tds.register_heal('floors', 48, 'Has queues read from their beginning again where messages lie below where reading begins.');
grant execute on function tds.heal_floors(boolean) to tds_worker, tds_operator;
