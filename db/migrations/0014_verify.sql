-- depends: 0013_batch
-- What a comparison with Zoho says of a record, and how a record stands.

create type tds.compared as (
    zoho_id     text,
    told        jsonb,
    kept        jsonb,
    problem     jsonb,
    deleted_at  timestamptz,
    observed_at timestamptz
);
comment on type tds.compared is
'A record that Zoho lists or the mirror has: what Zoho''s list tells and what the mirror keeps, by the list''s keys (null: it has none), '
'keys whose value cannot be read, when the mirror''s row was deleted and last observed.';

create type tds.standing as (
    organization_id  text,
    in_mirror        boolean,
    version          int,
    last_modified_at timestamptz,
    observed_at      timestamptz,
    synced_at        timestamptz,
    deleted_at       timestamptz,
    wanted_since     timestamptz,
    wanted_reason    text,
    wanted_error     text,
    dead_letters     bigint[]
);
comment on type tds.standing is
'How a record stands: its row''s version and times, since when and why its detail is wanted and what went wrong with it, the dead letters that wait.';
