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
    ('crashes_before_solo', '3', 'Crashed batches after which an event is worked on alone.'),
    ('visibility_seconds', '60', 'How long a claimed message stays invisible to others, in seconds.'),
    ('drain_seconds', '5', 'Longest time one CALL of process_batch() goes on, in seconds.'),
    ('duplicate_window_hours', '24', 'How far back receive() looks for the very bytes it is given, in hours.'),
    ('notify', 'true', 'Whether a webhook or a replay sends NOTIFY tds_inbox; workers look every second besides.'),
    ('webhook_is_hint', '[]', 'Entities whose webhooks are followed by a read of the detail, whatever the body holds; a body that lacks '
                              'what only details have, or its last_modified_time, is in any case.'),
    ('partition_days_ahead', '14', 'Days for which inbox partitions are made in advance.')
on conflict on constraint setting_pkey do nothing;

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
