-- Every list is read whole by the clock, each in its own time.
-- depends: 0041_looked_at

-- made anew with other results
drop function if exists tds.lists_to_sweep(timestamptz);
update tds.setting s set value = '7' where s.name = 'sweep_days' and s.value = '28';
