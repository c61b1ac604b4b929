-- What makes the older of two documents of the newer is joined laterally now, so that it returns a row; and settings that a drain has read
-- are handed over to what it calls.
-- depends: 0077_negative_stock

-- made anew with other arguments or results
drop function if exists tds.put_back(jsonb, jsonb);
drop function if exists tds.claim(text, int);
drop function if exists tds.read_messages(text, int);
drop function if exists tds.apply_claim(bigint, boolean, boolean);
drop function if exists tds.limit_temporary_files();
drop function if exists tds.body_records(text, text, text, text, boolean);
