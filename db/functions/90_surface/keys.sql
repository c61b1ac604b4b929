create or replace function tds.create_api_key(name text, scope text default 'operate') returns text
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now constant timestamptz := tds.now();
    -- a random UUID has 122 bits that nobody can foresee: three are more than the 256 that are kept
    v_key constant text := 'tds_' || encode(sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())
                                                   || uuid_send(gen_random_uuid())), 'hex');
    -- not in the statement, whose plan may be logged with all that is in it
    v_sha256 constant bytea := sha256(convert_to(v_key, 'UTF8'));
begin
    if create_api_key.name ~ '^[^[:cntrl:]]{1,100}$' is not true then
        raise exception using errcode = 'ZB014', message = 'no name for a key', detail = left(create_api_key.name, 200),
            hint = '1 to 100 characters in a line: who will use it';
    end if;
    perform tds.durably();
    insert into tds.api_key (name, sha256, created_at, created_by, scope)
    values (create_api_key.name, v_sha256, v_now, session_user, create_api_key.scope);
    return v_key;
exception when unique_violation then
    raise exception using errcode = 'ZB014', message = 'a key of that name is in force', detail = create_api_key.name,
        hint = 'choose another name, or revoke it first';
end
$$;
revoke all on function tds.create_api_key(text, text) from public;
comment on function tds.create_api_key(text, text) is
'Makes a key for the bulk-sync API and returns it, this once: only its SHA-256 is stored. scope: operate, or read, which asks for no pull '
'and cancels none. Raises ZB014 where the name is taken, or is none.';

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

create or replace function tds.api_key_scope(sha256 bytea) returns text
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return (select k.scope from tds.api_key k where k.sha256 = api_key_scope.sha256 and k.revoked_at is null);
end
$$;
revoke all on function tds.api_key_scope(bytea) from public;
comment on function tds.api_key_scope(bytea) is 'What the key with that SHA-256 is good for: read or operate; null where none is in force.';

create or replace function tds.begin_api_session(sha256 bytea, key_sha256 bytea, seconds int) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now constant timestamptz := tds.now();
begin
    insert into tds.api_session (sha256, key_sha256, begun_at, ends_at)
    values (begin_api_session.sha256, begin_api_session.key_sha256, v_now, v_now + make_interval(secs => begin_api_session.seconds));
end
$$;
revoke all on function tds.begin_api_session(bytea, bytea, int) from public;
comment on function tds.begin_api_session(bytea, bytea, int) is
'Notes that a browser has shown a key, and for so many seconds shows a cookie instead; both by their hashes.';

create or replace function tds.api_session_key(sha256 bytea) returns bytea
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now constant timestamptz := tds.now();
begin
    return (select s.key_sha256 from tds.api_session s
             where s.sha256 = api_session_key.sha256 and v_now >= s.begun_at - interval '1 minute' and v_now < s.ends_at);
end
$$;
revoke all on function tds.api_session_key(bytea) from public;
comment on function tds.api_session_key(bytea) is
'The key, by its hash, that the browser with that cookie has shown; null where its session has ended.';

create or replace function tds.end_api_session(sha256 bytea) returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    delete from tds.api_session s where s.sha256 = end_api_session.sha256;
    return found;
end
$$;
revoke all on function tds.end_api_session(bytea) from public;
comment on function tds.end_api_session(bytea) is 'Ends a browser''s session; false where there is none.';

create or replace view public.tds_api_keys as
select k.api_key_id, k.name, k.created_at, k.created_by, k.last_used_at, k.revoked_at, k.scope from tds.api_key k;
comment on view public.tds_api_keys is 'The keys of the bulk-sync API, without their hashes.';
comment on column public.tds_api_keys.api_key_id is 'The number tds.revoke_api_key() takes.';
comment on column public.tds_api_keys.name is 'Whose key it is.';
comment on column public.tds_api_keys.created_at is 'When it was made.';
comment on column public.tds_api_keys.created_by is 'The role that made it.';
comment on column public.tds_api_keys.last_used_at is 'When it was used last, to the minute.';
comment on column public.tds_api_keys.revoked_at is 'When it was revoked; null: it is in force.';
comment on column public.tds_api_keys.scope is 'read: it looks; operate: it asks for pulls and cancels them, too.';
