create or replace view public.tds_stock_disagreements as
select p.organization_id, p.zoho_item_id, p.name, p.stock_quantity, s.on_hand as sum_of_places, p.stock_quantity - s.on_hand as difference
  from zoho.products p
  join (select l.organization_id, l.zoho_item_id, sum(l.on_hand) as on_hand from zoho.stock_levels l group by 1, 2) s
    on s.organization_id = p.organization_id and s.zoho_item_id = p.zoho_item_id
 where p.deleted_at is null and (p.stock_quantity <> s.on_hand or tds.lacks_elements(p.zoho_metadata));
comment on view public.tds_stock_disagreements is
'Products whose stock on hand is not the sum of their places, because a list told the one after a detail told the other, or that were told '
'without their places. Their next detail settles it.';
comment on column public.tds_stock_disagreements.organization_id is 'Zoho organisation.';
comment on column public.tds_stock_disagreements.zoho_item_id is 'The product.';
comment on column public.tds_stock_disagreements.name is 'Its name.';
comment on column public.tds_stock_disagreements.stock_quantity is 'Stock on hand, as told last.';
comment on column public.tds_stock_disagreements.sum_of_places is 'Sum over its places.';
comment on column public.tds_stock_disagreements.difference is 'The one less the other.';

create or replace view public.tds_sku_conflicts as
select k.organization_id, k.sku, k.products, c.zoho_item_ids
  -- the index alone tells which, and most are in none
  from (select p.organization_id, p.sku, count(*) as products
          from zoho.products p where p.sku is not null and p.deleted_at is null
         group by p.organization_id, p.sku having count(*) > 1) k
 cross join lateral (
       select array_agg(p.zoho_item_id order by p.zoho_item_id) as zoho_item_ids
         from zoho.products p
        where p.organization_id = k.organization_id and p.sku = k.sku and p.deleted_at is null) c;
comment on view public.tds_sku_conflicts is 'SKUs that several products share.';
comment on column public.tds_sku_conflicts.organization_id is 'Zoho organisation.';
comment on column public.tds_sku_conflicts.sku is 'The SKU.';
comment on column public.tds_sku_conflicts.products is 'How many have it.';
comment on column public.tds_sku_conflicts.zoho_item_ids is 'Which.';

create or replace view public.tds_email_conflicts as
select c.organization_id, lower(c.email) as email, count(*) as contacts,
    array_agg(c.zoho_contact_id order by c.zoho_contact_id) as zoho_contact_ids
  from zoho.contacts c where c.email is not null and c.deleted_at is null
 group by c.organization_id, lower(c.email) having count(*) > 1;
comment on view public.tds_email_conflicts is 'E-mail addresses that several customers or vendors share.';
comment on column public.tds_email_conflicts.organization_id is 'Zoho organisation.';
comment on column public.tds_email_conflicts.email is 'The address, in lower case.';
comment on column public.tds_email_conflicts.contacts is 'How many have it.';
comment on column public.tds_email_conflicts.zoho_contact_ids is 'Which.';
