-- Whether a body of several records has come since is asked of one organisation's alone.
-- depends: 0084_deletions_lately

create index inbox_several_idx on tds.inbox (organization_id, entity, received_at) where record_id is null and shape <> 'list';
