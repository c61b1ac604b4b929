-- The stock of a day past was compared with the stock of now: what that found says nothing, and nothing would close it.
-- depends: 0088_first_migration

update tds.discrepancy d
   set resolved_at = now()
  from tds.report r
 where r.report = d.report and r.ours = 'ours_stock' and d.period ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}$' and d.resolved_at is null;
