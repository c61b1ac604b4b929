"""Fixtures for the tests of the database tooling, which bring their own migrations and functions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pgmq import get_embedded_install_sql

from tests.conftest import all_servers
from tests.db.servers import FAST, PrivateServer


class Files:
    """A directory like db/, with as little in it as a test needs."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "migrations").mkdir()
        (directory / "functions").mkdir()

    def migration(self, name: str, text: str) -> Path:
        """Writes migrations/<name>."""
        return self._write(self.directory / "migrations" / name, text)

    def function(self, name: str, text: str) -> Path:
        """Writes functions/<name>."""
        return self._write(self.directory / "functions" / name, text)

    @staticmethod
    def _write(path: Path, text: str) -> Path:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """A directory with one migration and one function file."""
    made = Files(tmp_path)
    made.migration("0001_first.sql", "create table tds.thing (id int primary key);\n")
    made.function(
        "10_layer/one.sql", "create or replace function tds.one() returns int language sql as 'select 1';\n"
    )
    return made


@pytest.fixture
def offering_pgmq(request: pytest.FixtureRequest) -> Iterator[PrivateServer]:
    """A server that offers pgmq as an extension: the script of the Python package, dressed as one."""
    servers = all_servers(request.config)
    extensions = servers.directory / "extensions/extension"
    if not extensions.exists():
        extensions.mkdir(parents=True)
        (extensions / "pgmq.control").write_text(
            "default_version = '1.99.0'\nsuperuser = false\nrelocatable = false\nschema = 'pgmq'\n"
        )
        (extensions / "pgmq--1.99.0.sql").write_text(get_embedded_install_sql())
    private = servers.private(settings=FAST | {"extension_control_path": f"'{extensions.parent}:$system'"})
    yield private
    private.stop()
