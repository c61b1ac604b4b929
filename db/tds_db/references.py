"""Where the credentials of an organisation stand, and what stands there: the database has the place only.

`env:PREFIX_` are variables (PREFIX_CLIENT_ID, PREFIX_WEBHOOK_SECRET, …) of the environment, or of the file of
settings (`tds.env`), which is read anew each time. `file:/path` is a file of lines ZOHO_CLIENT_ID=…, or a
directory with a file for each of these names, as Docker, Kubernetes and systemd give secrets.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from tds_db.envfile import LOADED, EnvFileError, env_file, is_there, read
from tds_db.errors import TdsError

OWN = "ZOHO_"
LARGEST = 64 * 1024  # bytes of a secret's file


class NotThereError(TdsError):
    """What a reference says is not there."""


def resolved(reference: str) -> dict[str, str]:
    """What stands where a reference says, by the names that settings have: `ZOHO_CLIENT_ID`, ….

    Args:
        reference: `env:PREFIX_` or `file:/path`.

    Raises:
        NotThereError: nothing is there, or it cannot be read. No value is shown.
    """
    kind, _, place = reference.partition(":")
    if kind == "env" and place:
        return _of_environment(place.rstrip("_") + "_")
    if kind == "file" and place.startswith("/"):
        return _of_file(Path(place))
    raise NotThereError(
        "This does not say where credentials stand.",
        "Next: env:PREFIX_ or file:/path, never the secret itself",
    )


def _of_environment(prefix: str) -> dict[str, str]:
    found = {
        OWN + name.removeprefix(prefix): value
        for name, value in _environment().items()
        if name.startswith(prefix) and value
    }
    if not found:
        where = env_file()
        told = f", nor in {where}" if where is not None else ""
        raise NotThereError(
            f"No variable begins with {prefix}, in the environment{told}.",
            f"Next: set {prefix}CLIENT_ID, {prefix}CLIENT_SECRET and {prefix}REFRESH_TOKEN",
        )
    return found


def _environment() -> Mapping[str, str]:
    """The environment, and of the file of settings what it says now rather than when it was loaded."""
    loaded = set(filter(None, os.environ.get(LOADED, "").split(",")))
    own = {name: value for name, value in os.environ.items() if name not in loaded}
    path = env_file()
    return {**read(path), **own} if path is not None and is_there(path) else dict(os.environ)


def _of_file(path: Path) -> dict[str, str]:
    try:
        if path.is_dir():
            found = {
                _named(each.name): each.read_text("utf-8")[:LARGEST].strip()
                for each in sorted(path.iterdir())
                if each.is_file() and not each.name.startswith(".")
            }
        else:
            if not path.exists():
                raise NotThereError(f"There is no file {path}.", f"Next: ls -l {path.parent}")
            found = read(path)
    except EnvFileError as error:
        raise NotThereError(error.message, error.hint) from None
    except UnicodeDecodeError:
        raise NotThereError(f"A file of {path} is no text.", f"Next: ls -l {path}") from None
    except OSError as error:
        raise NotThereError(f"{path} cannot be read: {error.strerror}.", f"Next: ls -ld {path}") from None
    found = {name: value for name, value in found.items() if name.startswith(OWN) and value}
    if not found:
        raise NotThereError(f"{path} holds no name that begins with {OWN}.", f"Next: {OWN}CLIENT_ID=… in it")
    return found


def _named(name: str) -> str:
    upper = name.upper().replace("-", "_")
    return upper if upper.startswith(OWN) else OWN + upper
