-- What Zoho refuses for good is kept with a fingerprint of all that was sent: the right credentials work at once.
-- depends: 0041_looked_at
create table tds.api_refusal (
    account     text not null references tds.api_account (account) on delete cascade,
    credentials text not null,
    refused     text not null,
    refused_at  timestamptz not null,
    constraint api_refusal_pkey primary key (account, credentials)
);
comment on table  tds.api_refusal is
'Credentials that the accounts server refused for good, by a fingerprint of them: they are not tried again until tds.allow_refresh().';
comment on column tds.api_refusal.account is 'SHA-256 of the refresh token, in hexadecimal.';
comment on column tds.api_refusal.credentials is
'SHA-256 of accounts server, client, its secret and refresh token; empty for a program of an older version.';
comment on column tds.api_refusal.refused is 'What the accounts server answered (invalid_client_secret).';
comment on column tds.api_refusal.refused_at is 'When.';

alter table tds.api_account add column asked_at timestamptz;
comment on column tds.api_account.asked_at is 'When a program last wanted a token of it.';
comment on column tds.api_account.refused is
'What Zoho last refused it with for good, if no token came since. Which credentials those were: tds.api_refusal.';

insert into tds.api_refusal (account, credentials, refused, refused_at)
select a.account, '', a.refused, coalesce(a.refused_at, now()) from tds.api_account a where a.refused is not null;
