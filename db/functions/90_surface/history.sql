create or replace view public.tds_history as
select n.entity, n.target, coalesce(r.is_kept, false) as is_kept, r.changed_at, coalesce(h.changes, 0) as changes,
       coalesce(h.bytes, 0) as bytes, h.oldest
  from tds.entity n
  left join tds.history_rule r on r.target = n.target
  left join (select h.target, count(*) as changes, sum(pg_column_size(h.*))::bigint as bytes, min(h.written_at) as oldest
               from tds.record_history h
              group by h.target) h on h.target = n.target
 order by n.entity;
comment on view public.tds_history is
'Of which entities the history of documents is kept, and what it takes. Reads all of it. select tds.keep_history(entity, true) begins.';
comment on column public.tds_history.entity is 'The entity.';
comment on column public.tds_history.target is 'Its table in schema zoho; entities that share one share its history.';
comment on column public.tds_history.is_kept is 'Whether each change is kept from now on.';
comment on column public.tds_history.changed_at is 'When an operator last said so; null: as it came.';
comment on column public.tds_history.changes is 'Changes that are kept.';
comment on column public.tds_history.bytes is 'Their size, without the table''s indexes.';
comment on column public.tds_history.oldest is 'The oldest of them.';
