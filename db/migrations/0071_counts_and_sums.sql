-- What it costs to count a list is planned, too; and each entity says which sums its list is held against.
-- depends: 0070_list_sums

-- made anew with another result
drop function if exists tds.plan_entities(text);
-- a table now
drop view if exists tds.verified_sum;

create table tds.verified_sum (
    entity      text not null,
    targets     text[] not null,
    column_name text not null,
    list_keys   text[] not null,
    id_column   text not null,
    kind        text not null,
    whole       text not null,
    rest        text not null,
    rounding    numeric not null,
    constraint verified_sum_pkey primary key (entity, targets, column_name),
    constraint verified_sum_kind check (kind in ('made of', 'used up'))
);
comment on table tds.verified_sum is
'Which sums of rows below a record tds.verify() holds against what Zoho''s list tells of it; see tds.sum_in_list().';
comment on column tds.verified_sum.entity is 'The entity.';
comment on column tds.verified_sum.targets is 'The tables whose rows are added up; a difference is named with the first.';
comment on column tds.verified_sum.column_name is 'Their column that is summed.';
comment on column tds.verified_sum.list_keys is
'The keys of its details that the rows come from: without any of them as an array, nobody has told of rows.';
comment on column tds.verified_sum.id_column is 'Their column with the record''s id of Zoho''s.';
comment on column tds.verified_sum.kind is
'made of: the rows make up the record''s rest, where the list''s whole is ours; used up: they are the list''s whole less its rest.';
comment on column tds.verified_sum.whole is 'The key of the list with the whole.';
comment on column tds.verified_sum.rest is
'made of: the key with the rows'' sum, which may be the whole itself; used up: the key with what is left.';
comment on column tds.verified_sum.rounding is 'By how much a row may be rounded.';
