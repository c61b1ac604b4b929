"""What a page from elsewhere can have an operator's browser do: nothing; and guessing keys costs the database nothing."""

from __future__ import annotations

import base64
from collections import Counter
from typing import Any

import httpx
import pytest

from tds_receiver.api.store import Store
from tests.db.servers import Database
from tests.receiver.conftest import Receive

KEY = "a-key-of-the-environment"
BULK = "/api/zoho/bulk-sync"
BASIC = {"Authorization": "Basic " + base64.b64encode(f"any:{KEY}".encode()).decode()}


@pytest.fixture
def api(receiver: Receive, monkeypatch: pytest.MonkeyPatch) -> httpx.Client:
    monkeypatch.setenv("TDS_API_KEY", KEY)
    return receiver(webhook_secret="a1b2c3d4e5f6")


def test_what_a_browser_remembers_changes_nothing(api: httpx.Client, database: Database) -> None:
    assert api.get("/dashboard", headers=BASIC).status_code == 200
    for method, path in (
        ("POST", f"{BULK}/products"),
        ("POST", f"{BULK}/runs/1/cancel"),
        ("DELETE", f"{BULK}/runs/1"),
    ):
        answer = api.request(method, path, headers=BASIC)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), path
    with database.connect(autocommit=True) as conn:
        assert conn.execute("select count(*) from tds.run").fetchone() == (0,)
    for key in ({"Authorization": f"Bearer {KEY}"}, {"X-API-Key": KEY}):
        assert api.post(f"{BULK}/products", headers=key).status_code == 202


@pytest.mark.parametrize(
    "said",
    [
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_page_of_another_origin_is_refused(api: httpx.Client, said: dict[str, str]) -> None:
    key = {"X-API-Key": KEY}
    assert api.post(f"{BULK}/products", headers=key | said).status_code == 403
    assert api.delete(f"{BULK}/runs/1", headers=key | said).status_code == 403
    own = {"Origin": str(api.base_url).rstrip("/"), "Sec-Fetch-Site": "same-origin"}
    assert api.post(f"{BULK}/products", headers=key | own).status_code == 202
    # and no page is told that it may read
    preflight = api.options(f"{BULK}/products", headers=said | {"Access-Control-Request-Method": "POST"})
    assert not [name for name in preflight.headers if name.startswith("access-control")]


def test_guesses_of_keys_ask_the_database_few_times(
    receiver: Receive, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: Counter[str] = Counter()
    value = Store._value

    async def counted(self: Store, query: str, *given: object, **named: Any) -> Any:
        asked[query] += 1
        return await value(self, query, *given, **named)

    monkeypatch.setattr(Store, "_value", counted)
    client = receiver()
    answers = [
        client.get(f"{BULK}/runs", headers={"X-API-Key": f"tds_{number:064x}"}).status_code
        for number in range(300)
    ]
    assert set(answers) == {401, 429}
    assert asked.total() == answers.count(401) < 200
    # without a key nothing is guessed
    assert {receiver().get(f"{BULK}/runs").status_code for _ in range(2)} == {401}
