"""docs/health.md: its tables of checks, steps and periods, made from the registry."""

from __future__ import annotations

import re

from psycopg import Connection

TABLES = {
    "checks": (
        "| check | unit | warning | critical | looked at every | what it says | what to do |",
        """select c.area, c.check_name, c.unit,
                  case when s.value ->> 'warning' is null then ''
                       when c.lower_is_worse then '≤ ' else '≥ ' end || coalesce(s.value ->> 'warning', ''),
                  case when s.value ->> 'critical' is null then ''
                       when c.lower_is_worse then '≤ ' else '≥ ' end || coalesce(s.value ->> 'critical', ''),
                  (s.value ->> 'minutes') || ' min', c.meaning, c.next_step
             from tds.health_check c join tds.setting s on s.name = 'health_' || c.check_name
            order by c.area, c.check_name""",
    ),
    "steps": (
        "| step | what it mends |",
        "select '', s.step, s.description from tds.heal_step s order by s.position, s.step",
    ),
    "periods": (
        "| what | table | days | what is kept and what goes |",
        """select '', r.what, r.relation, s.value #>> '{}', r.description
             from tds.retention_rule r join tds.setting s on s.name = format('keep_%s_days', r.what)
            where r.reason is null order by r.what""",
    ),
}


def health(page: str, conn: Connection) -> str:
    """The page with its tables made anew.

    Args:
        page: as it is, with a line `<!-- NAME -->` before each table and `<!-- end -->` after it.
        conn: to an upgraded database, whose settings nobody has changed.
    """
    for name, (head, query) in TABLES.items():
        lines = [head, "|" + "---|" * (head.count("|") - 1)]
        area = ""
        for where, *cells in conn.execute(query.encode()).fetchall():
            if where != area:
                area = where
                lines.append(f"| **{area}** |" + " |" * (head.count("|") - 2))
            first, *others = (str(cell).replace("|", "\\|") for cell in cells)
            lines.append(f"| `{first}` | " + " | ".join(others) + " |")
        table = "\n".join(lines)
        page = re.sub(
            rf"(<!-- {name} -->\n).*?(<!-- end -->)",
            lambda found, table=table: f"{found[1]}{table}\n{found[2]}",  # type: ignore[misc]
            page,
            flags=re.DOTALL,
        )
    return page
