"""A job that asks, forgets or mends many things goes on with the others, and names the one that it could not do."""

from __future__ import annotations

import pytest

from tests.sql.conftest import ORGANIZATION, Mirror, mirror

__all__ = ["mirror"]


@pytest.mark.parametrize("poisonous", ["bills", "stock", "customers"])
def test_one_list_that_cannot_be_asked_for_keeps_no_other_waiting(mirror: Mirror, poisonous: str) -> None:
    for step in ("begin", "finish"):
        mirror.conn.execute(f"select tds.{step}_full_pull(%s)", [ORGANIZATION])
    mirror.conn.execute("delete from tds.run")
    mirror.conn.execute(
        f"""create function public.poison() returns trigger language plpgsql as $$
            begin
                if new.entity = '{poisonous}' then raise 'poison'; end if;
                return new;
            end $$;
            create trigger poison before insert on tds.run for each row execute function public.poison()"""
    )
    asked = mirror.value("select tds.request_scheduled(true) + tds.request_scheduled(false)")
    entities = {row["entity"] for row in mirror.rows("select distinct entity from tds.run")}
    assert asked >= len(entities) > 5
    assert poisonous not in entities
    [aside] = mirror.rows("select job, item, error_code, error from tds.set_aside")
    assert aside == {
        "job": "request_scheduled",
        "item": f"{poisonous} of {ORGANIZATION}",
        "error_code": "P0001",
        "error": "poison",
    }
