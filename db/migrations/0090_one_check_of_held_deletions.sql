-- Two checks looked at the deletions that are held back, so that one mass deletion was two alerts: held_deletions (critical) stays.
-- depends: 0089_stock_of_days_past

delete from tds.setting s where s.name = 'health_deletions_held';
delete from tds.health_check c where c.check_name = 'deletions_held';
drop function if exists tds.check_deletions_held();
