"""That broken lines are broken as intended, and that somebody stands near every file."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.mutants.__main__ import PRODUCT, ROOT
from tests.mutants.near import NEAR, near_to
from tests.mutants.operators import mutations

FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in PRODUCT
    for suffix in (".sql", ".py")
    for path in (ROOT / folder).rglob(f"*{suffix}")
)


def test_tests_stand_near_every_file() -> None:
    assert {known for known in NEAR if not (ROOT / known).exists()} == set()
    missing = {test for name in FILES for test in near_to(name) if not (ROOT / test).exists()}
    assert missing == set()


@pytest.mark.parametrize(
    ("line", "broken"),
    [
        ("    where a < b and c is null", {"where a <= b and c is null", "where a < b or c is null", "where a < b and c is not null",
                                           "where true and c is null", "where a < b"}),
        ("    if a.b is null or not x then", {"if a.b is not null or not x then", "if a.b is null and not x then", "if a.b is null  then",
                                              "if not (a.b is null or not x) then"}),
        ("    where t.n between x and y", {"where true"}),
        ("    perform tds.f(1);", {"null;", "perform tds.f(2);"}),
        ("    -- where a < b", set()),
        ("comment on function f() is 'a < b and 1';", set()),
    ],
)  # fmt: skip
def test_a_line_of_sql_is_broken(line: str, broken: set[str]) -> None:
    assert {mutation.apply(line).strip() for mutation in mutations("x.sql", line)} == broken


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("if a < b and c:\n    return 1\nd()\n", 6),
        ("x: int = 3\n", 1),
        ("def f(a: int | None = None) -> int | None:\n    return a\n", 0),
        ("é = 'é' if a is None else 'é'\n", 2),
    ],
)
def test_a_line_of_python_is_broken_and_stays_python(text: str, broken: int) -> None:
    found = {mutation.apply(text) for mutation in mutations("x.py", text)}
    assert len(found) == broken
    for changed in found:
        ast.parse(changed)


def test_every_broken_python_file_can_be_read() -> None:
    for name in FILES:
        if name.endswith(".py"):
            source = (ROOT / name).read_text()
            for mutation in mutations(name, source)[::25]:
                ast.parse(mutation.apply(source), filename=str(Path(name)))
