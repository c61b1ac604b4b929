-- A sum of child rows that a list is held against.
-- depends: 0066_open_documents
create type tds.list_sum as (
    zoho_id   text,
    key       text,
    kind      text,
    whole     text,
    rest      text,
    amount    numeric,
    tolerance numeric);
comment on type tds.list_sum is 'The sum of a record''s child rows, and the keys of Zoho''s list that it is held against.';
