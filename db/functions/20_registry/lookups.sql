create or replace function tds.queue_name(queue text) returns text
language sql immutable parallel safe
as $$ select 'tds_' || $1 $$;
comment on function tds.queue_name(text) is 'Name of the pgmq queue of that queue of ours.';

create or replace function tds.pulled_entity(entity text) returns text
language sql immutable parallel safe
as $$ select case $1 when 'stock' then 'products' else $1 end $$;
comment on function tds.pulled_entity(text) is 'The entity whose list and details a pull reads: stock is in the details of products.';

create or replace function tds.entity_named(entity text, of_the_api boolean default false) returns tds.entity
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_entity tds.entity;
begin
    select n.* into v_entity
      from tds.entity n
     where n.entity = case when entity_named.of_the_api then tds.pulled_entity(entity_named.entity) else entity_named.entity end
       and (n.api_path <> '' or not entity_named.of_the_api);
    if v_entity.entity is null then
        raise exception using errcode = 'ZB002', message = 'unknown entity', detail = coalesce(entity_named.entity, 'null'),
            hint = case when entity_named.of_the_api then 'select entity from tds.entity where api_path <> ''''; or stock'
                        else 'select entity from tds.entity' end;
    end if;
    return v_entity;
end
$$;
comment on function tds.entity_named(text, boolean) is
'The entity of that name; of_the_api: one that Zoho''s API tells of, where stock is that of products. Raises ZB002 for an unknown one.';

create or replace function tds.namesakes(entity text) returns text[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return array(select other.entity from tds.entity own join tds.entity other on other.target = own.target
                  where own.entity = namesakes.entity order by other.entity);
end
$$;
comment on function tds.namesakes(text) is
'Every entity under whose name the same records may come: a contact as customers as well as vendors.';

create or replace function tds.queues(queue text) returns text[]
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_queues text[];
begin
    select array_agg(q.queue order by q.priority, q.queue)
      into v_queues
      from (select n.queue, min(n.priority) as priority
              from tds.entity n
             where queues.queue is null or queues.queue in (n.queue, n.entity)
             group by n.queue) q;
    if v_queues is null then
        raise exception using errcode = 'ZB002', message = 'unknown queue', detail = queues.queue,
            hint = 'select distinct queue from tds.entity';
    end if;
    return v_queues;
end
$$;
revoke all on function tds.queues(text) from public;
comment on function tds.queues(text) is
'The queues by priority; or the one of that name, or of that entity. Raises ZB002 for an unknown one.';

create or replace function tds.key_columns(target text) returns text[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return array(select a.attname::text
                   from pg_index i
                  cross join lateral unnest(i.indkey) with ordinality k(attnum, n)
                   join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
                  where i.indrelid = format('zoho.%I', key_columns.target)::regclass and i.indisprimary
                  order by k.n);
end
$$;
comment on function tds.key_columns(text) is 'The columns of a mirror table''s primary key, in order.';
