-- Where an organisation is.

insert into tds.setting (name, value, description) values
    ('default_shard', 'null', 'Name of the shard that organisations are on which the directory does not know; null: that of number 0.')
on conflict on constraint setting_pkey do nothing;
-- what the files that a router shares with its shards set for shards alone
delete from tds.setting where name <> all (array['default_shard', 'organization_id']);

create or replace function tds.default_shard() returns int
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return (select s.number from tds.shard s
             where s.removed_at is null and (s.name = tds.setting_text('default_shard') or tds.setting_text('default_shard') is null)
             order by s.number limit 1);
end
$$;
revoke all on function tds.default_shard() from public;
comment on function tds.default_shard() is 'The shard of what the directory does not know.';

create or replace function tds.default_organization() returns text
language sql stable
as $$ select coalesce(nullif(current_setting('tds.organization_id', true), ''), tds.setting_text('organization_id')) $$;
comment on function tds.default_organization() is
'Whose a body is that names no organisation: the session''s (tds.organization_id, which a receiver sets to its own), else the setting''s.';

create or replace function tds.shard_of(organization_id text) returns int
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return coalesce((select d.shard from tds.directory d
                      where d.organization_id = coalesce(shard_of.organization_id, tds.default_organization())), tds.default_shard());
end
$$;
revoke all on function tds.shard_of(text) from public;
comment on function tds.shard_of(text) is 'The number of the shard that has an organisation''s rows; null: the default organisation''s.';

create or replace function tds.lanes() returns table (organization_id text, lane int)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    select d.organization_id, coalesce(d.arrives_at, d.shard) from tds.directory d
     union all
    select null, tds.default_shard();
end
$$;
revoke all on function tds.lanes() from public;
comment on function tds.lanes() is
'On which shard each organisation''s events are stored; of null, those that the directory does not know. A receiver lets those that go to '
'one shard share a commit.';

create or replace function tds.shard_to_write(organization_id text) returns int
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_organization_id constant text := coalesce(shard_to_write.organization_id, tds.default_organization());
begin
    if exists (select from tds.move m where m.organization_id = v_organization_id and m.step <> all (array['remove', 'done'])) then
        raise exception using errcode = 'ZB081', message = 'the organisation is being moved', detail = v_organization_id,
            hint = 'once more when tds shard list shows no move';
    end if;
    return tds.shard_of(v_organization_id);
end
$$;
revoke all on function tds.shard_to_write(text) from public;
comment on function tds.shard_to_write(text) is
'tds.shard_of(), for what is asked for on behalf of an organisation. Raises ZB081 while it is being moved; webhooks are '
'taken all the time.';

create or replace function tds.named_organization(body bytea) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    -- in JSON "organization_id": "46…", in JSON that is text or in a form the same with escapes, in a form organization_id=46…
    return (select case when count(distinct f.found[1]) = 1 then min(f.found[1]) end
              from regexp_matches(encode(named_organization.body, 'escape'),
                                  'organization_id(?:"|\\+"|%22|%5C%22)?\s*(?::|=|%3A)(?:\s|\+|%20)*(?:"|\\+"|%22|%5C%22)?'
                                  '([A-Za-z0-9_-]{1,50})',
                                  'g') f(found));
end
$$;
revoke all on function tds.named_organization(bytea) from public;
comment on function tds.named_organization(bytea) is
'The one organisation that a body seems to name; the shard reads it closely.';
