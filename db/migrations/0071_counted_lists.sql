-- What it costs to count a list is planned, too.
-- depends: 0070_list_sums

-- made anew with another result
drop function if exists tds.plan_entities(text);
