"""The images: what builds them is run as they run it, and what starts them is read as far as that goes without an engine."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.supply import LOCK, ROOT, locked

DOCKER = ROOT / "deploy" / "docker"
COMPOSE = DOCKER / "compose.yml"
OURS = ("receiver", "worker", "poller", "upgrade", "backup", "tds")


def copied_to(place: Path) -> Path:
    """The tree as Docker gets it: without what the ignore file leaves out."""
    kept = [
        line[1:] for line in (DOCKER / "Dockerfile.dockerignore").read_text().splitlines() if line[0] == "!"
    ]
    for name in (each for pattern in kept for each in ROOT.glob(pattern)):
        target = place / name.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        if name.is_dir():
            shutil.copytree(name, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(name, target)
    return place


def test_the_steps_of_the_image_make_a_program_that_works(tmp_path: Path) -> None:
    tree, place = copied_to(tmp_path / "src"), tmp_path / "opt" / "tds"
    assert "RUN sh deploy/docker/build.sh /opt/tds" in (DOCKER / "Dockerfile").read_text()
    subprocess.run(
        ["sh", str(tree / "deploy/docker/build.sh"), str(place), sys.executable],
        cwd=tmp_path,
        env=os.environ | {"PIP_COMPILE": "0"},  # what is not imported need not be compiled
        check=True,
    )
    said = subprocess.run(
        [place / "bin" / "tds", "--version"], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert re.fullmatch(r"tds, version [\d.]+\n", said.stdout)
    packages = json.loads(
        subprocess.run(
            [place / "bin" / "python", "-m", "pip", "list", "--format=json", "--disable-pip-version-check"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    )
    installed = {each["name"].lower().replace("_", "-"): each["version"] for each in packages}
    assert not {"pytest", "playwright", "setuptools"} & set(installed)
    assert (place / "share/doc/tds/deploy.md").is_file()


def test_what_the_image_installs_is_locked_as_all_else_is() -> None:
    everything, ours = locked(), locked(ROOT / "deploy" / "requirements.lock")
    assert {name: everything[name] for name in ours} == ours
    assert not re.search(r"://|index|@", LOCK.read_text())
    assert "setuptools" in ours
    assert "pytest" not in ours


def compose() -> dict[str, Any]:
    """compose.yml as a document."""
    read: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return read


@pytest.mark.parametrize("name", OURS)
def test_a_program_in_a_container_may_do_little(name: str) -> None:
    service = compose()["services"][name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.get("privileged")
    assert "network_mode" not in service
    assert service["logging"]["options"]["max-size"]
    assert re.search(r"^USER 10001:10001$", (DOCKER / "Dockerfile").read_text(), re.MULTILINE)


def test_each_program_has_its_own_login_and_only_that() -> None:
    for name, login in {
        "receiver": "receiver",
        "worker": "worker",
        "poller": "poller",
        "tds": "operator",
    }.items():
        text = json.dumps(compose()["services"][name]["environment"])
        assert re.findall(r"\$\{(\w+)", text) == [f"{login.upper()}_PASSWORD"]
        assert f"//{login}_of_tds:$" in text


def test_what_compose_names_is_there(tmp_path: Path) -> None:
    read = compose()
    assert set(read["volumes"]) == {
        each.split(":")[0]
        for service in read["services"].values()
        for each in service.get("volumes", ())
        if not each.startswith(".")
    }
    for service in read["services"].values():
        image = service.get("image", "")
        assert image in {"tds", "tds-postgres"} or re.search(r":v?\d+\.\d+", image), image
        for each in service.get("volumes", ()):
            if each.startswith("."):
                assert (DOCKER / each.split(":")[0]).exists(), each
        for other in service.get("depends_on", ()):
            assert other in read["services"]
    shutil.copytree(DOCKER, tmp_path / "docker")
    for _ in range(2):
        subprocess.run(["sh", str(tmp_path / "docker/passwords.sh")], check=True, capture_output=True)
    made = dict(line.split("=") for line in (tmp_path / "docker/.env").read_text().splitlines())
    assert set(made) == set(re.findall(r"\$\{(\w+):\?", COMPOSE.read_text()))
    assert len(set(made.values())) == len(made)
    assert all(len(each) == 48 for each in made.values())
    for name in (".env", "tds.env"):
        assert (tmp_path / "docker" / name).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("path", sorted(ROOT.glob("deploy/**/Dockerfile")), ids=str)
def test_hadolint_finds_nothing(path: Path) -> None:
    if not (hadolint := shutil.which("hadolint")):
        pytest.skip("there is no hadolint here")
    told = subprocess.run([hadolint, str(path)], capture_output=True, text=True, check=False)
    assert (told.returncode, told.stdout) == (0, "")


def test_docker_takes_the_compose_file() -> None:
    if (
        not shutil.which("docker")
        or subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode
    ):
        pytest.skip("there is no docker compose here")
    subprocess.run(
        ["docker", "compose", "--file", str(COMPOSE), "config", "--quiet"],
        check=True,
        env={"PATH": "/usr/bin:/bin:/usr/local/bin"}
        | {f"{each}_PASSWORD": "x" for each in compose_passwords()},
    )


def compose_passwords() -> set[str]:
    """The passwords that compose.yml wants."""
    return set(re.findall(r"\$\{(\w+)_PASSWORD", COMPOSE.read_text()))
