"""What becomes of a record does not depend on what comes with it."""

from __future__ import annotations

from typing import Any

from psycopg.types.json import Jsonb

from tests.conftest import share
from tests.db.servers import Database
from tests.sql.conftest import ORGANIZATION, Mirror

# Every mapped key of every entity, at the top, in an array and in an array of an array, with values of many kinds.
ODD = """
    with value(odd) as (
        values ('null'::jsonb), ('[]'), ('{}'), ('[1]'), ('[[]]'), ('{"a": 1}'), ('-1.5'), ('true'), ('"word"'), ('"1,234.50"'),
               ('"2026-01-02"'), ('"2026-13-02"')
    ), place as (
        select n.entity, n.id_key, f.list_key, f.key from tds.entity n join tds.field f on f.entity = n.entity
         union
        select n.entity, n.id_key, '', split_part(f.list_key, '.', 1) from tds.entity n join tds.field f on f.entity = n.entity
         where f.list_key <> ''
    ), odd as (
        select p.entity,
               case when p.list_key = '' then one.pair
                    when p.list_key like '%%.%%' then jsonb_build_object(split_part(p.list_key, '.', 1), jsonb_build_array(
                         o.outer_keys || jsonb_build_object(split_part(p.list_key, '.', 2), jsonb_build_array(o.keys || one.pair))))
                    when o.is_object then jsonb_build_object(p.list_key, one.pair)
                    else jsonb_build_object(p.list_key, jsonb_build_array(o.keys || one.pair)) end as doc,
               p.id_key, p.key, row_number() over (partition by p.entity order by p.list_key, p.key, v.odd) as n
          from place p
         cross join value v
         cross join lateral (select jsonb_build_object(p.key, v.odd)) one(pair)
         cross join lateral (
               select coalesce(jsonb_object_agg(f.key, '9') filter (where f.required and f.list_key = p.list_key), '{}') as keys,
                      coalesce(jsonb_object_agg(f.key, '9') filter (where f.required and f.list_key = split_part(p.list_key, '.', 1)),
                               '{}') as outer_keys,
                      coalesce(bool_or(f.list_key = '' and f.key = p.list_key and f.reader = 'object'), false) as is_object
                 from tds.field f where f.entity = p.entity) o
    )
    select o.entity, jsonb_agg(jsonb_build_object(o.id_key, (7000000 + o.n)::text) || o.doc order by o.n) as docs
      from odd o
     group by o.entity
     order by o.entity
"""

# A batch is looked through by the strict readers only once it has failed. So whom they name must be who cannot be written.
FATES = """
    create function pg_temp.fates(entity text, docs jsonb)
    returns table (doc jsonb, named text, refused text) language plpgsql as $$
    declare
        v_entity  tds.entity;
        v_records tds.record[];
        v_set     tds.record[];
    begin
        select n.* into strict v_entity from tds.entity n where n.entity = fates.entity;
        v_records := tds.explode(fates.entity, array[row(0, 0, tds.now(), false, tds.now(), null, 3, false, fates.docs,
            false, '{organization}')::tds.event]);
        create temp table culprit on commit drop as select c.* from tds.culprits(fates.entity, v_records) c;
        -- those that nobody names together first, and one by one if that fails; each of the others alone
        for v_set in
            select array_agg(r) from unnest(v_records) r left join culprit c on c.ord = r.ord group by coalesce(c.ord, 0)
        loop
            return query select f.* from pg_temp.fate(v_entity, v_set) f;
        end loop;
        drop table culprit;
    end
    $$;
    create function pg_temp.fate(entity tds.entity, records tds.record[])
    returns table (doc jsonb, named text, refused text) language plpgsql as $$
    begin
        doc := (records[1]).doc;
        named := (select c.path || ': ' || c.reason from pg_temp.culprit c where c.ord = (records[1]).ord);
        begin
            perform tds.apply_records(entity, records, tds.now());
            raise exception using errcode = 'ZZ999';
        exception when others then
            if sqlstate <> 'ZZ999' then
                refused := sqlstate || ' ' || sqlerrm;
            end if;
        end;
        if refused is null or cardinality(records) = 1 then
            return next;
        else
            return query select f.* from unnest(records) r cross join lateral pg_temp.fate(entity, array[r]) f;
        end if;
    end
    $$
"""


def test_the_strict_readers_name_exactly_who_cannot_be_written(database: Database, mirror: Mirror) -> None:
    mirror.conn.execute(FATES.replace("{organization}", ORGANIZATION).encode())
    wrong: list[tuple[str, dict[str, Any]]] = []
    named = 0
    for odd in mirror.rows(ODD):
        docs = share(odd["docs"], database.leg)
        fates = mirror.rows("select f.* from pg_temp.fates(%s, %s) f", odd["entity"], Jsonb(docs))
        wrong += [(odd["entity"], f) for f in fates if (f["named"] is None) != (f["refused"] is None)]
        named += sum(f["named"] is not None for f in fates)
    assert named > 1000
    assert wrong == []
