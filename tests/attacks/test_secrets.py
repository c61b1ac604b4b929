"""What is guessed, weak or misspelt, and what was signed for something else."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from tds_receiver import quota, webhook
from tds_receiver.quota import Strangers
from tds_receiver.settings import ReceiverSettings
from tests.receiver.asgi import Endpoint
from tests.receiver.test_authenticity import SECRET, SIGNATURE, digest
from tests.receiver.test_serve import Served

TOKEN = "a-token-of-ours"


def test_a_stranger_shows_few_wrong_ones_and_then_one_a_second() -> None:
    now = 100.0
    strangers = Strangers(at_once=3, peers=5, clock=lambda: now)
    tried = 0
    for _ in range(50):
        if strangers.may_try("a"):
            tried += 1
            strangers.was_wrong("a")
    assert tried == 3
    now += 2.5
    for _ in range(50):
        if strangers.may_try("a"):
            tried += 1
            strangers.was_wrong("a")
    assert tried == 6
    assert strangers.may_try("b")
    # who has shown something right may be a proxy
    strangers.was_right("c")
    for _ in range(50):
        strangers.was_wrong("c")
    assert strangers.may_try("c")
    for number in range(1000):
        strangers.was_wrong(str(number))
        strangers.was_right(str(number))
    assert (len(strangers._wrong), len(strangers._known)) == (5, 5)


@pytest.mark.parametrize("wrong", [{"X-TDS-Token": "a-guess"}, {SIGNATURE: "00" * 32}])
def test_guesses_are_not_looked_at_for_long(monkeypatch: pytest.MonkeyPatch, wrong: dict[str, str]) -> None:
    looked = []

    def is_token(*given: object) -> bool:
        looked.append(given)
        return False

    monkeypatch.setattr(quota, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(webhook, "is_token", is_token)
    monkeypatch.setattr(webhook, "is_authentic", is_token)
    endpoint = Endpoint({"webhook_token": TOKEN, "webhook_secret": SECRET})
    answers = [endpoint.send(b"{}", wrong) for _ in range(500)]
    assert set(answers) == {401, 429}
    assert len(looked) == answers.count(401) < 250  # 20 at once, and one a second


def test_who_was_right_once_is_not_kept_out_by_others_behind_the_same_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quota, "PAUSE_SECONDS", 0.0)
    endpoint = Endpoint({"webhook_token": TOKEN})
    assert endpoint.send(b"{}", {"X-TDS-Token": TOKEN}) == 202
    assert {endpoint.send(b"{}", {"X-TDS-Token": "a-guess"}) for _ in range(100)} == {401}
    assert endpoint.send(b"{}", {"X-TDS-Token": TOKEN}) == 202


def test_guesses_behind_a_proxy_wait_for_their_answers_and_nobody_else_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(webhook, "MOST_PAUSING", 30)
    endpoint = Endpoint({"webhook_token": TOKEN})
    right, wrong = (b"{}", {"X-TDS-Token": TOKEN}), (b"{}", {"X-TDS-Token": "a-guess"})
    endpoint.send_all([right, *[wrong] * 100, right])
    # the first are answered at once; of those after them some wait, but no more than there is room for
    assert endpoint.told == [202, *[401] * 70, 202, *[401] * 30]


def test_a_signed_body_is_not_made_a_deletion() -> None:
    signed = {SIGNATURE: digest(SECRET, b"{}").hex()}
    endpoint = Endpoint({"webhook_secret": SECRET, "webhook_token": TOKEN})
    assert endpoint.send(b"{}", signed, method="DELETE") == 405
    assert endpoint.send(b"{}", signed, method="PUT") == 202
    assert endpoint.send(b"{}", signed, b"event=delete") == 401
    assert endpoint.send(b"{}", {SIGNATURE: digest(SECRET, b"eventdelete{}").hex()}, b"event=delete") == 202
    assert endpoint.send(b"{}", {"X-TDS-Token": TOKEN}, method="DELETE") == 202
    assert [event.event for event in endpoint.inbox.events] == ["upsert", "delete", "delete"]
    assert (
        Endpoint({"webhook_secret": SECRET, "signed_delete": True}).send(b"{}", signed, method="DELETE")
        == 202
    )


@pytest.mark.parametrize("other", ["customers", "bills", "contacts", "credit-notes"])
def test_a_secret_of_an_endpoint_is_that_of_its_other_names_and_of_no_other(other: str) -> None:
    endpoint = Endpoint(
        {"webhook_secret": SECRET, "webhook_secrets": {"items": "another-secret", "invoices": "x" * 12}}
    )
    mine, all_others = (digest(secret, b"{}").hex() for secret in ("another-secret", SECRET))
    for path in ("products", "items"):
        assert endpoint.send(b"{}", {SIGNATURE: mine}, path=f"/api/zoho/webhooks/{path}") == 202
        assert endpoint.send(b"{}", {SIGNATURE: all_others}, path=f"/api/tds/webhooks/{path}") == 401
    assert endpoint.send(b"{}", {SIGNATURE: mine}, path=f"/api/tds/webhooks/{other}") == 401


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("ZOHO_WEBHOOK_SECRETS__INVOICE", "hidden-hidden", "no endpoint INVOICE; one is INVOICES"),
        ("ZOHO_WEBHOOK_SECRETS", '{"credit-note": "hidden-hidden"}', "one is CREDITNOTES"),
        ("ZOHO_WEBHOOK_TOKENS__PRODUKTS", "hidden-hidden", "one is PRODUCTS"),
        ("ZOHO_WEBHOOK_SECRET__INVOICES", "hidden-hidden", "ZOHO_WEBHOOK_SECRET__INVOICES is no setting"),
        (
            "ZOHO_WEBHOOK_SECRT",
            "hidden-hidden",
            "ZOHO_WEBHOOK_SECRT is no setting; one is ZOHO_WEBHOOK_SECRET",
        ),
        ("ZOHO_WEBHOOK_TOKNE", "hidden-hidden", "one is ZOHO_WEBHOOK_TOKEN"),
    ],
)
def test_what_is_misspelt_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError) as refused:
        ReceiverSettings()
    assert told in str(refused.value)
    assert "hidden" not in str(refused.value)


def test_what_is_set_twice_is_refused() -> None:
    with pytest.raises(ValidationError, match="ITEMS is PRODUCTS, which is set too"):
        ReceiverSettings.model_validate({"webhook_secrets": {"products": SECRET, "items": SECRET}})


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"ZOHO_WEBHOOK_SECRET": "hidden"}, "ZOHO_WEBHOOK_SECRET"),
        ({"ZOHO_WEBHOOK_SECRET": f"{SECRET},hidden"}, "ZOHO_WEBHOOK_SECRET"),
        ({"ZOHO_WEBHOOK_TOKEN": "hidden", "ZOHO_WEBHOOK_SECRET": SECRET}, "ZOHO_WEBHOOK_TOKEN"),
        ({"ZOHO_WEBHOOK_SECRETS__BILLS": "hidden"}, "ZOHO_WEBHOOK_SECRETS__BILLS"),
        ({"ZOHO_WEBHOOK_SECRETS__BILL": "hidden-hidden"}, "one is BILLS"),
    ],
)
def test_nobody_serves_everybody_with_what_can_be_guessed(
    tmp_path: Path, variables: dict[str, str], told: str
) -> None:
    program = Served("host=/nowhere", tmp_path, "--host", "0.0.0.0", **variables)
    try:
        assert program.wait(60) == 1
    finally:
        if program.is_running:
            program.kill()
    assert told in program.last_words
    assert "hidden" not in program.last_words
    assert "Traceback" not in program.last_words


@pytest.mark.parametrize(("variables", "is_told"), [({}, True), ({"ZOHO_WEBHOOK_SECRET": "short"}, False)])
def test_who_serves_his_own_machine_is_told_that_nothing_is_signed(
    tmp_path: Path, variables: dict[str, str], is_told: bool
) -> None:
    program = Served("host=/nowhere", tmp_path, **variables)
    try:
        assert program.url
        assert any("neither signed" in str(line["message"]) for line in program.log) == is_told
    finally:
        program.kill()
