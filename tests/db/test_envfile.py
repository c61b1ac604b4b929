"""The file of settings: read by one rule, written whole or not at all, trusted only where nobody else wrote it."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tds_cli as cli
import tds_db as db
import tds_poller as poller
import tds_receiver as receiver
from tds_db import envfile, variables
from tds_db.alerting import AlertSettings
from tds_db.envfile import EnvFileError, load, read, write
from tds_db.images import ImageSettings
from tds_db.settings import DatabaseSettings
from tds_poller.zoho.settings import ZohoSettings
from tds_receiver.api.settings import ApiSettings
from tds_receiver.settings import ReceiverSettings


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that somebody stands in; nothing is set."""
    monkeypatch.chdir(tmp_path)
    for name in [*os.environ]:
        if name.startswith(("TDS_", "ZOHO_")):
            monkeypatch.delenv(name)
    for name in ("ZOHO_DC", "ZOHO_CLIENT_ID", envfile.LOADED):
        # so that monkeypatch takes away what load() sets
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return tmp_path


def test_the_environment_wins_and_a_mended_line_reaches_a_child(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOHO_DC", "eu")
    write(folder / "tds.env", {"ZOHO_DC": "in", "ZOHO_CLIENT_ID": "typo"})
    assert load() == folder / "tds.env"
    assert (os.environ["ZOHO_DC"], os.environ["ZOHO_CLIENT_ID"]) == ("eu", "typo")
    assert envfile.from_environment("ZOHO_CLIENT_ID") is None
    # a program that is started with this environment takes what the file says by then
    write(folder / "tds.env", {"ZOHO_CLIENT_ID": "right"})
    load()
    assert (os.environ["ZOHO_DC"], os.environ["ZOHO_CLIENT_ID"]) == ("eu", "right")
    (folder / "tds.env").write_text("ZOHO_DC=in\n")
    load()
    assert "ZOHO_CLIENT_ID" not in os.environ


def test_where_it_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load() is None
    monkeypatch.setenv(envfile.VARIABLE, str(folder / "no.env"))
    assert load(may_miss=True) is None
    with pytest.raises(EnvFileError, match="Next: tds connect"):
        load()
    (folder / "tds.env").write_text("ZOHO_DC=in\n")
    monkeypatch.setenv(envfile.VARIABLE, "")
    assert load() is None
    assert "ZOHO_DC" not in os.environ


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("A line\n", "Line 1 of .* is not NAME=value"),
        ("\n\n# x\n\nZOHO_DC\n", "Line 5 of "),
        ("ZOHO_CLIENT_SECRET='s3cret\n", "Line 1 of "),
        ("PATH=/tmp\n", "sets PATH, which is no setting of TDS"),
        ("LD_PRELOAD=x\n", "no setting of TDS"),
    ],
)
def test_a_line_that_makes_no_sense(folder: Path, text: str, told: str) -> None:
    (folder / "tds.env").write_text(text)
    with pytest.raises(EnvFileError, match=told) as error:
        load()
    assert "Next: " in str(error.value)
    assert "s3cret" not in str(error.value)


def test_who_may_have_written_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = folder / "tds.env"
    file.write_text("ZOHO_DC=in\n")
    file.chmod(0o602)
    with pytest.raises(EnvFileError, match="chmod 600"):
        load()
    file.chmod(0o644)
    load()
    assert "chmod 600" in capsys.readouterr().err
    if os.geteuid() == 0:
        os.chown(file, 12345, 12345)
        with pytest.raises(EnvFileError, match="belongs to somebody else"):
            load()
        monkeypatch.setenv(envfile.VARIABLE, str(file))
        assert load() == file
        write(file, {"ZOHO_DC": "eu"})
        assert (file.stat().st_uid, stat.S_IMODE(file.stat().st_mode)) == (12345, 0o600)


def test_what_is_there_stays(folder: Path) -> None:
    file = folder / "tds.env"
    file.write_text("# first\nZOHO_DC=in\n\n\nexport TDS_DATA_DIR='/a b'  # why\nZOHO_DC=twice")
    file.chmod(0o640)
    write(file, {"ZOHO_DC": "eu", "ZOHO_CLIENT_ID": "x y"})
    assert (
        file.read_text()
        == "# first\nZOHO_DC=eu\n\n\nexport TDS_DATA_DIR='/a b'  # why\nZOHO_CLIENT_ID='x y'\n"
    )
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    link = folder / "link.env"
    link.symlink_to(file)
    write(link, {"ZOHO_DC": "in"})
    assert link.is_symlink()
    assert read(file)["ZOHO_DC"] == "in"


def test_what_cannot_be_written_leaves_what_was(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = folder / "tds.env"
    write(file, {"ZOHO_DC": "eu"})
    with pytest.raises(EnvFileError, match="line break"):
        write(file, {"ZOHO_DC": "in", "ZOHO_CLIENT_ID": "a\nLD_PRELOAD=x"})

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(EnvFileError, match="No space left on device"):
        write(file, {"ZOHO_DC": "in"})
    assert read(file) == {"ZOHO_DC": "eu"}
    assert [path.name for path in folder.iterdir()] == ["tds.env"]


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"])))
def test_any_value_is_read_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, value: str) -> None:
    file = tmp_path_factory.getbasetemp() / "any.env"
    write(file, {"ZOHO_CLIENT_SECRET": value, "ZOHO_DC": "eu"})
    assert read(file) == {"ZOHO_CLIENT_SECRET": value, "ZOHO_DC": "eu"}


def test_what_an_editor_of_windows_adds_is_no_part_of_a_value(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "tds.env").write_bytes("\ufeffZOHO_DC=eu\r\nZOHO_CLIENT_ID='1000.X'\r\n\r\n# end\r\n".encode())
    # as docker run --env-file gives it
    monkeypatch.setenv("ZOHO_CLIENT_SECRET", "secret\r")
    monkeypatch.setenv("TDS_ENV_FILE", f"{folder}/tds.env\r")
    assert load() == folder / "tds.env"
    values = [os.environ[name] for name in ("ZOHO_DC", "ZOHO_CLIENT_ID", "ZOHO_CLIENT_SECRET")]
    assert values == ["eu", "1000.X", "secret"]
    write(folder / "tds.env", {"ZOHO_CLIENT_ID": "1000.Y"})
    assert read(folder / "tds.env") == {"ZOHO_DC": "eu", "ZOHO_CLIENT_ID": "1000.Y"}


def test_the_names_that_are_known_are_those_that_are_read() -> None:
    settings = (DatabaseSettings, AlertSettings, ImageSettings, ReceiverSettings, ApiSettings, ZohoSettings)
    named = {
        str(field.validation_alias or f"{made.model_config.get('env_prefix', '')}{name}").upper()
        for made in settings
        for name, field in made.model_fields.items()
    }
    named = {name if name.startswith(("TDS_", "ZOHO_")) else f"ZOHO_{name}" for name in named}
    written = {
        name
        for package in (cli, poller, receiver, db)
        for file in Path(package.__path__[0]).rglob("*.py")
        for name in re.findall(r'"(TDS_[A-Z_]*[A-Z])"', file.read_text())
    }
    assert named | written == variables.TDS | variables.ZOHO


def test_what_looks_like_a_setting_is_told_by_name() -> None:
    row = ("ZOHO_ACME_CLIENT_ID", "TDS_ACME_REFRESH_TOKEN", "ACME_WEBHOOK_SECRETS__INVOICES")
    others = ("TDS_SERVICE_HOST", "TDS_PORT_8000_TCP_ADDR", "TDS_TEST_DATABASE_URL", "ZOHO_HOME", "PATH")
    assert variables.unknown([*variables.TDS, *variables.ZOHO, *row, *others]) == []
    assert variables.unknown(["TDS_API_KEYS", "TDS_X", "ZOHO_REFRESH_TOKN", "ZOHO_WEBHOK_SECRET"]) == [
        "TDS_API_KEYS is no setting of TDS; did you mean TDS_API_KEY?",
        "TDS_X is no setting of TDS.",
        "ZOHO_REFRESH_TOKN is no setting of TDS; did you mean ZOHO_REFRESH_TOKEN?",
        "ZOHO_WEBHOK_SECRET is no setting of TDS; did you mean ZOHO_WEBHOOK_SECRET?",
    ]


@pytest.mark.parametrize("name", ["x" * 300, "locked/tds.env"])
def test_a_file_that_may_not_even_be_looked_at_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    looked_at = Path.stat

    def refuse(path: Path, **options: bool) -> os.stat_result:
        if path.parent.name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return looked_at(path, **options)

    monkeypatch.setattr(Path, "stat", refuse)
    monkeypatch.setattr(Path, "open", Mock(side_effect=OSError(13, "Permission denied")))
    monkeypatch.setenv("TDS_ENV_FILE", str(folder / name))
    for call in (load, lambda: write(folder / name, {}), lambda: envfile.check_writable(folder / name)):
        with pytest.raises(EnvFileError, match=name) as raised:
            call()
        assert "Next: " in str(raised.value)
