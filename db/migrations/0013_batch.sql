-- depends: 0007_trust
-- A record's place in its batch: the event's number in the upper half, its own in the lower, so that nobody has to count the
-- records of the events before it.

alter type tds.record alter attribute ord type bigint cascade;
alter type tds.verdict alter attribute ord type bigint cascade;
alter type tds.event alter attribute first_ord type bigint cascade;
comment on type tds.event is
'An event in work: its body parsed once (records, an array), and its number in its batch, shifted by 32 bits (first_ord), so that its '
'n-th record is the batch''s first_ord + n-th. modified_at: the version that a detail without a last_modified_time inherits from '
'what asked for it.';

-- made anew with other arguments or results
do $$
declare
    v_function regprocedure;
begin
    for v_function in
        select p.oid from pg_proc p
         where p.pronamespace = 'tds'::regnamespace
           and (p.proname in ('explode', 'registers', 'fold', 'culprits', 'suspects', 'insert_events', 'insert_new', 'apply_events',
                              'resolve_dead_letters', 'apply_claim')
                or p.proname like any (array['culprits\_%', 'suspects\_%', 'insert\_%']))
    loop
        execute format('drop function %s cascade', v_function);
    end loop;
end
$$;
