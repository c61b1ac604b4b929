"""What is installed is what was locked, by hash; the SBOM and its page tell of that."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires, version

from tests.supply import ALLOWED, LOCK, PAGE, ROOT, components, licence, locked, normal, page

BESIDES = {"pip", "tds-mirror"}


def wanted() -> set[str]:
    """What pyproject.toml names, its own extras apart."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [
        *project["dependencies"],
        *(each for extra in project["optional-dependencies"].values() for each in extra),
    ]
    return {normal(re.split(r"[^A-Za-z0-9_.-]", each)[0]) for each in named} - BESIDES


def test_all_that_is_wanted_is_locked_with_hashes() -> None:
    lock = locked()
    assert wanted() <= set(lock)
    assert [name for name, (_, hashes) in lock.items() if not hashes] == []
    assert all(each.startswith("sha256:") for _, hashes in lock.values() for each in hashes)
    assert "--require-hashes --requirement requirements.lock" in (ROOT / "Makefile").read_text()
    assert not re.search(r"://|index|@", LOCK.read_text()), "no index but the usual one"


def test_the_sbom_lists_what_was_locked_and_each_licence() -> None:
    lock = locked()
    listed = {normal(each["name"]): each["version"] for each in components()}
    # what another system or an older Python needs is locked as well, and not installed here
    assert {name: told for name, told in listed.items() if name not in BESIDES} == {
        name: lock[name][0] for name in listed if name not in BESIDES
    }
    assert wanted() <= set(listed)
    for each in components():
        parts = re.split(r" (?:AND|OR) ", re.sub(r"[()]", "", licence(each)))
        assert all(part in ALLOWED for part in parts), (each["name"], parts)


def test_what_runs_here_was_locked() -> None:
    for name, (locked_version, _) in locked().items():
        try:
            installed = version(name)
        except PackageNotFoundError:
            continue
        assert installed == locked_version, name
    assert requires("tds-mirror")


def test_the_page_is_of_this_sbom() -> None:
    assert PAGE.read_text() == page(), "make sbom"
