-- Months and days in doubt are told by one function, tds.periods_in_doubt().
-- depends: 0090_one_check_of_held_deletions

drop function if exists tds.months_in_doubt(text);
