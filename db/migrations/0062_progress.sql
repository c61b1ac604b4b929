-- What a migration had cost before it began and what it has fetched, so that one that goes on tells what was done before.
-- depends: 0059_backups
alter table tds.full_pull
    add column spent_before bigint not null default 0,
    add column details jsonb not null default '{}';
comment on column tds.full_pull.spent_before is 'Calls counted for migrations before it began: what was counted since is its own.';
comment on column tds.full_pull.details is 'Details fetched by it, by entity.';

-- of one that is under way now the day is known, not the hour
update tds.full_pull f
   set spent_before = coalesce((select sum(s.calls) from tds.api_spending s
                                 where s.organization_id = f.organization_id and s.purpose = 'migration'
                                   and s.day < (f.began_at at time zone 'UTC')::date), 0);
