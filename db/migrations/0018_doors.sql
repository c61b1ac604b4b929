-- One door for wanted details, and errors that say where they happened.
-- depends: 0017_pace

create type tds.wish as (
    zoho_id     text,
    reason      text,
    wanted_at   timestamptz,
    modified_at timestamptz,
    run_id      bigint
);
comment on type tds.wish is
'That a record''s detail is wanted: why, since when (a detail whose request was sent later will do), the version of what asks '
'for it, and the run on whose account; the last two may be null. See tds.want().';

-- nobody can ever answer these: an empty id asks for the list, and what the API does not tell of for nothing
delete from tds.wanted_detail w
 where w.zoho_id !~ '^[A-Za-z0-9_-]+$' or char_length(w.zoho_id) > 50
    or not exists (select from tds.entity n where n.entity = w.entity and n.api_path <> '');
