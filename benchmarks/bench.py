"""A run: stories told in turn, round after round, each giving samples by name."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from rich.console import Console

from benchmarks import data
from benchmarks.mirror import BenchError, drain_all, expect
from benchmarks.server import BenchServer, settle


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much of everything."""

    products: int
    invoices: int
    webhooks: int
    mixed: int
    few_rows: int
    many_rows: int
    huge_rows: int
    past: int
    waiting: int
    few_waiting: int
    aged: int
    pulled: int
    burst: int
    peer_products: int
    slow_products: int
    rounds: int
    peer_rounds: int
    patience: float
    seed: int


@dataclass(slots=True)
class Bench:
    """What the stories share: the server, the data, the log, and what they found out."""

    server: BenchServer
    sizes: Sizes
    log: Console
    place: Path | None
    """Where servers' data goes."""
    peers: Path
    """Directory of the peers' environments."""
    notes: dict[str, str] = field(default_factory=dict)
    """Remarks by sample."""
    stack: ExitStack = field(default_factory=ExitStack)
    """What is kept for the whole run; whoever makes the bench closes it before the server ends."""
    _data: dict[str, Any] = field(default_factory=dict)
    _fingerprints: dict[str, tuple[str, tuple[int, int]]] = field(default_factory=dict)

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """What `make` returns, made once a run."""
        if name not in self._data:
            self._data[name] = make()
        return self._data[name]

    def products(self, count: int | None = None) -> data.Table:
        """The catalogue."""
        size = count or self.sizes.products
        table: data.Table = self.once(f"products {size}", lambda: data.products(size, self.sizes.seed))
        return table

    def plain_products(self, count: int) -> data.Table:
        """A catalogue of rows of 1 KB."""
        table: data.Table = self.once(
            f"plain products {count}", lambda: data.products(count, self.sizes.seed, plain=True)
        )
        return table

    def invoices(self) -> data.Table:
        """Details of invoices."""
        table: data.Table = self.once("invoices", lambda: data.invoices(self.sizes.invoices, self.sizes.seed))
        return table

    def described(self) -> dict[str, str]:
        """The data that was made: how many records, keys and bytes."""
        return {
            name: f"{len(made.rows):,} records, {made.mean_keys:.0f} keys, {made.mean_bytes:,.0f} bytes each"
            for name, made in self._data.items()
            if isinstance(made, data.Table)
        }

    def same(self, what: str, who: str, found: tuple[int, int]) -> None:
        """Makes sure that whoever loads the same pages writes the same rows.

        Raises:
            BenchError: another wrote something else.
        """
        first, expected = self._fingerprints.setdefault(what, (who, found))
        if found != expected:
            raise BenchError(f"{what}: {who} wrote {found}, {first} wrote {expected} (rows, sum of hashes)")

    @contextmanager
    def connected(self) -> Iterator[psycopg.Connection]:
        """A connection to a fresh database, in autocommit mode."""
        with self.server.database() as dsn, psycopg.connect(dsn, autocommit=True) as conn:
            yield conn

    @contextmanager
    def session(self, dbname: str) -> Iterator[psycopg.Connection]:
        """A new connection to a database that is there, in autocommit mode."""
        with psycopg.connect(self.server.dsn(dbname), autocommit=True) as conn:
            yield conn

    def kept(self, dbname: str | None = None) -> psycopg.Connection:
        """A connection kept for the whole run: to a fresh database, or to that one."""
        dsn = self.server.dsn(dbname) if dbname else self.stack.enter_context(self.server.database())
        return self.stack.enter_context(psycopg.connect(dsn, autocommit=True))


@dataclass(frozen=True, slots=True)
class Story:
    """Something done on a database of its own that gives samples."""

    name: str
    gives: Sequence[str]
    tell: Callable[[Bench], Mapping[str, float]]
    is_peer: bool = False
    rounds: int | None = None
    """At most so many rounds, where one takes long and says enough."""


@contextmanager
def stopwatch() -> Iterator[Callable[[], float]]:
    """Yields a function that tells the seconds from here to the end of the block."""
    began = time.perf_counter()
    ended: list[float] = []
    yield lambda: (ended[0] if ended else time.perf_counter()) - began
    ended.append(time.perf_counter())


def tell_in_turn(
    bench: Bench, stories: Sequence[Story], rounds: int, samples: defaultdict[str, list[float]]
) -> None:
    """A B C A B C …: what slows the machine for a while slows all of them. Adds to `samples`."""
    for number in range(1, rounds + 1):
        for story in stories:
            if story.rounds is not None and number > story.rounds:
                continue
            with stopwatch() as seconds:
                told = story.tell(bench)
            for name, value in told.items():
                samples[name].append(value)
            figures = ", ".join(f"{name} {value:,.0f}" for name, value in told.items())
            bench.log.print(f"round {number}: {story.name} in {seconds():.1f} s: {figures}", highlight=False)


def timed_drain(conn: psycopg.Connection, records: int, **counts: int) -> float:
    """Settles, drains what was received and returns records a second.

    Raises:
        BenchError: another number of records was applied, unchanged, dead …
    """
    settle(conn)
    with stopwatch() as seconds:
        outcome = drain_all(conn)
    expect(outcome, **counts)
    return records / seconds()
