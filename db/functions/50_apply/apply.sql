create or replace function tds.apply_resolved(entity tds.entity, records tds.record[], at timestamptz) returns tds.verdict[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_left    tds.record[] := apply_resolved.records;
    v_all     tds.verdict[] := array[]::tds.verdict[];
    v_met     record;
    v_written bigint[];
    v_lost    bigint[];
begin
    loop
        select r.organization_ids, r.states, r.verdicts, r.folded into v_met from tds.resolve(apply_resolved.entity, v_left) r;
        -- what stands under something newer is not written, so that no reader refuses it: it is read all the same, whatever it came with
        if v_met.folded is not null and exists (
            select from tds.culprits((apply_resolved.entity).entity,
                                     array(select r from unnest(v_left) r where r.ord in (select f.ord from unnest(v_met.folded) f(ord)))))
        then
            raise exception using errcode = 'ZB001', message = 'a record that cannot be read, under a newer one';
        end if;
        v_lost := null;
        if v_met.states is not null then
            v_written := tds.write_states((apply_resolved.entity).entity, v_met.organization_ids, v_met.states, apply_resolved.at);
            -- written under the version that was read; whoever was faster changed it, so those are looked at again
            if cardinality(v_written) < cardinality(v_met.states) then
                v_lost := array(
                    select r.ord
                      from unnest(v_met.organization_ids, v_met.states) with ordinality s(
                           organization_id, zoho_id, doc, version, hash, modified_at, observed_at, rank, read_at, deleted_at, layers,
                           inbox_id, n)
                      join unnest(v_left) r on r.organization_id = s.organization_id and r.zoho_id = s.zoho_id
                     where s.n not in (select w.n from unnest(v_written) w(n)));
            end if;
        end if;
        exit when v_lost is null;
        v_all := v_all || array(select v from unnest(v_met.verdicts) v where v.ord not in (select l.ord from unnest(v_lost) l(ord)));
        v_left := array(select r from unnest(v_left) r where r.ord in (select l.ord from unnest(v_lost) l(ord)));
    end loop;
    return v_all || coalesce(v_met.verdicts, array[]::tds.verdict[]);
end
$$;
revoke all on function tds.apply_resolved(tds.entity, tds.record[], timestamptz) from public;
comment on function tds.apply_resolved(tds.entity, tds.record[], timestamptz) is
'Resolves records, writes what they mean, and does so once more for rows another worker was faster with. Raises ZB001 where one that '
'cannot be read stands under a newer one.';

create or replace function tds.apply_records(entity tds.entity, records tds.record[], at timestamptz) returns tds.verdict[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_passed   tds.record[];
    v_verdicts tds.verdict[] := array[]::tds.verdict[];
    v_group    record;
    v_weighed  record;
begin
    if exists (select from unnest(apply_records.records) r
                where r.zoho_id is null or (r.modified_at is null and coalesce(r.doc ->> 'last_modified_time', '') <> ''
                                            and not tds.is_time(r.doc ->> 'last_modified_time'))) then
        raise exception using errcode = 'ZB001', message = 'a record without a readable id or last_modified_time';
    end if;
    if not exists (select from unnest(apply_records.records) r where r.is_delete) then
        return tds.apply_resolved(apply_records.entity, apply_records.records, apply_records.at);
    end if;
    v_passed := array[]::tds.record[];
    for v_group in select g.organization_id, g.records, g.deletes from tds.by_organization(apply_records.records) g loop
        if not v_group.deletes then
            v_passed := v_passed || v_group.records;
            continue;
        end if;
        select w.* into v_weighed
          from tds.weigh_deletions(apply_records.entity, v_group.organization_id, v_group.records, apply_records.at) w;
        v_passed := v_passed || v_weighed.passed;
        v_verdicts := v_verdicts || v_weighed.verdicts;
    end loop;
    return v_verdicts || tds.apply_resolved(apply_records.entity, v_passed, apply_records.at);
end
$$;
revoke all on function tds.apply_records(tds.entity, tds.record[], timestamptz) from public;
comment on function tds.apply_records(tds.entity, tds.record[], timestamptz) is
'Applies records of one entity, of any organisations, deletions once they are proved. applied means a row was written by this transaction.';

create or replace function tds.is_data_error(error_code text) returns boolean
language sql immutable parallel safe
as $$ select $1 ~ '^(22|23|44|54)' or $1 in ('P0001', '53400', 'ZB001') $$;
comment on function tds.is_data_error(text) is
'Whether an error can be laid at a record''s door: its data, or that it is too much for the server (54) or for the bound of temporary '
'files (53400). Everything else (serialisation, deadlock, timeouts, resources, our own bugs) is an '
'outage.';

create or replace function tds.stops_all(error_code text) returns boolean
language sql immutable parallel safe
as $$ select $1 ~ '^(08|25|28|57P|58|F0)' or $1 in ('53000', '53100', '53300', '55006', 'ZB040') $$;
comment on function tds.stops_all(text) is
'Whether an error stops every record alike: no connection, a server that shuts down or only reads, a full disk, a locked table, a lost '
'claim. '
'Any other may be that of one record, whatever its SQLSTATE says: a trigger may raise anything.';

create or replace function tds.by_organization(records tds.record[])
returns table (organization_id text, records tds.record[], deletes boolean)
language sql stable
as $$
    select r.organization_id, array_agg(r order by r.ord), bool_or(r.is_delete)
      from unnest($1) r
     group by r.organization_id
     order by r.organization_id
$$;
comment on function tds.by_organization(tds.record[]) is
'Records by their organisations, in the order of these; deletes: one of them is a deletion.';

create or replace function tds.bury_culprits(entity tds.entity, records tds.record[], at timestamptz) returns tds.verdict[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_group record;
    v_dead  tds.verdict[] := array[]::tds.verdict[];
begin
    for v_group in select g.organization_id, g.records from tds.by_organization(bury_culprits.records) g loop
        v_dead := v_dead || tds.bury_culprits(bury_culprits.entity, v_group.organization_id, v_group.records, bury_culprits.at);
    end loop;
    return v_dead;
end
$$;
revoke all on function tds.bury_culprits(tds.entity, tds.record[], timestamptz) from public;
comment on function tds.bury_culprits(tds.entity, tds.record[], timestamptz) is
'Makes dead letters of the culprits of any organisations, one after the other.';

create or replace function tds.left_alone(
    entity tds.entity, culprit tds.record, error_code text, error text, error_context text, at timestamptz) returns tds.verdict
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_out     tds.verdict := tds.dead(left_alone.culprit);
    v_owner   constant text := (left_alone.culprit).organization_id;
    v_context constant text := tds.error_context(left_alone.error_context);
begin
    v_out.outcome := case
        when tds.is_data_error(left_alone.error_code)
        then tds.park(left_alone.culprit, (left_alone.entity).entity, v_owner, left_alone.error_code, left_alone.error, v_context,
                      left_alone.at)
        else tds.wait_alone(left_alone.culprit, v_owner, left_alone.error_code,
                            concat_ws(': ', left_alone.error, case when left_alone.error_code = '55P03'
                                then tds.lock_holders_told((left_alone.entity).entity) end),
                            v_context, left_alone.at) end;
    if v_out.outcome = 'dead' and tds.is_hint(left_alone.entity, v_owner, left_alone.culprit) then
        v_out.wanted := 'a hint that cannot be read';
    end if;
    return v_out;
end
$$;
revoke all on function tds.left_alone(tds.entity, tds.record, text, text, text, timestamptz) from public;
comment on function tds.left_alone(tds.entity, tds.record, text, text, text, timestamptz) is
'The verdict on a record that fails when it stands alone: tds.park() where its data are at fault, else tds.wait_alone().';

create or replace function tds.apply_isolated(
    entity tds.entity, records tds.record[], at timestamptz, apart_until timestamptz default null)
        returns tds.verdict[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_code    text;
    v_error   text;
    v_context text;
    v_out   tds.verdict[] := array[]::tds.verdict[];
    v_half  constant int := cardinality(apply_isolated.records) / 2;
begin
    begin
        return tds.apply_records(apply_isolated.entity, apply_isolated.records, apply_isolated.at);
    exception when others then
        get stacked diagnostics v_code = returned_sqlstate, v_error = message_text, v_context = pg_exception_context;
        if not tds.is_data_error(v_code) and (
               apply_isolated.apart_until is null or tds.stops_all(v_code) or clock_timestamp() > apply_isolated.apart_until) then
            raise;
        end if;
    end;
    if tds.is_data_error(v_code) then
        v_out := tds.bury_culprits(apply_isolated.entity, apply_isolated.records, apply_isolated.at);
    elsif v_code = '55P03' then
        v_out := tds.leave_locked(apply_isolated.entity, apply_isolated.records, apply_isolated.at);
    end if;
    if v_out <> '{}' then
        return v_out
            || tds.apply_isolated(apply_isolated.entity,
                                  array(select r from unnest(apply_isolated.records) r
                                         where r.ord not in (select v.ord from unnest(v_out) v)), apply_isolated.at,
                                             apply_isolated.apart_until);
    end if;
    if v_half = 0 then
        return array[tds.left_alone(apply_isolated.entity, apply_isolated.records[1], v_code, v_error, v_context, apply_isolated.at)];
    end if;
    return tds.apply_isolated(apply_isolated.entity, apply_isolated.records[:v_half], apply_isolated.at, apply_isolated.apart_until)
        || tds.apply_isolated(apply_isolated.entity, apply_isolated.records[v_half + 1:], apply_isolated.at, apply_isolated.apart_until);
end
$$;
revoke all on function tds.apply_isolated(tds.entity, tds.record[], timestamptz, timestamptz) from public;
comment on function tds.apply_isolated(tds.entity, tds.record[], timestamptz, timestamptz) is
'apply_records(), and where the set fails on its data: the culprits named by the strict readers become dead letters; what '
'they missed is found by halving the set until it stands alone, and is tried again later. Errors that are no record''s fault are raised; '
'or, with apart_until, found in the same way, and what they befall waits alone (see tds.wait_alone()), as long as that moment is not past.';

create or replace function tds.insert_new(
    entity tds.entity, inbox_ids bigint[], received_ats timestamptz[], events tds.event[], skip bigint[], at timestamptz,
    out verdicts tds.verdict[], out rest tds.record[], out begun int, out error_code text)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    select n.verdicts, n.rest, n.begun into insert_new.verdicts, insert_new.rest, insert_new.begun
      from tds.insert_events((insert_new.entity).entity, insert_new.inbox_ids, insert_new.received_ats, insert_new.events,
                             insert_new.skip, insert_new.at) n;
exception when others then
    insert_new.error_code := sqlstate;
    if not tds.is_data_error(insert_new.error_code) then
        raise;
    end if;
end
$$;
revoke all on function tds.insert_new(tds.entity, bigint[], timestamptz[], tds.event[], bigint[], timestamptz) from public;
comment on function tds.insert_new(tds.entity, bigint[], timestamptz[], tds.event[], bigint[], timestamptz) is
'The short way: new records inserted and unchanged ones known in one statement, and the rest; begun: how many events held a record; '
'or, where a body or a record spoils the statement, its SQLSTATE. Errors that are no record''s fault are raised.';

create or replace function tds.apply_events(
    entity tds.entity, inbox_ids bigint[], received_ats timestamptz[], wary boolean, at timestamptz, apart_until timestamptz default null)
returns tds.verdict[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_new    record;
    v_wary   boolean := apply_events.wary;
    v_events tds.event[];
    v_dead   tds.verdict[] := array[]::tds.verdict[];
    v_rest   tds.record[];
begin
    if apply_events.apart_until is not null then
        v_events := tds.open_events(apply_events.entity, apply_events.inbox_ids, apply_events.received_ats, apply_events.at);
        v_rest := tds.explode((apply_events.entity).entity, v_events);
        v_dead := tds.bury_culprits(apply_events.entity, v_rest, apply_events.at);
        v_rest := array(select r from unnest(v_rest) r where r.ord not in (select v.ord from unnest(v_dead) v) order by r.ord);
        if v_rest = '{}' then
            return v_dead;
        end if;
        -- even that is too slow: each record alone
        return v_dead || case
            when apply_events.apart_until = '-infinity' and not v_rest[1].alone
            then tds.go_on_alone(v_rest, '57014', 'it takes too long', null, apply_events.at)
            else tds.apply_isolated(apply_events.entity, v_rest, apply_events.at, apply_events.apart_until) end;
    end if;
    if not v_wary then
        select n.* into v_new
          from tds.insert_new(apply_events.entity, apply_events.inbox_ids, apply_events.received_ats, null, '{}',
                              apply_events.at) n;
        -- where one has no id to be known by, nothing was inserted: it is looked for closer
        v_wary := v_new.error_code is not null or exists (select from unnest(v_new.rest) r where (r).zoho_id is null);
    end if;
    if v_wary then
        v_events := tds.open_events(apply_events.entity, apply_events.inbox_ids, apply_events.received_ats, apply_events.at);
        v_dead := tds.bury_culprits(
            apply_events.entity,
            tds.explode((apply_events.entity).entity, v_events,
                        tds.suspects((apply_events.entity).entity, v_events) || tds.outsized_ords(v_events)), apply_events.at);
        select n.* into v_new
          from tds.insert_new(apply_events.entity, null, null, v_events, array(select v.ord from unnest(v_dead) v),
                              apply_events.at) n;
        v_rest := case when v_new.error_code is null then v_new.rest else array(
            select r from unnest(tds.explode((apply_events.entity).entity, v_events)) r
             where r.ord not in (select v.ord from unnest(v_dead) v)) end;
    else
        v_rest := v_new.rest;
        if exists (select from unnest(v_rest) r where tds.may_exceed(r.doc, r.rank = 1)) then
            v_dead := tds.bury_culprits(
                apply_events.entity, array(select r from unnest(v_rest) r where tds.may_exceed(r.doc, r.rank = 1)), apply_events.at);
            v_rest := array(select r from unnest(v_rest) r where r.ord not in (select v.ord from unnest(v_dead) v));
        end if;
        if v_new.begun < cardinality(apply_events.inbox_ids) then
            perform tds.bury_unreadable(apply_events.entity, apply_events.inbox_ids, apply_events.received_ats, apply_events.at);
        end if;
    end if;
    if cardinality(v_rest) > 0 then
        v_dead := v_dead || tds.apply_isolated(apply_events.entity, v_rest, apply_events.at, null);
    end if;
    return coalesce(v_new.verdicts, array[]::tds.verdict[]) || v_dead;
end
$$;
revoke all on function tds.apply_events(tds.entity, bigint[], timestamptz[], boolean, timestamptz, timestamptz) from public;
comment on function tds.apply_events(tds.entity, bigint[], timestamptz[], boolean, timestamptz, timestamptz) is
'What becomes of the records of these events of one entity, whichever organisations they are of: the short way for what is new, '
'unchanged or plainly later, tds.apply_isolated() for the rest. wary: the '
'batch before held something unreadable, so this one is looked through before it is tried. apart_until: it failed as a whole, so it is '
'taken apart until then; -infinity: it is too slow as well, so each of its records goes on alone.';
