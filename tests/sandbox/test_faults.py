"""Faults on demand."""

from __future__ import annotations

from collections import Counter

import httpx
import pytest

from tds_sandbox.errors import SandboxError
from tds_sandbox.faults import Faults
from tds_sandbox.limits import UNLIMITED
from tds_sandbox.organisation import Organisation
from tds_sandbox.serve import running
from tests.sandbox.conftest import sign_in


def test_named_faults_strike_the_next_calls() -> None:
    with running(Organisation(items=300), limits=UNLIMITED) as sandbox, sign_in(sandbox) as books:
        sandbox.faults.set(next=["500", "502", "44", "1070", "cut_before", "cut_within"])
        assert (books.get("/items").status_code, sandbox.faults.struck) == (500, 1)
        proxy = books.get("/items")
        assert (proxy.status_code, proxy.headers["content-type"]) == (502, "text/html; charset=utf-8")
        assert books.get("/items").json()["code"] == 44
        assert books.get("/items").json()["code"] == 1070
        with pytest.raises(httpx.RemoteProtocolError, match="without sending"):
            books.get("/items")
        with pytest.raises(httpx.RemoteProtocolError, match=r"incomplete|peer closed"):
            books.get("/items")
        assert books.get("/items").status_code == 200
        assert sandbox.ledger.summary()["by_status"]["0"] == 2
        assert sandbox.limits.in_process == 0


def test_shares_are_seeded() -> None:
    def drawn(seed: int) -> list[str]:
        faults = Faults()
        faults.set(seed=seed, error_500=0.05, cut_before=0.02, codes={"44": 0.01}, only="^/items")
        hits = [faults.draw("/items") for _ in range(2000)]
        assert all(faults.draw("/contacts") is None for _ in range(100))
        return [str(hit.error.code) if hit and hit.error else hit.cut if hit else "" for hit in hits]

    counts = Counter(drawn(3))
    assert drawn(3) == drawn(3) != drawn(4)
    assert counts["1000"] / 2000 == pytest.approx(0.05, abs=0.02)
    assert counts["before"] / 2000 == pytest.approx(0.02, abs=0.01)
    assert counts["44"] > 5


@pytest.mark.parametrize(
    "settings",
    [
        {"error_500": 1.5},
        {"codes": {"99": 0.1}},
        {"next": ["fire"]},
        {"only": "("},
        {"unknown": 1},
        {"slow": "x"},
    ],
)
def test_bad_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(SandboxError):
        Faults().set(**settings)
