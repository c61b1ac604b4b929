-- Views that an ERP may trust: <table>_current without what Zoho has deleted, <table>_posted for sums. What hangs on a record (lines,
-- applied amounts, prices, stock, addresses) is there with it, and goes and comes back with it.

create or replace function tds.living_condition(target text, posted boolean) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_status text;
begin
    select a.attname::text into v_status from pg_attribute a
     where a.attrelid = format('zoho.%I', living_condition.target)::regclass and a.attname in ('status', 'payment_status')
       and living_condition.target in ('invoices', 'bills', 'credit_notes', 'vendor_credits', 'sales_orders');
    if living_condition.posted and v_status is null then
        return null;
    end if;
    return 't.deleted_at is null' || case when living_condition.posted
        then (select string_agg(format(' and t.%I is distinct from %L', v_status, s.status), '' order by s.status)
                from unnest(array['draft', 'void', 'pending_approval', 'rejected']) s(status)) else '' end;
end
$$;
comment on function tds.living_condition(text, boolean) is
'Which rows t of a table of the mirror an ERP may show (not deleted) or sum up (posted: nor draft, void, waiting for approval or refused '
'it); null: it has no such status.';

create or replace function tds.parents_of(target text) returns table (parent text, key_columns text[])
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    select distinct n.target, array['organization_id', n.target_key]
      from tds.child c join tds.entity n on n.entity = c.entity where c.target = parents_of.target
     union
    select v.parent, v.key_columns
      from (values ('stock_levels', 'products', array['organization_id', 'zoho_item_id']),
                   ('product_prices', 'pricelists', array['organization_id', 'zoho_pricebook_id']),
                   ('product_prices', 'products', array['organization_id', 'zoho_item_id']),
                   ('contact_addresses', 'contacts', array['organization_id', 'contact_type', 'zoho_contact_id']),
                   ('customer_addresses', 'contacts', array['organization_id', 'contact_type', 'zoho_contact_id']),
                   ('vendor_addresses', 'contacts', array['organization_id', 'contact_type', 'zoho_contact_id'])) v(child, parent,
                       key_columns)
     where v.child = parents_of.target;
end
$$;
comment on function tds.parents_of(text) is 'The tables that the rows of another hang on, and the columns by which they do.';

create or replace function tds.living_query(target text, posted boolean) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_table  constant regclass := format('zoho.%I', living_query.target)::regclass;
    v_view   constant text := living_query.target || case when living_query.posted then '_posted' else '_current' end;
    v_select constant text := format('select %s from %s c where ', tds.erp_columns(v_table, v_view, 'c'), v_table);
    v_query  text;
begin
    if exists (select from pg_attribute a where a.attrelid = v_table and a.attname = 'deleted_at') then
        return v_select || replace(tds.living_condition(living_query.target, living_query.posted), 't.', 'c.');
    end if;
    select v_select || string_agg(
               format('exists (select from zoho.%I t where %s and %s)', p.parent,
                      (select string_agg(format('t.%1$I = c.%1$I', k.name), ' and ' order by k.n) from unnest(p.key_columns)
                          with ordinality k(name, n)),
                      tds.living_condition(p.parent, living_query.posted)), ' and ' order by p.parent)
      into v_query
      from tds.parents_of(living_query.target) p
     where not living_query.posted or tds.living_condition(p.parent, true) is not null;
    return v_query;
end
$$;
comment on function tds.living_query(text, boolean) is
'The query of a view without what is deleted, or only what is posted; null: there is none.';

create or replace function tds.describe_current() returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_view record;
begin
    for v_view in
        select c.relname as target, c.oid, c.relname || s.suffix as name, tds.living_query(c.relname, s.suffix = '_posted') as query,
               s.suffix = '_posted' as posted, coalesce(v.relkind = 'v' and v.relowner = c.relowner, true) as ours
          from pg_class c
         cross join (values ('_current'), ('_posted')) s(suffix)
          left join pg_class v on v.relname = c.relname || s.suffix and v.relnamespace = 'public'::regnamespace
         where c.relnamespace = 'zoho'::regnamespace and c.relkind in ('r', 'p')
         order by c.relname, s.suffix
    loop
        continue when v_view.query is null;
        if not v_view.ours then
            raise notice 'public.% is somebody else''s', v_view.name;
            continue;
        end if;
        perform tds.make_view(v_view.name, v_view.query);
        execute format('comment on view public.%I is %L', v_view.name,
                       format(case when v_view.posted
                                   then '%s without what is deleted, draft, void, rejected or waits for approval: for sums.'
                                   else '%s without what Zoho has deleted.' end, replace(v_view.target, '_', ' ')));
        perform tds.comment_columns(v_view.oid, v_view.name);
    end loop;
end
$$;
comment on function tds.describe_current() is
'Makes the views <table>_current and <table>_posted of the mirror, where their names are free.';

revoke all on function tds.living_condition(text, boolean), tds.parents_of(text), tds.living_query(text, boolean),
    tds.describe_current() from public;

select tds.describe_current();
