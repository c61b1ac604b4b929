-- When details of records that nobody knows are asked for is told by one function, tds.unknown_hours(), this hour included; a comparison
-- goes on without the lists that cannot be read.
-- depends: 0091_periods_in_doubt

drop function if exists tds.unknown_room(text, int, timestamptz);
drop function if exists tds.unknown_hours(text, int, timestamptz);

comment on column tds.verification.error is 'What it failed of, or what of it could not be compared, and why.';
