"""`make docs`: makes the documents anew, on an embedded server of its own."""

from __future__ import annotations

from pathlib import Path

from tests.db.servers import Servers
from tests.docs.commands import Story, commands
from tests.docs.health import health
from tests.docs.reference import reference

DOCS = Path(__file__).parents[2] / "docs"

if __name__ == "__main__":
    servers = Servers()
    try:
        with servers.get("pg18").database() as database, database.connect() as conn:
            (DOCS / "reference.md").write_text(reference(conn), encoding="utf-8")
            page = (DOCS / "health.md").read_text(encoding="utf-8")
            (DOCS / "health.md").write_text(health(page, conn), encoding="utf-8")
        with (
            servers.get("pg18").database() as database,
            Story(database, servers.directory / "data").told() as story,
        ):
            page = (DOCS / "commands.md").read_text(encoding="utf-8")
            (DOCS / "commands.md").write_text(commands(page, story), encoding="utf-8")
    finally:
        servers.close()
