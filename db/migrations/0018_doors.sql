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

alter table tds.inbox_open add column error_context text;
comment on column tds.inbox_open.error_context is
'Where in the functions the last failure happened, the innermost first; the statements left out, see tds.error_context().';
alter table tds.dead_letter add column error_context text;
comment on column tds.dead_letter.error_context is
'Where it failed: the place in the body, or in the functions, the innermost first; null where a reader refused the value that path names.';
alter table tds.job_run add column error_context text;
comment on column tds.job_run.error_context is 'Where in the functions it failed, the innermost first.';

-- made anew with one argument more
drop function if exists tds.release_claim(bigint, text, text);
drop function if exists tds.finish_job(bigint, text, text);
drop function if exists tds.park(tds.record, text, text, text, text, timestamptz);
drop function if exists tds.bury_record(tds.record, text, text, text, text, text, text, int, timestamptz);
drop function if exists tds.bury_event(bigint, timestamptz, text, text, text, timestamptz);
