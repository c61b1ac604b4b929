"""Spans of what programs do, for whoever has a tracing system. Off, they cost a look at a variable.

On where TDS_TRACES_ENDPOINT or one of OpenTelemetry's own variables names a collector (OTLP over HTTP). What
goes into a span is named where the span is made: no body, no secret, no text of an error.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from typing import Protocol

from tds_db.errors import TdsError

OWN = "TDS_TRACES_ENDPOINT"
STANDARD = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")

Value = str | int


class Span(Protocol):
    """One of them, while it lasts."""

    def tell(self, attributes: Mapping[str, Value]) -> None:
        """Adds what has become known meanwhile."""


class Sender(Protocol):
    """Makes spans and sends them."""

    def span(
        self, name: str, attributes: Mapping[str, Value], *, serves: bool
    ) -> AbstractContextManager[Span]:
        """See `span`."""

    def tell(self, attributes: Mapping[str, Value]) -> None:
        """See `tell`."""

    def stop(self) -> None:
        """Sends what waits to be sent, within seconds."""


class _Nothing:
    def tell(self, attributes: Mapping[str, Value]) -> None:
        """Nobody listens."""


_NOTHING = _Nothing()
_sender: Sender | None = None


def start(service: str) -> bool:
    """Has spans sent from now on, if a collector is named; returns whether.

    Args:
        service: receiver or poller; OTEL_SERVICE_NAME says otherwise.

    Raises:
        TdsError: one is named, but what sends them is not installed.
    """
    global _sender  # noqa: PLW0603 - one a process
    own = os.environ.get(OWN, "")
    is_wanted = own or any(os.environ.get(name) for name in STANDARD)
    if not is_wanted or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    try:
        module = import_module("tds_db.otlp")
    except ImportError as error:
        raise TdsError(
            "A collector of traces is named, but OpenTelemetry is not installed.",
            f'pip install "tds-mirror[traces]", or unset {OWN} and {STANDARD[1]}.',
        ) from error
    _sender = module.Otlp(f"tds-{service}", own or None)
    return True


def is_on() -> bool:
    """Whether spans are sent."""
    return _sender is not None


@contextmanager
def span(name: str, attributes: Mapping[str, Value] | None = None, *, serves: bool = False) -> Iterator[Span]:
    """A span around the block; inside another one its child.

    Args:
        name: one of few.
        attributes: what is known of it; none that may say whose record it is.
        serves: whether it answers somebody, who is not of ours.

    Raises:
        Exception: whatever the block raises; the span bears the name of its class.
    """
    if _sender is None:
        yield _NOTHING
        return
    with _sender.span(name, attributes or {}, serves=serves) as made:
        yield made


def tell(attributes: Mapping[str, Value]) -> None:
    """Adds to the span that is under way here, if there is one."""
    if _sender is not None:
        _sender.tell(attributes)


def stop() -> None:
    """Sends what waits to be sent. Nothing is traced from now on."""
    global _sender  # noqa: PLW0603
    if _sender is not None:
        _sender.stop()
        _sender = None
