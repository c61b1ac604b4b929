"""Sends the messages of alerts that are due, then ends: `python -m tds_db.alert_sender`.

Each step is committed before the next: a message is claimed, said to be on its way to an address, sent
there, said to have arrived. What has arrived is told to whoever started this process as well, before anything
else is done: its number and address, a line on the standard output. So it is noted even if this process is
killed. Only what an address takes at the very moment of the kill is sent again by the next one, with the same
Message-ID (mail), Idempotency-Key and X-TDS-Alert (webhooks): docs/alerts.md says what that means.
"""

import logging
import os
import re
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any
from urllib.parse import unquote

import apprise
import psycopg
from apprise.common import NotifyFormat, NotifyType
from apprise.plugins.base import NotifyBase
from apprise.plugins.email import base as mail
from apprise.utils.parse import parse_urls
from psycopg.rows import DictRow

from tds_db.alerting import BUSINESS, OPERATIONS, AlertSettings
from tds_db.connect import connect_for_rows
from tds_db.envfile import load

log = logging.getLogger(__name__)

ASSET = apprise.AppriseAsset(app_id="TDS", app_desc="TDS", secure_logging=True)
KINDS = {
    ("opened", "warning"): NotifyType.WARNING,
    ("opened", "critical"): NotifyType.FAILURE,
    ("resolved", "warning"): NotifyType.SUCCESS,
    ("resolved", "critical"): NotifyType.SUCCESS,
}
KNOWN_HOSTS = re.compile(r"(mailtos?|jsons?|xmls?|forms?)\Z")  # whose host is a host, and no token


@dataclass(frozen=True)
class Message:
    """What is to be told."""

    message_id: str
    title: str
    body: str
    kind: NotifyType = NotifyType.INFO
    fields: Mapping[str, str] = field(default_factory=dict)
    """What a webhook is told besides, by name."""


@dataclass(frozen=True)
class Address:
    """One receiver of one URL; `plugin` is None where Apprise does not know such a URL.

    Args:
        audience: whom it reaches.
        name: kind and number, which is all that is stored of it.
        plugin: what sends.
        url: what was given, secrets included.
    """

    audience: str
    name: str
    plugin: NotifyBase | None
    url: str = field(repr=False)

    def send(self, message: Message) -> str | None:
        """Sends a message; blocks.

        Returns:
            None, or why it did not arrive, without secrets.
        """
        if self.plugin is None:
            return "Apprise knows no such URL; see https://github.com/caronc/apprise/wiki"
        plugin = _marked(self.plugin, message)
        with _said() as said, _message_id(message.message_id):
            try:
                sender = apprise.Apprise(asset=ASSET)
                sender.add(plugin)
                sent = sender.notify(
                    body=message.body,
                    title=message.title,
                    notify_type=message.kind,
                    body_format=NotifyFormat.TEXT,
                )
            except Exception as error:
                # a plugin's own fault costs the other addresses nothing
                return self._without_secrets(f"{type(error).__name__}: {error}")
        if sent:
            return None
        return self._without_secrets("; ".join(said) or "it did not take the message")

    def _without_secrets(self, text: str) -> str:
        schema, _, rest = self.url.partition("://")
        hosts = (
            {rest.rpartition("@")[2].partition("/")[0].partition(":")[0]}
            if KNOWN_HOSTS.match(schema)
            else set()
        )
        given = re.split(r"[/:@?&=#,\s]+", rest)
        secrets = {part for raw in given for part in (raw, unquote(raw)) if len(part) > 3} - hosts
        for secret in sorted(secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        return text[:500]


def addresses(settings: AlertSettings) -> list[Address]:
    """Every receiver of every URL, each by itself: what one of them has is not sent to it again."""
    found: list[Address] = []
    for audience, given in ((OPERATIONS, settings.alert_urls), (BUSINESS, settings.business_alert_urls)):
        numbers: dict[str, int] = {}
        for url in parse_urls(given.get_secret_value()):  # type: ignore[no-untyped-call]
            schema = url.partition("://")[0].lower() if "://" in url else "?"
            numbers[schema] = numbers.get(schema, 0) + 1
            name = f"{schema} {numbers[schema]}"
            with _said():
                plugin = apprise.Apprise.instantiate(url, asset=ASSET, suppress_exceptions=True)
            found += [
                Address(audience, name if len(parts) == 1 else f"{name}.{number}", part, url)
                for parts in [_receivers(plugin)]
                for number, part in enumerate(parts, 1)
            ]
    return found


def _receivers(plugin: NotifyBase | None) -> Sequence[NotifyBase | None]:
    """The same for each of its receivers: one of them may fail, and the others are not told twice."""
    targets = getattr(plugin, "targets", None)
    if plugin is None or not isinstance(targets, list) or len(targets) < 2:
        return [plugin]
    return [_with(plugin, targets=[target]) for target in targets]


def _marked(plugin: NotifyBase, message: Message) -> NotifyBase:
    """The plugin with what lets a receiver see that it has had this message, where it has a place for it."""
    marks: dict[str, object] = {}
    if isinstance(headers := getattr(plugin, "headers", None), dict):
        own = {"X-TDS-Alert": message.message_id, "Idempotency-Key": message.message_id}
        marks["headers"] = headers | own
    if isinstance(extras := getattr(plugin, "payload_extras", None), dict):
        marks["payload_extras"] = {**message.fields, "message_id": message.message_id} | extras
    return _with(plugin, **marks)


def _with(plugin: NotifyBase, **changed: object) -> NotifyBase:
    changed_plugin = copy(plugin)
    vars(changed_plugin).update(changed)
    return changed_plugin


@contextmanager
def _message_id(message_id: str) -> Iterator[None]:
    """Mails get this Message-ID, and not one that is new with every try."""

    def ours(idstring: str | None = None, domain: str | None = None) -> str:  # noqa: ARG001 (as email.utils has it)
        return f"<{message_id}@{domain or 'tds'}>"

    with patched(mail, "make_msgid", ours):
        yield


@contextmanager
def patched(module: ModuleType, name: str, value: object) -> Iterator[None]:
    """Gives a module another function for a while: Apprise has no door for a Message-ID."""
    original = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, original)


@contextmanager
def _said() -> Iterator[list[str]]:
    """What Apprise has to say against it; at its lower levels it names URLs, so those are not listened to."""
    said: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    logger, listener = logging.getLogger("apprise"), Listener(logging.WARNING)
    level, propagate = logger.level, logger.propagate
    logger.addHandler(listener)
    logger.setLevel(logging.WARNING)
    logger.propagate = False
    try:
        yield said
    finally:
        logger.removeHandler(listener)
        logger.setLevel(level)
        logger.propagate = propagate


def send_due(connection: psycopg.Connection[DictRow], settings: AlertSettings) -> int:
    """Sends what is due, if no other process is at it.

    Args:
        connection: in autocommit mode; its session has the lease meanwhile.
        settings: where to.

    Returns:
        How many messages every address has.
    """
    known = addresses(settings)
    audiences = sorted({address.audience for address in known})
    told = [address.audience for address in known], [address.name for address in known]
    if not known or not _value(connection, "select tds.begin_messages(%s, %s) as value", *told):
        return 0
    sent, last = 0, 0
    # Each once: what fails comes again after its pause, in another process.
    while row := connection.execute("select * from tds.claim_message(%s, %s)", [audiences, last]).fetchone():
        last = row["delivery_id"]
        ours = [address for address in known if address.audience == row["audience"]]
        sent += _send(connection, row, ours, settings)
    _value(connection, "select tds.end_messages() as value")
    return sent


def _send(
    connection: psycopg.Connection[DictRow], row: DictRow, known: Sequence[Address], settings: AlertSettings
) -> bool:
    number = row["delivery_id"]
    message = Message(
        message_id=str(row["message_id"]),
        title=row["title"],
        body=row["body"],
        kind=KINDS.get((row["change"], row["severity"]), NotifyType.FAILURE),
        fields={
            "change": row["change"],
            "severity": row["severity"],
            "kind": ",".join(row["kinds"]),
            "alerts": ",".join(map(str, row["alert_ids"])),
        },
    )
    # One that never answers ends this process, and the next one comes to it last.
    for address in sorted(known, key=lambda address: address.name in row["troubled"]):
        if address.name in row["had_by"]:
            continue
        signal.alarm(settings.alert_send_seconds)
        if _value(connection, "select tds.begin_sending(%s, %s) as value", number, address.name):
            error = address.send(message)
            if error is None:
                _tell(f"{number} {address.name}")
            _value(connection, "select tds.end_sending(%s, %s, %s) as value", number, address.name, error)
            log.log(
                logging.WARNING if error else logging.INFO,
                "message %s to %s: %s",
                number,
                address.name,
                error or "sent",
            )
        signal.alarm(0)
    names = [address.name for address in known]
    return bool(_value(connection, "select tds.finish_message(%s, %s) as value", number, names))


def _tell(arrived: str) -> None:
    """One write, whole or not at all; whoever would have read it may be gone."""
    with suppress(OSError):
        os.write(1, f"{arrived}\n".encode())


def _value(connection: psycopg.Connection[DictRow], query: str, *parameters: object) -> Any:
    row = connection.execute(query.encode(), parameters or None).fetchone()
    assert row is not None
    return row["value"]


def main() -> int:
    """Sends what is due. Exit code 1: the database could not be reached, or said no."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s alerts[%(process)d] %(message)s")
    load()
    try:
        with connect_for_rows("alerts") as connection:
            send_due(connection, AlertSettings())
    except psycopg.Error as error:
        log.error("%s: %s", type(error).__name__, str(error).strip())
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
