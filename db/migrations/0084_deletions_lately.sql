-- The deletions of the last hour are found among those of a week.
-- depends: 0083_answers_serve

create index held_deletion_changed_idx on tds.held_deletion (organization_id, entity, changed_at)
    where state in ('waiting', 'done') and proved_at is not null;
