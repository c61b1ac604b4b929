"""What a page from elsewhere can have an operator's browser do: nothing; and guessing keys costs the database nothing."""

from __future__ import annotations

import base64
import hashlib
import re
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


HTML = {"Accept": "text/html,application/xhtml+xml"}


def log_in(client: httpx.Client, key: str = KEY, **headers: str) -> httpx.Response:
    return client.post("/dashboard/login", data={"key": key}, headers=headers)


def cookie_of(client: httpx.Client) -> dict[str, str]:
    return {"Cookie": "; ".join(f"{name}={value}" for name, value in client.cookies.items())}


def csrf_of(client: httpx.Client) -> str:
    found = re.search(r'name="csrf" value="([0-9a-f]{64})"', client.get("/dashboard", headers=HTML).text)
    assert found
    return found[1]


def test_a_browser_shows_its_key_once_and_then_a_cookie(api: httpx.Client, database: Database) -> None:
    asked = api.get("/dashboard", headers=HTML)
    # no dialogue of the browser's own, which would keep the key and send it along
    assert (asked.status_code, asked.headers["location"]) == (303, "/dashboard/login")
    assert "www-authenticate" not in asked.headers
    page = api.get("/dashboard/login")
    assert page.status_code == 200
    assert "form-action 'self'" in page.headers["content-security-policy"]
    answer = log_in(api)
    assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard")
    [cookie] = answer.headers.get_list("set-cookie")
    named, *attributes = (part.strip().lower() for part in cookie.split(";"))
    assert {"httponly", "samesite=strict", "path=/"} <= set(attributes)
    assert "secure" not in attributes  # this computer
    assert KEY not in cookie
    value = named.partition("=")[2]
    assert api.get("/dashboard", headers=HTML).status_code == 200
    with database.connect(autocommit=True) as owner:
        everything = owner.execute("select string_agg(s::text, '') from tds.api_session s").fetchone()
        assert hashlib.sha256(value.encode()).hexdigest() in str(everything)
        assert value not in str(everything)
        assert hashlib.sha256(KEY.encode()).hexdigest() not in str(everything)


@pytest.mark.parametrize("host", ["tds.example", "10.0.0.5:8000", "[2001:db8::1]:8000"])
def test_off_loopback_the_cookie_goes_over_tls_only(api: httpx.Client, host: str) -> None:
    [cookie] = log_in(api, Host=host).headers.get_list("set-cookie")
    assert "; secure" in cookie.lower()


def test_a_cookie_changes_nothing_without_the_token_of_our_page(
    api: httpx.Client, database: Database
) -> None:
    log_in(api)
    changes = (
        ("POST", f"{BULK}/products"),
        ("POST", f"{BULK}/runs/1/cancel"),
        ("DELETE", f"{BULK}/runs/1"),
    )
    token = csrf_of(api)
    for method, path in changes:
        for forged in ({}, {"X-CSRF-Token": ""}, {"X-CSRF-Token": "0" * 64}, {"X-CSRF-Token": token[:-1]}):
            assert api.request(method, path, headers=forged).status_code == 403, (path, forged)
        own = {"X-CSRF-Token": token}
        for foreign in ({"Origin": "https://elsewhere.example"}, {"Sec-Fetch-Site": "cross-site"}):
            assert api.request(method, path, headers=own | foreign).status_code == 403
    assert api.post("/dashboard/logout", data={"csrf": "0" * 64}).status_code == 403
    assert api.get("/dashboard/logout").status_code == 405
    with database.connect(autocommit=True) as owner:
        assert owner.execute("select count(*) from tds.run").fetchone() == (0,)
    assert api.get(f"{BULK}/runs").status_code == 200
    assert api.post(f"{BULK}/products", headers={"X-CSRF-Token": token}).status_code == 202
    # the token of one browser is not another's
    with httpx.Client(base_url=api.base_url, trust_env=False) as other:
        log_in(other)
        assert other.post(f"{BULK}/products", headers={"X-CSRF-Token": token}).status_code == 403


@pytest.mark.parametrize(
    "said", [{"Origin": "https://elsewhere.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}]
)
def test_nobody_is_logged_in_by_a_page_from_elsewhere(api: httpx.Client, said: dict[str, str]) -> None:
    refused = log_in(api, **said)
    assert refused.status_code == 403
    assert "set-cookie" not in refused.headers


def test_a_session_ends_with_its_key_its_time_and_at_the_button(
    receiver: Receive, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TDS_API_KEY", raising=False)
    with database.connect(autocommit=True) as owner:
        [key] = owner.execute("select tds.create_api_key('somebody')").fetchone() or [""]
        client = receiver()
        log_in(client, key)
        assert client.get(f"{BULK}/runs").status_code == 200
        stolen = cookie_of(client)
        assert client.post("/dashboard/logout", data={"csrf": csrf_of(client)}).status_code == 303
        assert client.get(f"{BULK}/runs", headers=stolen).status_code == 401
        client.cookies.clear()
        log_in(client, key)
        assert client.get(f"{BULK}/runs").status_code == 200
        owner.execute("update tds.api_session set ends_at = tds.now()")
        assert client.get(f"{BULK}/runs").status_code == 401
        assert client.get("/dashboard", headers=HTML).status_code == 303
        log_in(client, key)
        assert client.get(f"{BULK}/runs").status_code == 200
        owner.execute("select tds.revoke_api_key('somebody')")
        assert client.get(f"{BULK}/runs").status_code == 401
        assert log_in(client, key).status_code == 401


def test_sessions_of_the_environment_s_key_end_with_it(
    receiver: Receive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TDS_API_KEY", KEY)
    before = receiver()
    log_in(before)
    cookie = cookie_of(before)
    # another process of the same setting knows the browser, too
    assert receiver().get(f"{BULK}/runs", headers=cookie).status_code == 200
    monkeypatch.setenv("TDS_API_KEY", KEY + "-changed")
    assert receiver().get(f"{BULK}/runs", headers=cookie).status_code == 401


def test_a_key_that_reads_changes_nothing(api: httpx.Client, database: Database) -> None:
    with database.connect(autocommit=True) as owner:
        [key] = owner.execute("select tds.create_api_key('a reader', 'read')").fetchone() or [""]
        [operator] = owner.execute("select tds.create_api_key('an operator')").fetchone() or [""]
    shown = {"X-API-Key": key}
    for path in (f"{BULK}/runs", "/dashboard"):
        assert api.get(path, headers=shown).status_code == 200
    for method, path in (
        ("POST", f"{BULK}/products"),
        ("POST", f"{BULK}/runs/1/cancel"),
        ("DELETE", f"{BULK}/runs/1"),
    ):
        answer = api.request(method, path, headers=shown)
        assert (answer.status_code, answer.json()["reason"]) == (403, "the key a reader may only read")
    log_in(api, key)
    assert api.post(f"{BULK}/products", headers={"X-CSRF-Token": csrf_of(api)}).status_code == 403
    assert api.post("/dashboard/logout", data={"csrf": csrf_of(api)}).status_code == 303
    assert api.post(f"{BULK}/products", headers={"X-API-Key": operator}).status_code == 202
    with database.connect(autocommit=True) as owner:
        assert owner.execute("select count(*) from tds.run").fetchone() == (1,)


def test_guesses_at_the_form_are_slowed_down(receiver: Receive) -> None:
    client = receiver()
    answers = [log_in(client, f"tds_{number:064x}").status_code for number in range(60)]
    answers += [
        client.get(f"{BULK}/runs", headers={"Cookie": f"tds_session=tds_session_{number:064x}"}).status_code
        for number in range(60)
    ]
    assert set(answers) == {401, 429}
    assert answers.count(401) < 60
    too_many = "&".join(f"a{number}=" for number in range(30))
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert receiver().post("/dashboard/login", content=too_many, headers=form).status_code == 400
    assert (
        receiver().post("/dashboard/login", content=b"key=" + b"a" * 70_000, headers=form).status_code == 413
    )


def test_the_api_s_document_loads_nothing_from_elsewhere(api: httpx.Client) -> None:
    page = api.get("/docs")
    policy = dict(
        directive.strip().partition(" ")[::2]
        for directive in page.headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'"
    assert not [source for sources in policy.values() for source in sources.split() if "//" in source]
    loaded = re.findall(r'(?:src|href)="([^"]*)"', page.text)
    assert len(loaded) == 4
    assert "<script>" not in page.text
    for path in loaded:
        assert path.startswith("/docs/")
        answer = api.get(path)
        assert answer.status_code == 200
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.content
    assert not re.findall(r"@import|url\(\s*['\"]?(?:https?:)?//", api.get("/docs/swagger-ui.css").text)
    assert api.get("/openapi.json").json()["openapi"].startswith("3.1")
    for path in ("/docs/", "/docs/nothing", "/docs/..%2fguard.py", "/docs/dashboard.html"):
        assert api.get(path).status_code == 404, path
