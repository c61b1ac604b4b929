-- Zoho's clock is the one that counts: when something was modified, asked for, or came, is compared in it alone.

create or replace function tds.zoho_ahead(organization_id text) returns interval
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return coalesce((select c.skew from tds.zoho_clock c where c.organization_id = zoho_ahead.organization_id), interval '0');
end
$$;
comment on function tds.zoho_ahead(text) is 'How far Zoho''s clock is ahead of ours, as far as its answers have told; negative: behind.';

create or replace function tds.zoho_now(organization_id text) returns timestamptz
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return tds.now() + tds.zoho_ahead(zoho_now.organization_id);
end
$$;
comment on function tds.zoho_now(text) is 'Now by Zoho''s clock, as far as its answers have told.';
grant execute on function tds.zoho_ahead(text), tds.zoho_now(text) to tds_poller;
grant select on tds.zoho_clock to tds_poller;

create or replace function tds.note_clock(organization_id text, skew_seconds double precision, here timestamptz default null)
returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now  constant timestamptz := tds.now();
    -- whoever asked Zoho knows how far Zoho is from its own clock; here says how far that one is from ours. Less than two seconds are
    -- the way here
    v_off  constant interval := case when abs(extract(epoch from note_clock.here - v_now)) >= 2 then note_clock.here - v_now end;
    v_skew constant interval := make_interval(secs => note_clock.skew_seconds) + coalesce(v_off, interval '0');
begin
    if abs(extract(epoch from v_skew)) < 2 and (note_clock.skew_seconds = 0 or v_off is not null) then
        delete from tds.zoho_clock c where c.organization_id = note_clock.organization_id;
    else
        insert into tds.zoho_clock as c (organization_id, skew, seen_at) values (note_clock.organization_id, v_skew, v_now)
        on conflict on constraint zoho_clock_pkey do update set skew = excluded.skew, seen_at = excluded.seen_at;
    end if;
    return abs(note_clock.skew_seconds) > tds.setting_int('clock_skew_seconds');
end
$$;
revoke all on function tds.note_clock(text, double precision, timestamptz) from public;
comment on function tds.note_clock(text, double precision, timestamptz) is
'Notes by how many seconds Zoho''s clock is ahead of the caller''s, which says now it is here (null: it is ours); returns whether that is '
'more than the setting clock_skew_seconds.';
grant execute on function tds.note_clock(text, double precision, timestamptz) to tds_poller, tds_operator;

insert into tds.setting (name, value, description) values
    ('clock_skew_seconds', '60', 'By how much Zoho''s clock and ours may differ before a pull warns of it, in seconds.')
on conflict on constraint setting_pkey do nothing;
