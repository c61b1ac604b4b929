-- The clock asks from the end of the first migration on, also while another one is under way or has been given up.
-- depends: 0087_backups_of_another

alter table tds.full_pull add column first_ended_at timestamptz;
comment on column tds.full_pull.first_ended_at is
'When a migration before this one had ended, or one had all but what Zoho refuses: the clock asks since then; null: none had.';

-- of one that is under way now: whom the clock has asked for, had ended one before
update tds.full_pull f
   set first_ended_at = (select min(r.requested_at) from tds.run r
                          where r.organization_id = f.organization_id and r.requested_by = 'the clock')
 where f.finished_at is null;
