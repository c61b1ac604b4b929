-- The frame of the healing. One more step is a function tds.heal_<step>(at timestamptz, dry_run boolean) returns setof tds.healed (or
-- tds.heal_<step>(dry_run boolean), where it needs no clock), and one call of tds.register_heal(); see heals_*.sql.

create or replace function tds.register_heal(step text, "position" int, description text, function_name text default null) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_name constant text := coalesce(register_heal.function_name, 'heal_' || register_heal.step);
begin
    insert into tds.heal_step as s (step, position, function_name, description)
    values (register_heal.step, register_heal.position,
            coalesce(to_regprocedure(format('tds.%I(timestamptz, boolean)', v_name)),
                     to_regprocedure(format('tds.%I(boolean)', v_name)))::text,
            register_heal.description)
    on conflict on constraint heal_step_pkey do update
       set position = excluded.position, function_name = excluded.function_name, description = excluded.description;
end
$$;
revoke all on function tds.register_heal(text, int, text, text) from public;
comment on function tds.register_heal(text, int, text, text) is
'Enters a step of tds.heal(): its function is tds.heal_<step>(at timestamptz, dry_run boolean) or tds.heal_<step>(dry_run boolean) unless '
'another is named, and has to be there.';

create or replace function tds.heal_steps() returns setof tds.heal_step
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return query select s.* from tds.heal_step s order by s.position, s.step;
end
$$;
revoke all on function tds.heal_steps() from public;
comment on function tds.heal_steps() is 'The steps of tds.heal() in their order.';

create or replace function tds.note_healed(step text, acts tds.healed[], at timestamptz) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    insert into tds.heal_log (healed_at, step, subject, act, ok, detail)
    select note_healed.at, note_healed.step, left(a.subject, 500), left(a.act, 500), a.ok, left(a.detail, 1000)
        from unnest(note_healed.acts) a;
end
$$;
revoke all on function tds.note_healed(text, tds.healed[], timestamptz) from public;
comment on function tds.note_healed(text, tds.healed[], timestamptz) is 'Writes acts of healing into tds.heal_log.';

create or replace function tds.heal(dry_run boolean default false)
returns table (step text, subject text, act text, ok boolean, detail text)
language plpgsql volatile
-- with the caller's rights: a step that ends sessions needs those of whoever calls; the others bring their own
set search_path = pg_catalog, pg_temp
set lock_timeout = '1s'
as $$
declare
    v_now  constant timestamptz := tds.now();
    v_step tds.heal_step;
    v_acts tds.healed[];
begin
    if not coalesce(heal.dry_run, false) then
        perform tds.refuse_read_only();
    end if;
    perform tds.our_terms('1s', true);
    for v_step in select s.* from tds.heal_steps() s loop
        begin
            execute format('select coalesce(array_agg(h), ''{}'') from %s(%s) h', v_step.function_name::regprocedure::regproc,
                           case when v_step.function_name like '%(boolean)' then '$2' else '$1, $2' end)
               into v_acts using v_now, coalesce(heal.dry_run, false);
        exception when query_canceled or assert_failure or others then
            v_acts := array[row(
                v_step.function_name, 'step failed', false,
                sqlstate || ' ' || sqlerrm || case when sqlstate = '57014' then '; set statement_timeout = 0, and again' else '' end
            )::tds.healed];
        end;
        if not coalesce(heal.dry_run, false) and v_acts <> '{}' then
            perform tds.note_healed(v_step.step, v_acts, v_now);
        end if;
        return query select v_step.step, a.subject, a.act, a.ok, a.detail from unnest(v_acts) a;
    end loop;
end
$$;
revoke all on function tds.heal(boolean) from public;
comment on function tds.heal(boolean) is
'Mends what can be mended, step by step (tds.heal_step); returns a row an act, and writes it into tds.heal_log. A step that fails is a row '
'with ok false, and the others go on. Each does a bounded amount; the job heal comes again. dry_run: only tells what it would do.';

create or replace view public.tds_healed as
select h.healed_at, h.step, h.subject, h.act, h.ok, h.detail from tds.heal_log h;
comment on view public.tds_healed is 'What was mended, a row an act.';
comment on column public.tds_healed.healed_at is 'When.';
comment on column public.tds_healed.step is 'The step of tds.heal().';
comment on column public.tds_healed.subject is 'To whom or what.';
comment on column public.tds_healed.act is 'What was done.';
comment on column public.tds_healed.ok is 'Whether it was possible.';
comment on column public.tds_healed.detail is 'What there is to say.';

grant execute on function tds.heal(boolean), tds.heal_steps(), tds.note_healed(text, tds.healed[], timestamptz), tds.now() to tds_worker,
    tds_operator;

insert into tds.job (job, schedule, command, description) values
    ('heal', '*/5 * * * *', 'select * from tds.heal()', 'Mends what can be mended.')
on conflict on constraint job_pkey do update
   set command = excluded.command, description = excluded.description
 where (tds.job.command, tds.job.description) is distinct from (excluded.command, excluded.description);
