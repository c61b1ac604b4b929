"""Who may import whom, that nobody imports in a circle, and that connections have one door."""

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "tds_db": set[str](),
    "tds_receiver": {"tds_db"},
    "tds_poller": {"tds_db"},
    "tds_cli": {"tds_db", "tds_receiver", "tds_poller"},
    "tds_sandbox": set[str](),
    "tds_demo": {"tds_db", "tds_poller", "tds_cli"},
}
"""Each package of ours, and those that it may import. `tds sandbox` is found by its name, when it is run."""

ORACLE = {"tds_demo.compare"}
"""What a comparison is made with shares nothing with what it is made of."""


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    """Every import of every module, those for type checkers and those within functions included."""
    names = sorted(PACKAGES)
    return grimp.build_graph(names[0], *names[1:], include_external_packages=False, cache_dir=None)


def test_packages_import_only_what_they_may(graph: grimp.ImportGraph) -> None:
    crossing = {
        (importer, imported)
        for importer in graph.modules
        for imported in graph.find_modules_directly_imported_by(importer)
        if (wall := imported.partition(".")[0]) != importer.partition(".")[0]
        and wall not in PACKAGES[importer.partition(".")[0]]
    }
    assert crossing == set()


def test_the_oracle_shares_nothing(graph: grimp.ImportGraph) -> None:
    for module in ORACLE:
        assert graph.find_modules_directly_imported_by(module) == set()


def test_nobody_imports_in_a_circle(graph: grimp.ImportGraph) -> None:
    order = graphlib.TopologicalSorter(
        {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    )
    order.prepare()


def _product_files() -> Iterator[Path]:
    for folder in ("db/tds_db", "receiver/tds_receiver", "poller/tds_poller", "cli/tds_cli"):
        yield from sorted((ROOT / folder).rglob("*.py"))


def _opens_a_connection(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    called = ast.unparse(node.func)
    return called.endswith("Pool") or (
        called.rpartition(".")[0]
        in {
            "psycopg",
            "psycopg.Connection",
            "psycopg.AsyncConnection",
            "Connection",
            "AsyncConnection",
            "Connection[DictRow]",
        }
        and called.endswith(".connect")
    )


def test_connections_are_opened_in_one_place_which_names_them() -> None:
    """Whoever looks at pg_stat_activity reads who it is: `tds/<component>/<host>`."""
    found = {
        path.relative_to(ROOT).as_posix()
        for path in _product_files()
        for node in ast.walk(ast.parse(path.read_text()))
        if _opens_a_connection(node)
    }
    assert found == {"db/tds_db/connect.py"}
