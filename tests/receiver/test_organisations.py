"""Each organisation has addresses and secrets of its own, which are known without a restart."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

import httpx
import pytest

from tds_receiver import inbox
from tests.db.servers import Database
from tests.journeys.waiting import wait_until
from tests.receiver.conftest import Receive

OWN, ONE, OTHER = "748139205", "81000000001", "81000000002"
SECRETS = {OWN: "own1secret2345", ONE: "one1secret2345", OTHER: "other1secret2345", "new": "new1secret2345"}
BODY = (
    b'{"item": {"item_id": "460000000026001", "name": "A", "last_modified_time": "2026-06-09T09:46:21-0400"}}'
)


def signed(secret_of: str, body: bytes = BODY, query: str = "") -> dict[str, str]:
    text = "".join(sorted(query.replace("=", "").split("&"))).encode() + body
    return {
        "content-type": "application/json",
        "x-zoho-webhook-signature": hmac.new(SECRETS[secret_of].encode(), text, hashlib.sha256).hexdigest(),
    }


def post(
    client: httpx.Client, address: str, secret_of: str, body: bytes = BODY, query: str = ""
) -> tuple[int, str]:
    url = f"/api/zoho/{address}webhooks/products" + (f"?{query}" if query else "")
    answer = client.post(url, content=body, headers=signed(secret_of, body, query))
    return answer.status_code, answer.json()["status"]


def until(client: httpx.Client, address: str, secret_of: str, code: int) -> None:
    """Waits until that is answered so: rows are looked at with every sign of life."""
    wait_until(lambda: post(client, address, secret_of)[0] == code, f"{code} is answered")


@pytest.fixture
def addresses(
    database: Database, receiver: Receive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> httpx.Client:
    """A receiver of the environment's organisation and of two that are rows."""
    monkeypatch.setattr(inbox, "TELL_SECONDS", 1.2)
    monkeypatch.setattr(inbox, "IDLE_SECONDS", 0.1)
    with database.connect(autocommit=True) as conn:
        for organization in (ONE, OTHER):
            file = tmp_path / organization
            file.write_text(f"ZOHO_WEBHOOK_SECRET={SECRETS[organization]}\n")
            file.chmod(0o600)
            conn.execute("select tds.org_add(%s, credentials => %s)", [organization, f"file:{file}"])
    client = receiver(organization_id=OWN, webhook_secret=SECRETS[OWN])
    until(client, f"{ONE}/", ONE, 202)
    return client


def stored(database: Database) -> list[tuple[str, bool]]:
    with database.connect(autocommit=True) as conn:
        return [
            (str(row[0]), bool(row[1]))
            for row in conn.execute(
                "select organization_id, refusal is not null from tds.inbox order by inbox_id"
            )
        ]


def test_a_secret_signs_for_its_own_organisation_only(addresses: httpx.Client, database: Database) -> None:
    urls = {OWN: ("", f"{OWN}/"), ONE: (f"{ONE}/",), OTHER: (f"{OTHER}/",)}
    for whose, own in urls.items():
        for secret_of in SECRETS:
            for url in own:
                expected = 202 if secret_of == whose else 401
                assert post(addresses, url, secret_of)[0] == expected, (url, secret_of)
    # the query names another than the path; or, at the address of all, one whose secret is not shown
    assert post(addresses, f"{ONE}/", ONE, query=f"organization_id={OTHER}")[0] == 400
    assert post(addresses, "", OWN, query=f"organization_id={ONE}")[0] == 401
    assert post(addresses, "", ONE, query=f"organization_id={ONE}")[0] == 202
    assert {organization for organization, _ in stored(database)} == {OWN, ONE, OTHER}
    assert not any(refused for _, refused in stored(database))
    # the body names another: stored at whose address it came to, and a dead letter
    for url, whose, named in ((f"{ONE}/", ONE, OTHER), ("", OWN, ONE), (f"{OWN}/", OWN, OTHER)):
        body = BODY.replace(b'"name"', f'"organization_id": "{named}", "name"'.encode())
        assert post(addresses, url, whose, body) == (202, "rejected")
    assert addresses.post(f"/api/zoho/{ONE}/webhooks/products", content=BODY).status_code == 401
    assert post(addresses, "81000000009/", ONE)[0] == 404


def test_what_is_paused_is_stored_and_what_is_removed_refused(
    addresses: httpx.Client, database: Database, tmp_path: Path
) -> None:
    with database.connect(autocommit=True) as conn:
        conn.execute("select tds.org_pause(%s)", [ONE])
        conn.execute("select tds.org_remove(%s)", [OTHER])
        until(addresses, f"{OTHER}/", OTHER, 404)
        assert post(addresses, f"{ONE}/", ONE)[0] == 202
        # another secret, an organisation more: known without a restart
        (tmp_path / ONE).write_text("ZOHO_WEBHOOK_SECRET=new1secret2345,one1secret2345\n")
        until(addresses, f"{ONE}/", "new", 202)
        assert post(addresses, f"{ONE}/", ONE)[0] == 202
        (tmp_path / ONE).unlink()
        conn.execute("select tds.org_add('81000000003', credentials => %s)", [f"file:{tmp_path / ONE}"])
        until(addresses, "81000000003/", ONE, 503)
        # those of before stay good while they cannot be read
        assert post(addresses, f"{ONE}/", "new")[0] == 202
        (tmp_path / ONE).write_text("ZOHO_WEBHOOK_SECRET=short\n")
        until(addresses, "81000000003/", ONE, 503)


def test_an_endpoint_of_an_organisation_may_have_a_secret_of_its_own(
    database: Database, receiver: Receive, tmp_path: Path
) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "webhook_secret").write_text(SECRETS[ONE])
    (tmp_path / "secrets" / "ZOHO_WEBHOOK_SECRETS__ITEMS").write_text(SECRETS[OTHER])
    with database.connect(autocommit=True) as conn:
        conn.execute("select tds.org_add(%s, credentials => %s)", [ONE, f"file:{tmp_path}/secrets"])
    client = receiver(organization_id=None, webhook_secret="")
    until(client, f"{ONE}/", OTHER, 202)
    assert post(client, f"{ONE}/", ONE)[0] == 401
    # it is the only one: the address that names nobody is its, and asks for its secret
    assert post(client, "", OTHER)[0] == 202
    assert post(client, "", ONE)[0] == 401
    url = f"/api/zoho/{ONE}/webhooks/customers"
    assert client.post(url, content=BODY, headers=signed(ONE)).status_code == 202
    with database.connect(autocommit=True) as conn:
        conn.execute("select tds.org_add('81000000004', credentials => %s)", [f"file:{tmp_path}/secrets"])
    until(client, "81000000004/", OTHER, 202)
    # now there are two, and it says nothing
    assert post(client, "", OTHER)[0] == 404


def test_the_bulk_sync_of_one_shows_and_asks_for_that_one_only(
    addresses: httpx.Client, database: Database
) -> None:
    with database.connect(autocommit=True) as conn:
        [key] = conn.execute("select tds.create_api_key('k', 'operate')").fetchone() or ("",)
    addresses.headers["authorization"] = f"Bearer {key}"
    answer = addresses.post(f"/api/zoho/{ONE}/bulk-sync/products", json={})
    assert answer.status_code == 202
    url = answer.headers["location"]
    assert url.startswith(f"/api/zoho/{ONE}/bulk-sync/runs/")
    assert addresses.get(url).json()["organization_id"] == ONE
    assert addresses.get(url.replace(ONE, OTHER)).status_code == 404
    assert addresses.post(url.replace(ONE, OTHER) + "/cancel").status_code == 404
    other = addresses.post(f"/api/tds/{OTHER}/bulk-sync/products", json={}).json()
    runs = addresses.get(f"/api/zoho/{OTHER}/bulk-sync/runs").json()["runs"]
    assert [run["run_id"] for run in runs] == [other["run_id"]]
    assert len(addresses.get("/api/zoho/bulk-sync/runs").json()["runs"]) == 2
    wrong = addresses.post(f"/api/zoho/{ONE}/bulk-sync/products?organization_id={OTHER}", json={})
    assert wrong.status_code == 422
    assert addresses.post("/api/zoho/81000000009/bulk-sync/products", json={}).status_code == 404
    addresses.headers.pop("authorization")
    assert addresses.get(f"/api/zoho/{ONE}/bulk-sync/runs").status_code == 401
