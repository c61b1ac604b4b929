"""Events for programs: while a command works long, one JSON document a line on stderr; see docs/events.md."""

import json
import logging
from datetime import UTC, datetime

import click

from tds_cli.terminal import echo, escaped_json


class Events:
    """Tells what happens, as it happens: each line is written at once."""

    def tell(self, event: str, text: str, **facts: object) -> None:
        """One event.

        Args:
            event: its kind: step, progress, waiting, note, log or interrupted.
            text: the same for people.
            facts: what belongs to it; times and decimals become text.
        """
        document = {"event": event, "at": datetime.now(UTC), "text": text, **facts}
        line = json.dumps(document, default=_plain, ensure_ascii=False)
        click.echo(escaped_json(line), err=True)

    def take_log(self) -> None:
        """What is logged becomes an event, too."""
        for handler in logging.getLogger().handlers:
            handler.setFormatter(EventFormatter())


def note(text: str, *, as_json: bool) -> None:
    """A message on stderr: a line for people, or the event of it for programs."""
    if as_json:
        Events().tell("note", text)
    else:
        echo(text, err=True)


class EventFormatter(logging.Formatter):
    """A log record as an event."""

    def format(self, record: logging.LogRecord) -> str:
        """See logging."""
        document = {
            "event": "log",
            "at": datetime.fromtimestamp(record.created, UTC),
            "text": record.getMessage(),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        return escaped_json(json.dumps(document, default=_plain, ensure_ascii=False))


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
