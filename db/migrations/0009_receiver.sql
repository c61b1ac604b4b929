-- depends: 0007_trust
-- The duplicates of webhooks are looked for as a set (tds.repeats).

drop function if exists tds.same_event(text, text, text, text, text, text, timestamptz);
