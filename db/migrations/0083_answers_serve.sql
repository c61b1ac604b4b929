-- A stored answer serves every need of before it was asked for: that moment is kept in place of the need's.
-- depends: 0082_handed_over

comment on column tds.wanted_detail.leased_for is
'The wanted_at that it was leased for, or the moment at which the answer that is stored was asked for; a later wanted_at is a new need.';
