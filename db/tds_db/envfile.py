"""The one file that settings may stand in: what TDS_ENV_FILE names, else `tds.env` in the folder at hand.

What the environment has already wins over the file. Lines are NAME=value, as systemd, Docker and a shell take
them; values with blanks stand in single quotes; nothing is expanded.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Mapping
from pathlib import Path

from dotenv.parser import Binding, parse_stream

from tds_db.errors import TdsError
from tds_db.variables import is_text

VARIABLE = "TDS_ENV_FILE"
NAME = "tds.env"
PREFIXES = ("TDS_", "ZOHO_", "OTEL_")
LOADED = "TDS_ENV_LOADED"  # the names that came from the file, for the programs that this one starts
PLAIN = re.compile(r"[A-Za-z0-9_./:@%+,=~^-]*")


class EnvFileError(TdsError):
    """The file with the settings cannot be used."""


def env_file() -> Path | None:
    """The file that TDS_ENV_FILE names, else the one where settings would be; None: it is set to nothing."""
    given = os.environ.get(VARIABLE)
    if given is None:
        return Path.cwd() / NAME
    return Path(given).expanduser().absolute() if given else None


def load(*, may_miss: bool = False) -> Path | None:
    """Takes the file's settings into the environment; returns the file, if there is one.

    Args:
        may_miss: whether the file that TDS_ENV_FILE names need not be there yet.

    Raises:
        EnvFileError: it cannot be read, is not to be trusted, or a line of it makes no sense.
    """
    without_returns()
    _check_environment()
    path = env_file()
    if path is None or (not is_there(path) and (VARIABLE not in os.environ or may_miss)):
        return None
    values = read(path)
    before = set(filter(None, os.environ.get(LOADED, "").split(",")))
    for name in before - values.keys():
        os.environ.pop(name, None)
    taken = {name for name in values if name in before or name not in os.environ}
    os.environ.update({name: values[name] for name in taken})
    os.environ[LOADED] = ",".join(sorted(taken))
    return path


def without_returns() -> None:
    """Takes away what a file of Windows' leaves at the end of a value that Docker or a shell has read."""
    for name, value in os.environ.items():
        if name.startswith(PREFIXES) and value.endswith("\r"):
            os.environ[name] = value.rstrip("\r")


def _check_environment() -> None:
    for name, value in os.environ.items():
        if name.startswith(PREFIXES) and not is_text(value):
            raise EnvFileError(f"{name} is no text in UTF-8.", f"Next: set {name} once more, and: tds doctor")


def from_environment(name: str) -> str | None:
    """What the environment itself says, whatever the file does."""
    return None if name in os.environ.get(LOADED, "").split(",") else os.environ.get(name)


def is_there(path: Path) -> bool:
    """Whether there is such a file; one that may not be looked at is, and whoever opens it says why not."""
    try:
        return path.exists()
    except OSError:
        return True


def read(path: Path) -> dict[str, str]:
    """The settings in a file.

    Raises:
        EnvFileError: as in `load`.
    """
    return {item.key: (item.value or "").rstrip("\r") for item in _lines(path) if item.key is not None}


def _lines(path: Path) -> list[Binding]:
    try:
        # an editor of Windows' begins it with a mark, and ends each line with two characters
        with path.open(encoding="utf-8-sig") as file:
            _trust(path, os.fstat(file.fileno()))
            found = list(parse_stream(file))
    except FileNotFoundError:
        told = f"There is no file {path}, which {VARIABLE} names."
        raise EnvFileError(told, f"Next: tds connect, which writes it; or unset {VARIABLE}") from None
    except UnicodeDecodeError:
        raise EnvFileError(f"{path} is no text file.", f"Next: tds connect --file {NAME}") from None
    except OSError as error:
        raise EnvFileError(f"{path} cannot be read: {error.strerror}.", f"Next: ls -l {path}") from None
    for item in found:
        is_whole = item.key is None or (item.value is not None and "\0" not in item.value)
        if item.error or not is_whole:
            # what stands there may be a secret
            line = item.original.line + _before(item).count("\n")
            raise EnvFileError(
                f"Line {line} of {path} is not NAME=value.",
                "Next: mend it; a value with quotes needs others around it",
            )
        if item.key is not None and not item.key.startswith(PREFIXES):
            told = f"{path} sets {item.key}, which is no setting of TDS."
            raise EnvFileError(told, f"Next: take the line out; names begin with {', '.join(PREFIXES)}")
    return found


def _before(item: Binding) -> str:
    """The blank lines above."""
    text = item.original.string
    return text[: len(text) - len(text.lstrip())]


def _trust(path: Path, found: os.stat_result) -> None:
    if VARIABLE not in os.environ and found.st_uid not in {os.geteuid(), 0}:
        raise EnvFileError(
            f"{path} belongs to somebody else (user {found.st_uid}).",
            f"Next: if it is right nevertheless, {VARIABLE}={path}",
        )
    if found.st_mode & stat.S_IWOTH:
        raise EnvFileError(f"{path} may be written by everybody.", f"Next: chmod 600 {path}")
    if found.st_mode & stat.S_IROTH and stat.S_ISREG(found.st_mode):
        sys.stderr.write(f"{path} holds secrets and may be read by everybody. Next: chmod 600 {path}\n")


def write(path: Path, values: Mapping[str, str]) -> None:
    """Sets these names in the file and leaves all else in it as it is. Whole or not at all; mode 0600.

    A group that alone may read it (0640) still may, and its owner stays.

    Raises:
        EnvFileError: the file, or what is to stand in it, is unfit.
    """
    path = path.resolve()
    kept: list[str] = []
    left = dict(values)
    for item in _lines(path) if is_there(path) else []:
        text = item.original.string
        if item.key in values:
            text = _before(item) + (_line(item.key, left.pop(item.key)) if item.key in left else "")
        kept.append(text if text.endswith("\n") or not text else text + "\n")
    text = "".join([*kept, *(_line(name, value) for name, value in left.items())])
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        before = path.stat() if path.exists() else None
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                if before:
                    is_meant = not before.st_mode & stat.S_IROTH
                    os.fchmod(descriptor, 0o600 | (before.st_mode & stat.S_IRGRP if is_meant else 0))
                    if (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()) and os.geteuid() == 0:
                        os.fchown(descriptor, before.st_uid, before.st_gid)
                file.write(text)
                file.flush()
                os.fsync(descriptor)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        told = f"{path} cannot be written: {error.strerror}."
        raise EnvFileError(told, "Next: tds connect --file PATH, or --print") from error


def _line(name: str, value: str) -> str:
    if re.search(r"[\x00-\x1f\x7f]", value):
        raise EnvFileError(f"{name} holds a line break or a control character.", "Next: tds connect")
    if PLAIN.fullmatch(value):
        return f"{name}={value}\n"
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"{name}='{escaped}'\n"


def as_text(values: Mapping[str, str]) -> str:
    """The lines of a file with these settings."""
    return "".join(_line(name, value) for name, value in values.items())


def check_writable(path: Path) -> None:
    """Raises where `write` would fail, before what is to be written is had at a price.

    Raises:
        EnvFileError: the file cannot be read, or none can be made beside it.
    """
    if is_there(path):
        _lines(path)
    probe = path.resolve().with_name(f".{path.name}.{os.getpid()}")
    try:
        os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        probe.unlink()
    except OSError as error:
        told = f"{path} cannot be written: {error.strerror}."
        raise EnvFileError(told, "Next: tds connect --file PATH, or --print") from error
