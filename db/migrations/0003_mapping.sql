-- depends: 0002_mirror
-- The mapping is data: what a column is read from, which rows hang on a record, which row a link leads to. The
-- functions that write the mirror are made from it (tds.build()).

alter table tds.field add column expression text;
comment on column tds.field.expression is 'How the column is computed from d.<key> and its neighbours; null: by its reader alone.';
alter table tds.field alter column reader drop not null;
alter table tds.field drop constraint field_reader_check;
alter table tds.field add constraint reader_is_known
    check (reader in ('id', 'text', 'number', 'boolean', 'date', 'time', 'object', 'array'));
comment on column tds.field.reader is 'Strict reader: id, text, number, boolean, date, time; object and array are only checked for their kind.';
alter table tds.field drop constraint field_pkey;
alter table tds.field rename column parent to list_key;
comment on column tds.field.list_key is 'Key of the array the field sits in, or empty for the record itself.';
alter table tds.field add constraint field_pkey primary key (entity, list_key, key);

create table tds.derived (
    entity      text not null,
    list_key    text not null default '',
    column_name text not null,
    expression  text not null,
    description text not null,
    constraint derived_pkey primary key (entity, list_key, column_name)
);
comment on table  tds.derived is 'Mapping: columns that are computed, not read from one key.';
comment on column tds.derived.entity is 'The entity.';
comment on column tds.derived.list_key is 'Key of the array, or empty for the record itself.';
comment on column tds.derived.column_name is 'The column.';
comment on column tds.derived.expression is 'SQL over d (the fields by their keys, as jsonb), s (the record''s state) and the entity''s joins.';
comment on column tds.derived.description is 'What it holds: the column''s comment.';

create table tds.child (
    entity          text not null,
    list_key        text not null,
    target          text not null,
    parent_column   text not null,
    position_column text not null,
    constraint child_pkey primary key (entity, list_key)
);
comment on table  tds.child is 'Arrays of a record that have a table of their own: a row an element, by its place.';
comment on column tds.child.entity is 'The entity.';
comment on column tds.child.list_key is 'Key of the array.';
comment on column tds.child.target is 'The table of schema zoho.';
comment on column tds.child.parent_column is 'Its column with the record''s Zoho id.';
comment on column tds.child.position_column is 'Its column with the element''s place, from 1.';

create table tds.link (
    target        text not null,
    column_name   text not null,
    key_column    text not null,
    parent        text not null,
    parent_key    text not null,
    parent_column text not null default 'id',
    follows       boolean not null default false,
    constraint link_pkey primary key (target, column_name)
);
comment on table  tds.link is 'Links between rows of the mirror: set by whichever of the two is applied last.';
comment on column tds.link.target is 'Table that holds the link.';
comment on column tds.link.column_name is 'The link: null until the row it leads to is there.';
comment on column tds.link.key_column is 'Column beside it with the Zoho id it follows.';
comment on column tds.link.parent is 'Table it leads to.';
comment on column tds.link.parent_key is 'That table''s column with the Zoho id.';
comment on column tds.link.parent_column is 'That table''s column the link takes its value from.';
comment on column tds.link.follows is 'Whether that value may change, so that the link must follow it; an id never does.';

alter table tds.entity drop column writer, drop column linker;
alter table tds.entity
    add column joins text not null default '',
    add column only_if text not null default 'true',
    add column new_if text not null default 'true',
    add column prepare text,
    add column prepare_new text,
    add column complete text;
comment on column tds.entity.joins is 'SQL: joins that the derived columns need, over s and d.';
comment on column tds.entity.only_if is 'SQL: a state is written only where this holds; what is not written is resolved again.';
comment on column tds.entity.new_if is 'SQL over s: whether a record without a row can be inserted at once, without being resolved.';
comment on column tds.entity.prepare is 'Function called before states are written: tds.<prepare>(organization_id, states).';
comment on column tds.entity.prepare_new is 'Function called before new records are inserted: tds.<prepare_new>(organization_id).';
comment on column tds.entity.complete is 'Function called after rows were written: tds.<complete>(organization_id, zoho_ids, at).';

create type tds.event as (
    first_ord   int,
    inbox_id    bigint,
    received_at timestamptz,
    alone       boolean,
    observed_at timestamptz,
    modified_at timestamptz,
    rank        smallint,
    is_delete   boolean,
    records     jsonb
);
comment on type tds.event is
'An event in work: its body parsed once (records, an array), and how many records came before it in its batch '
'(first_ord), so that the n-th of its records is the batch''s first_ord + n-th. modified_at: the version that a detail '
'without a last_modified_time inherits from what asked for it.';

alter table tds.wanted_detail add column modified_at timestamptz;
comment on column tds.wanted_detail.modified_at is 'Version of what asked for it; a detail that has none of its own inherits it.';

drop type tds.verdict cascade;
create type tds.verdict as (
    ord         int,
    inbox_id    bigint,
    zoho_id     text,
    outcome     text,
    modified_at timestamptz,
    observed_at timestamptz,
    rank        smallint,
    wanted      text,
    wanted_at   timestamptz,
    unsettled   boolean
);
comment on type tds.verdict is
'What became of a record: applied, unchanged, stale, retried, parked or dead; its version; why its detail is wanted, if it '
'is, and from when; unsettled: last_modified_time could not decide, so later reads of the record are looked at once more.';

-- what was written by hand and is made from the mapping now
drop function if exists tds.culprits(text, tds.record[]), tds.link_products(text, text[]), tds.link_contacts(text, text[]),
    tds.link_invoices(text, text[]), tds.link_organizations(text, text[]), tds.write_contacts(text, tds.record_state[], timestamptz, text),
    tds.write_invoice_line_items(text, text[], tds.record_state[], timestamptz), tds.events_documents(bigint[], timestamptz[]),
    tds.read_records(text, bigint[], timestamptz[]), tds.map_fields(text, text, text),
    tds.take_details(text, text, int), tds.peek(text, text), tds.meet(tds.entity, text, tds.record[]),
    tds.open_records(tds.entity, bigint[], timestamptz[], timestamptz), tds.apply_records(tds.entity, text, tds.record[], timestamptz),
    tds.bury_culprits(tds.entity, text, tds.record[], timestamptz);
