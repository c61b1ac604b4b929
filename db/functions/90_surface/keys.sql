create or replace function tds.create_api_key(name text) returns text
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now constant timestamptz := tds.now();
    -- a random UUID has 122 bits that nobody can foresee: three are more than the 256 that are kept
    v_key constant text := 'tds_' || encode(sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())
                                                   || uuid_send(gen_random_uuid())), 'hex');
begin
    perform tds.durably();
    insert into tds.api_key (name, sha256, created_at, created_by)
    values (create_api_key.name, sha256(convert_to(v_key, 'UTF8')), v_now, session_user);
    return v_key;
exception when unique_violation then
    raise exception using errcode = 'ZB014', message = 'a key of that name is in force', detail = create_api_key.name,
        hint = 'choose another name, or revoke it first';
end
$$;
revoke all on function tds.create_api_key(text) from public;
comment on function tds.create_api_key(text) is
'Makes a key for the bulk-sync API and returns it, this once: only its SHA-256 is stored. Raises ZB014 where the name is taken.';

create or replace function tds.revoke_api_key(key text) returns text
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_name text;
begin
    perform tds.durably();
    update tds.api_key k
       set revoked_at = tds.now()
     where k.revoked_at is null and revoke_api_key.key in (k.name, k.api_key_id::text)
       -- a key may be called like another one's number: its name counts
       and (k.name = revoke_api_key.key or not exists (select from tds.api_key o where o.revoked_at is null
                                                       and o.name = revoke_api_key.key))
    returning k.name into v_name;
    if v_name is null then
        raise exception using errcode = 'ZB014', message = 'no such key in force', detail = revoke_api_key.key,
            hint = 'select * from tds_api_keys';
    end if;
    return v_name;
end
$$;
revoke all on function tds.revoke_api_key(text) from public;
comment on function tds.revoke_api_key(text) is
'Revokes the key of that name or number at once; returns its name. Raises ZB014 where there is none.';

create or replace function tds.check_api_key(sha256 bytea) returns text
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now constant timestamptz := tds.now();
    v_key tds.api_key;
begin
    select k.* into v_key from tds.api_key k where k.sha256 = check_api_key.sha256 and k.revoked_at is null;
    if v_key.last_used_at is null or v_key.last_used_at < v_now - interval '1 minute' then
        update tds.api_key k set last_used_at = v_now where k.api_key_id = v_key.api_key_id;
    end if;
    return v_key.name;
end
$$;
revoke all on function tds.check_api_key(bytea) from public;
comment on function tds.check_api_key(bytea) is
'The name of the key with that SHA-256, null where none is in force. It takes the hash, so that no key reaches the server''s logs. How '
'long the look-up takes tells at most something about hashes, and nobody can choose a key by its hash, so that it need not take constant '
'time.';

create or replace view public.tds_api_keys as
select k.api_key_id, k.name, k.created_at, k.created_by, k.last_used_at, k.revoked_at from tds.api_key k;
comment on view public.tds_api_keys is 'The keys of the bulk-sync API, without their hashes.';
comment on column public.tds_api_keys.api_key_id is 'The number tds.revoke_api_key() takes.';
comment on column public.tds_api_keys.name is 'Whose key it is.';
comment on column public.tds_api_keys.created_at is 'When it was made.';
comment on column public.tds_api_keys.created_by is 'The role that made it.';
comment on column public.tds_api_keys.last_used_at is 'When it was used last, to the minute.';
comment on column public.tds_api_keys.revoked_at is 'When it was revoked; null: it is in force.';
