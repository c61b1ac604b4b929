"""What TDS is made of besides itself, by its SBOM: `make sbom` writes docs/supply.md."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
LOCK = ROOT / "requirements.lock"
SBOM = ROOT / "sbom.json"
PAGE = ROOT / "docs" / "supply.md"
ALLOWED = (
    "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "LGPL-3.0-only", "MIT", "MIT-0", "MPL-2.0", "PSF-2.0",
    # told by a classifier alone, which leaves the clauses open
    "License :: OSI Approved :: Apache Software License", "License :: OSI Approved :: BSD License",
    "License :: OSI Approved :: Mozilla Public License 2.0 MPL 2.0",
)  # fmt: skip
# told by no field of theirs, only by the licence file they bring; axe-core, which the first brings along, is MPL-2.0
BY_FILE = {"axe-playwright-python": "MIT AND MPL-2.0", "protobuf": "BSD-3-Clause"}
HEAD = """# What TDS is made of

`requirements.lock` names every package that CI and images install, each with the hashes of its files: `make setup` installs no
other. `make lock` makes it anew from `pyproject.toml`; versions stay unless `ARGS="--upgrade"` asks for the newest. `sbom.json`
([CycloneDX](https://cyclonedx.org)) says what was installed, with versions, licences and who needs whom; `make sbom` makes it and the
table below anew, `tests/test_supply.py` compares the three.

Whoever installs the wheel takes the newest versions that `pyproject.toml` allows.

| licence | packages |
|---|---|
"""


def normal(name: str) -> str:
    """The name as PyPI compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(file: Path = LOCK) -> dict[str, tuple[str, list[str]]]:
    """Of each package in a lock file its version and hashes."""
    found = {}
    for entry in re.split(r"\n(?=[a-z0-9])", file.read_text()):
        if named := re.match(r"([A-Za-z0-9_.-]+)==([^ ;\\]+)", entry):
            found[normal(named[1])] = (named[2], re.findall(r"--hash=(\S+)", entry))
    return found


def components() -> list[dict[str, Any]]:
    """The components of the SBOM."""
    listed: list[dict[str, Any]] = json.loads(SBOM.read_text())["components"]
    return listed


def licence(component: dict[str, Any]) -> str:
    """The licence of a component as SPDX has it, else as its author calls it."""
    for acknowledged in ("declared", "concluded"):
        for each in component.get("licenses", ()):
            if "expression" in each:
                return str(each["expression"])
            told = each["license"]
            if told.get("acknowledgement", "declared") == acknowledged and ("id" in told or "name" in told):
                return str(told.get("id") or told["name"])
    return BY_FILE.get(component["name"], "")


def page() -> str:
    """docs/supply.md."""
    by_licence = defaultdict(list)
    for each in components():
        by_licence[licence(each)].append(each["name"])
    rows = (
        f"| {name} | {', '.join(sorted(names, key=str.lower))} |\n"
        for name, names in sorted(by_licence.items())
    )
    return HEAD + "".join(rows)


if __name__ == "__main__":
    PAGE.write_text(page())
