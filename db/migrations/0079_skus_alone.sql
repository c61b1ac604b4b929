-- Which SKUs several products share, the index of SKUs tells alone, if it knows which products are deleted.
-- depends: 0078_whose_outcome
-- locks: zoho.products
drop index zoho.products_sku_idx;
create index products_sku_idx on zoho.products (organization_id, sku) include (deleted_at) where sku is not null;
