"""How far something is: what whoever shows it has to offer."""

from contextlib import AbstractContextManager
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
