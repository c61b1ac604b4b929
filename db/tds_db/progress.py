"""How far something is: what whoever shows it has to offer."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Step(Protocol):
    """One thing that takes time and can be counted."""

    def at(self, done: int, total: int | None = None) -> None:
        """So many are done, of so many if that is known."""

    def before(self, done: int, total: int | None = None) -> None:
        """So many were done before this began: they say nothing of its pace."""

    def advance(self, count: int) -> None:
        """So many more are done."""


class Steps(Protocol):
    """Shows steps."""

    def step(self, title: str) -> AbstractContextManager[Step]:
        """Shows a step as long as the block lasts."""


class Unseen:
    """A step that nobody watches."""

    def at(self, done: int, total: int | None = None) -> None:
        """See `Step`."""

    def before(self, done: int, total: int | None = None) -> None:
        """See `Step`."""

    def advance(self, count: int) -> None:
        """See `Step`."""


class Nowhere:
    """Steps that nobody watches."""

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:  # noqa: ARG002
        """See `Steps`."""
        yield UNSEEN


UNSEEN, NOWHERE = Unseen(), Nowhere()
