-- Millions of open alerts: those of one organisation, and the worst of them, are found by an index.
-- depends: 0079_skus_alone
create index alert_organization_idx on tds.alert (nullif(organization_id, ''), alert_id);
create index alert_worst_idx on tds.alert (severity, since, alert_id) where resolved_at is null;
create index alert_acknowledged_idx on tds.alert (alert_id) where resolved_at is null and acknowledged_at is not null;
