-- depends: 0037_leases
-- Keys that only read, and browsers that have shown a key once.

alter table tds.api_key add column scope text not null default 'operate';
alter table tds.api_key add constraint api_key_scope_is_known check (scope in ('read', 'operate'));
comment on column tds.api_key.scope is 'read: look; operate: ask for pulls and cancel them, too.';

create table tds.api_session (
    sha256     bytea not null,
    key_sha256 bytea not null,
    begun_at   timestamptz not null,
    ends_at    timestamptz not null,
    constraint api_session_pkey primary key (sha256),
    constraint api_session_is_a_hash check (octet_length(sha256) = 32)
);
comment on table tds.api_session is
'Browsers that have shown a key and hold a cookie instead. A session is good for what its key is good for, while that is in force.';
comment on column tds.api_session.sha256 is 'SHA-256 of the cookie, which itself is stored nowhere.';
comment on column tds.api_session.key_sha256 is 'SHA-256 of the key that was shown; of TDS_API_KEY, what scrypt makes of it.';
comment on column tds.api_session.begun_at is 'When the key was shown.';
comment on column tds.api_session.ends_at is 'When it ends.';
