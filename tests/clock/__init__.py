"""Another time of day for a whole run: of the tests, the programs they start and the database servers.

`clock.c` is put before the C library (LD_PRELOAD) and moves what programs are told when they ask for the time of day.
Time goes on at its own speed from there; monotonic clocks, sleeps and timeouts are not touched. (libfaketime, tried
first, answers clock_nanosleep() wrongly when told to leave the monotonic clock alone, and Python sleeps by it.)
"""

from __future__ import annotations

import ctypes
import os
import shutil
import struct
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

# Not TDS_…: programs are started without what says where TDS is.
FILE = "TEST_CLOCK_FILE"
EACH = "TDS_TEST_EACH_AT"
SECOND = 1_000_000_000


def moment(text: str, now: datetime) -> datetime:
    """`HH:MM[:SS[.f]]` of today, or a date and time in ISO format; UTC unless it says otherwise.

    Raises:
        ValueError: it is neither.
    """
    given = datetime.fromisoformat(text if "-" in text else f"{now:%Y-%m-%d}T{text}")
    return given if given.tzinfo else given.replace(tzinfo=UTC)


def real_now() -> datetime:
    """The time of day, also where this process's own clock is moved."""
    moved = struct.unpack("q", Path(os.environ[FILE]).read_bytes())[0] if FILE in os.environ else 0
    return datetime.now(UTC) - timedelta(seconds=moved / SECOND)


def environment(directory: Path, text: str) -> dict[str, str]:
    """What a program's environment needs for its clock to show `text` now.

    Args:
        directory: where the library and the offset go; whoever runs the servers must be able to enter it.

    Raises:
        RuntimeError: there is no C compiler.
    """
    if not (compiler := shutil.which("cc") or shutil.which("gcc")):
        raise RuntimeError(
            "Another time of day needs a C compiler: install gcc, or run the tests without it."
        )
    library, file = directory / "clock.so", directory / "offset"
    source = Path(__file__).with_name("clock.c")
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-o", library, source],
        check=True,
    )
    now = real_now()
    _write(file, int((moment(text, now) - now).total_seconds() * SECOND))
    library.chmod(0o755)
    return {"LD_PRELOAD": str(library), FILE: str(file)}


class EachTest:
    """Sets this process's clock, and that of the servers it started, to the same time before every test."""

    def __init__(self, text: str) -> None:
        """Takes a file of its own, so that processes that run beside it keep theirs.

        Raises:
            KeyError: the clock of this process cannot be moved: it was not started by `tests.hard`.
        """
        self._text = text
        self._offset = struct.unpack("q", Path(os.environ[FILE]).read_bytes())[0]
        self._file = Path(f"{os.environ[FILE]}.{os.getpid()}")
        # What is made before the first test is an hour old then, and not of the day after.
        self._offset -= 3600 * SECOND
        _write(self._file, self._offset)
        os.environ[FILE] = str(self._file)
        if ctypes.CDLL(None).tds_clock_use(os.fsencode(self._file)) != 0:
            raise OSError(f"cannot use {self._file}")

    def set(self) -> None:
        """It is that time again."""
        real = time.time_ns() - self._offset
        now = datetime.fromtimestamp(real // SECOND, UTC)
        self._offset = int(moment(self._text, now).timestamp() * SECOND) - real
        with self._file.open("r+b") as file:
            file.write(struct.pack("q", self._offset))


def _write(file: Path, offset: int) -> None:
    file.write_bytes(struct.pack("q", offset))
    file.chmod(0o644)
