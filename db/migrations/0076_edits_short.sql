-- An edit takes the short way, from the stored body to its row and what hangs on it, also where others have a say in the row.
-- depends: 0074_organisations_mixed

alter table tds.entity add column over_if text;
comment on column tds.entity.over_if is
'SQL over s, a record, and k, its row: whether a record that is later than all that its row knows may be written over it at once. null: '
'always, where neither prepare nor only_if has a say in what is written; else never.';
