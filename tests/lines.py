"""`make lint`: no line of a text file is longer than 140 characters."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

LONGEST = 140
DATA = {".json", ".lua", ".png", ".svg"}
# Applied migrations are never edited, not even their lines.
OLD_MIGRATION = re.compile(r"db/migrations/00([01]\d|2[0-3])_")
MADE = "tests/sql/made/"


def long_lines(root: Path) -> Iterator[tuple[str, int, int]]:
    """File, line and length of each line that is too long, of what git knows or would add.

    Rows of tables and what stands between fences in Markdown cannot be broken.
    """
    listed = ["git", "-C", str(root), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listed, capture_output=True, check=True).stdout.decode().split("\0")
    for name in sorted(filter(None, names)):
        path = root / name
        if path.suffix in DATA or OLD_MIGRATION.match(name) or name.startswith(MADE) or not path.is_file():
            continue
        fenced = False
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if path.suffix == ".md":
                fenced ^= line.startswith("```")
                if fenced or line.startswith("|"):
                    continue
            if len(line) > LONGEST:
                yield name, number, len(line)


if __name__ == "__main__":
    found = list(long_lines(Path(__file__).parents[1]))
    for name, number, length in found:
        print(f"{name}:{number}: {length} characters, more than {LONGEST}")
    sys.exit(bool(found))
