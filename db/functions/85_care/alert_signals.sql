-- What alerts are made of: the checks as they were last looked at, and the stock.

create or replace function tds.health_signals(at timestamptz) returns setof tds.alert_signal
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    select '', s.check_name, '', 'operations', s.state, s.value, c.unit, s.threshold, s.since,
           left(s.check_name
                || case when s.state in ('warning', 'critical') and s.value is not null
                        then format(': %s %s (%s %s %s)', trim_scale(s.value), c.unit, s.state,
                                    case when c.lower_is_worse then 'at most' else 'from' end, trim_scale(s.threshold)) else '' end
                || ': ' || regexp_replace(s.told, '[[:cntrl:]]+', ' ', 'g'), 300),
           s.told,
           case when s.state = 'unknown' then 'mend what the error names; it comes from ' || c.function_name else c.next_step end
      from tds.health_state s
      join tds.health_check c on c.check_name = s.check_name
      left join tds.setting t on t.name = 'health_' || s.check_name
     where s.looked_at <= health_signals.at + interval '1 minute'
       and coalesce((t.value ->> 'alert')::boolean, true);
end
$$;
revoke all on function tds.health_signals(timestamptz) from public;
comment on function tds.health_signals(timestamptz) is
'How each check stood when it was last looked at; those left out whose setting health_<check> says {"alert": false}.';

create or replace function tds.stock_signals() returns setof tds.alert_signal
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    select l.organization_id, 'low_stock', l.zoho_item_id, 'business', 'warning', l.stock_quantity, coalesce(l.unit, ''), l.level,
           null::timestamptz,
           tds.product_line(l.name, l.sku) || format(': %s left, level %s%s', trim_scale(l.stock_quantity) || coalesce(' ' || l.unit, ''),
               trim_scale(l.level), case when l.by_default then ' (the default: it has none of its own)' else '' end),
           '', 'order it; or give it a level of its own in Zoho Books (reorder level)'
      from public.tds_low_stock l
     union all
    select n.organization_id, 'negative_stock', n.zoho_item_id, 'business', 'warning', min(n.quantity), coalesce(min(p.unit), ''),
           0::numeric, null,
           tds.product_line(min(p.name), min(p.sku)) || ': ' || left(string_agg(trim_scale(n.quantity)
               || case when n.zoho_warehouse_id is null then ' in all'
                       else ' in ' || coalesce(w.name, l.warehouse_name, n.zoho_warehouse_id) end,
               ', ' order by n.zoho_warehouse_id nulls first), 200),
           '', 'look for a bill or an adjustment that is missing: tds explain products ' || n.zoho_item_id
      from public.tds_negative_stock n
      left join zoho.products p on p.organization_id = n.organization_id and p.zoho_item_id = n.zoho_item_id
      left join zoho.warehouses w on w.organization_id = n.organization_id and w.zoho_warehouse_id = n.zoho_warehouse_id
      left join zoho.stock_levels l
        on (l.organization_id, l.zoho_item_id, l.zoho_warehouse_id) = (n.organization_id, n.zoho_item_id, n.zoho_warehouse_id)
     where p.deleted_at is null
     group by n.organization_id, n.zoho_item_id;
end
$$;
revoke all on function tds.stock_signals() from public;
comment on function tds.stock_signals() is 'The products of which there are few, or fewer than none.';

create or replace function tds.product_line(name text, sku text) returns text
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    return left(regexp_replace(coalesce(product_line.name, '?'), '[[:cntrl:]]+', ' ', 'g'), 80)
           || coalesce(' (' || left(regexp_replace(nullif(product_line.sku, ''), '[[:cntrl:]]+', ' ', 'g'), 40) || ')', '');
end
$$;
revoke all on function tds.product_line(text, text) from public;
comment on function tds.product_line(text, text) is 'A product as a message names it.';

create or replace function tds.alert_signals(audiences text[], at timestamptz) returns setof tds.alert_signal
language plpgsql stable
set search_path = pg_catalog, pg_temp
-- whoever asks may have them off, for what it does with the answer
set enable_nestloop = on
set enable_seqscan = on
as $$
begin
    if 'operations' = any (alert_signals.audiences) then
        return query select s.* from tds.health_signals(alert_signals.at) s;
    end if;
    if 'business' = any (alert_signals.audiences) then
        return query select s.* from tds.stock_signals() s;
    end if;
end
$$;
revoke all on function tds.alert_signals(text[], timestamptz) from public;
comment on function tds.alert_signals(text[], timestamptz) is 'How all stands that these audiences are told of.';

create or replace function tds.heal_alerts(at timestamptz, dry_run boolean) returns setof tds.healed
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set jit = off
as $$
begin
    if not heal_alerts.dry_run then
        -- what is ill, or was until just now, is looked at before its turn: whether it lasts
        perform tds.look_at_checks(array(
            select s.check_name from tds.health_state s
             where s.state <> 'ok'
                or exists (select from tds.alert a where a.kind = s.check_name and a.organization_id = '' and a.resolved_at is null)),
            heal_alerts.at);
        perform tds.raise_alerts(array['operations']);
    end if;
    return;
end
$$;
revoke all on function tds.heal_alerts(timestamptz, boolean) from public;
grant execute on function tds.heal_alerts(timestamptz, boolean) to tds_worker, tds_operator;
comment on function tds.heal_alerts(timestamptz, boolean) is
'Healing: looks again at what is ill, and opens, escalates and resolves alerts. It mends nothing, so it tells of nothing.';
select tds.register_heal('alerts', 900, 'Looks again at what is ill, and opens, escalates and resolves alerts.');
