-- A made function says which file its entity's mapping is in.
-- depends: 0018_doors

alter table tds.entity add column file text not null default 'a file run by hand';
alter table tds.entity alter column file drop default;
comment on column tds.entity.file is 'The file that registers it and has its mapping, below db/.';
comment on table tds.entity is
'Registry of what the mirror knows: one row an entity, written by its file in functions/60_entities.';

-- made anew with other arguments
drop function if exists tds.make_switch(text, text, text, text, text, text, text);
