-- Functions whose results are of another type from now on: they cannot be replaced, only made anew.
-- depends: 0029_dead_of_pages
drop function if exists tds.later_records(tds.entity, text, text[], timestamptz);
drop function if exists tds.layers_under(jsonb, jsonb, jsonb, timestamptz, timestamptz, smallint);
drop function if exists tds.fold(tds.record[], tds.record_state[], text, text);
drop function if exists tds.registers(tds.record[], tds.record_state[], text);
drop function if exists tds.versions(jsonb, text, timestamptz, smallint);
drop function if exists tds.write_product_prices(text, text[], timestamptz);
drop function if exists tds.look(text[], text[]);
drop function if exists tds.peek(text, text);
drop function if exists tds.discount_amount(jsonb, jsonb);
