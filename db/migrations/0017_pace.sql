-- Single records have a pace of their own: these functions are made anew with one argument more.
-- depends: 0015_migration

drop function if exists tds.api_room(tds.api_budget, text, timestamptz);
drop function if exists tds.minute_opens(tds.api_budget, interval, timestamptz, int);
