-- What is less than nothing, of all organisations at once: few rows of many, that the dashboard asks for.
-- depends: 0074_organisations_mixed
create index products_negative_idx on zoho.products (organization_id, zoho_item_id) where stock_quantity < 0 and deleted_at is null;
create index stock_levels_negative_idx on zoho.stock_levels (organization_id, zoho_item_id) where on_hand < 0;
