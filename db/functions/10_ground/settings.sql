create or replace function tds.setting_text(name text) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return (select s.value #>> '{}' from tds.setting s where s.name = setting_text.name);
end
$$;
comment on function tds.setting_text(text) is 'A setting as text, null where it is unset.';

create or replace function tds.setting_int(name text) returns int
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_value constant text := tds.setting_text(setting_int.name);
begin
    if v_value is null then
        raise exception using errcode = 'ZB005', message = 'setting missing', detail = setting_int.name,
            hint = 'select * from tds.setting';
    end if;
    return v_value::int;
end
$$;
comment on function tds.setting_int(text) is 'A setting as a whole number. Raises ZB005 where there is none.';

insert into tds.setting (name, value, description) values
    ('organization_id', '"default"', 'Organisation of events that name none themselves: set it to your Zoho organization id.'),
    ('max_attempts', '5', 'Failures attributed to one event before it becomes a dead letter.'),
    ('retry_base_seconds', '10', 'First pause of a failed event, in seconds; doubles with every try.'),
    ('retry_max_seconds', '3600', 'Longest pause of a failed event, in seconds.'),
    ('outage_pause_seconds', '5', 'Pause of a batch that failed for a reason outside its records, in seconds.'),
    ('lock_wait_ms', '1000',
        'How long a batch waits for any one lock, in milliseconds; then it is taken apart, and what is locked waits alone.'),
    ('outage_max_seconds', '60',
        'Longest pause of an event that fails alone for a reason outside its data, in seconds; the first is outage_pause_seconds.'),
    ('outage_gives_up_hours', '24',
        'After so many hours of failing alone for such a reason an event becomes a dead letter; one that is only locked never does.'),
    ('apart_seconds', '5',
        'How long a batch is taken apart to find what fails alone, in seconds; then it is put back and comes again in halves.'),
    ('claim_seconds', '45',
        'After how long a batch in work is taken from its worker, in seconds, and the worker''s session ended: it hangs.'),
    ('replay_calls', '100', 'Calls that replaying an entity''s dead letters may cost without being asked for by details => true.'),
    ('crashes_before_solo', '3', 'Crashed batches after which an event is worked on alone.'),
    ('visibility_seconds', '60', 'How long a claimed message stays invisible to others, in seconds.'),
    ('drain_seconds', '5', 'Longest time one CALL of process_batch() goes on, in seconds.'),
    ('duplicate_window_hours', '24', 'How far back receive() looks for the very bytes it is given, in hours.'),
    ('notify', 'true', 'Whether a webhook or a replay sends NOTIFY tds_inbox; workers look every second besides.'),
    ('webhook_is_hint', '[]', 'Entities whose webhooks are followed by a read of the detail, whatever the body holds; a body that lacks '
                              'what only details have, or its last_modified_time, is in any case.'),
    ('partition_days_ahead', '14', 'Days for which inbox partitions are made in advance.')
on conflict on constraint setting_pkey do nothing;

create or replace function tds.durably() returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    -- local: on this server's disk. Whether others are waited for as well is for the administrator to say.
    if current_setting('synchronous_commit') = 'off' then
        perform set_config('synchronous_commit', 'local', true);
    end if;
end
$$;
revoke all on function tds.durably() from public;
comment on function tds.durably() is
'Whoever acknowledges calls it: this transaction''s commit waits for the disk, whatever the server, the database or the role is set to.';

create or replace function tds.outage_pause(waits int) returns interval
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return make_interval(secs => least(tds.setting_int('outage_max_seconds'),
                                       tds.setting_int('outage_pause_seconds') * 2 ^ least(outage_pause.waits, 20)));
end
$$;
revoke all on function tds.outage_pause(int) from public;
comment on function tds.outage_pause(int) is
'Pause of an event that has waited so often for a reason outside its data: outage_pause_seconds, doubled each time, at most '
'outage_max_seconds.';

create or replace function tds.back_off(tries int) returns interval
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return make_interval(secs => least(tds.setting_int('retry_max_seconds'),
                                       tds.setting_int('retry_base_seconds') * 2 ^ least(back_off.tries, 20)));
end
$$;
comment on function tds.back_off(int) is 'Pause after so many tries: retry_base_seconds, doubled each time, at most retry_max_seconds.';
