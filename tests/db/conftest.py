"""Fixtures for the tests of the database tooling, which bring their own migrations and functions."""

from __future__ import annotations

from pathlib import Path

import pytest


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
