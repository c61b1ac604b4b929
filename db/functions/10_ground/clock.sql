create or replace function tds.now() returns timestamptz
language plpgsql volatile parallel restricted
set search_path = pg_catalog, pg_temp
as $$
declare
    v_fake constant text := current_setting('tds.fake_now', true);
begin
    if coalesce(v_fake, '') = '' then
        return clock_timestamp();
    end if;
    -- only the catalogue's mark counts: a session could set the parameter for itself
    if exists (
        select from pg_catalog.pg_db_role_setting s
          join pg_catalog.pg_database d on d.oid = s.setdatabase
         where d.datname = current_database()
           and s.setrole = 0
           and 'tds.test_database=on' = any (s.setconfig)
    ) then
        return v_fake::timestamptz;
    end if;
    return clock_timestamp();
end
$$;
comment on function tds.now() is
'The clock: clock_timestamp(), or the setting tds.fake_now in a database marked as a test '
'(alter database … set tds.test_database = ''on''). Every function of this schema reads it once a call.';

create or replace function tds.is_ahead(told timestamptz, at timestamptz) returns boolean
language sql immutable parallel safe
as $$ select $1 > $2 + interval '1 minute' $$;
comment on function tds.is_ahead(timestamptz, timestamptz) is
'Whether something that has happened is said to have happened in the future: the clock was ahead then, and what it told is not believed.';

create or replace function tds.is_time_zone(name text) returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    -- UTC+3 and +03:00 have a reading as well: three hours behind
    if is_time_zone.name ~ '^[A-Za-z_]+(-[A-Za-z]+)*(/[A-Za-z0-9_+-]+)*$' or is_time_zone.name ~ '^[A-Z]{3}[0-9][A-Z]{3}$' then
        -- asked of the server: the list of the names it knows is long, and takes long to read
        perform current_timestamp at time zone is_time_zone.name;
        return true;
    end if;
    return false;
exception when invalid_parameter_value then
    return false;
end
$$;
revoke all on function tds.is_time_zone(text) from public;
comment on function tds.is_time_zone(text) is
'Whether that is the name of a time zone (Asia/Baghdad) that the server knows. An offset is none: PostgreSQL reads it the other way round.';
