"""The rules of evidence (docs/evidence.md) as a model of one record, with which the SQL is compared.

Every key has three registers, each a maximum of its own, so that the order of arrival cannot matter:

* A, the API read with the greatest (modified, sent), modified being Zoho's own stamp;
* U, the API read without a stamp that was sent last;
* H, the hint (webhook) with the greatest (claimed, arrived), claimed being its stamp but no later than it
  arrived.

Shown is the later sent of A and U; or H, while what it claims lies after the sending of that read, or
while it arrived after A was sent and has a later stamp. Of one moment a detail stands before a list's row, and the
greater value before the lesser: any rule will do that does not ask what came first. Times are minutes by Zoho's
clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

AHEAD = 1
"""Minutes that a stamp may lie ahead of the moment it was told; further ahead it counts as none."""
KEYS = {
    "list": ("name", "rate", "unit"),
    "detail": ("name", "rate", "brand"),
    "webhook": ("name", "rate", "unit", "brand"),
}
STAMPED = 30
"""Minute after which the truth may still change; everything is observed before minute 90."""


@dataclass(frozen=True)
class Seen:
    """What one answer or webhook said of a record: `at` is when it was sent, or arrived."""

    shape: str
    at: int
    stamp: int | None = None
    body: tuple[tuple[str, Any], ...] = ()
    event: str = "upsert"

    @property
    def is_hint(self) -> bool:
        return self.shape == "webhook"

    @property
    def is_absence(self) -> bool:
        """Whether Zoho answered 404."""
        return self.event == "delete" and not self.is_hint

    @property
    def modified(self) -> int | None:
        """The stamp as far as it is believed."""
        if self.stamp is None or self.stamp > self.at + AHEAD:
            return None
        return min(self.stamp, self.at)

    @property
    def claimed(self) -> int:
        """The time that a hint may claim."""
        return self.at if self.modified is None else self.modified


Told = tuple[tuple[int, int, bool, Any], Seen, Any]
"""What a register holds of a key: its rank, who told it, and the value."""


@dataclass(frozen=True)
class Story:
    """A record's history: its versions (minute, content), when it was deleted, and what was observed of it."""

    versions: tuple[tuple[int, Mapping[str, Any]], ...]
    deleted: int | None
    seen: tuple[Seen, ...]

    @property
    def truth(self) -> Mapping[str, Any]:
        return self.versions[-1][1]


def shown(observations: Iterable[Seen]) -> dict[str, Any]:
    """The document that these observations make, in whatever order they came."""
    registers: dict[str, dict[str, Told]] = {}
    for seen in observations:
        if seen.event != "upsert":
            continue
        if seen.is_hint:
            register, version = "H", seen.claimed
        elif seen.modified is None:
            register, version = "U", seen.at
        else:
            register, version = "A", seen.modified
        for key, value in seen.body:
            held = registers.setdefault(key, {})
            rank = (version, seen.at, seen.shape == "detail", value)
            if register not in held or rank > held[register][0]:
                held[register] = (rank, seen, value)
    return {key: _shown(held) for key, held in registers.items()}


def _shown(held: Mapping[str, Told]) -> Any:
    a, u, h = (held[register][1] if register in held else None for register in "AUH")
    read = max((r for r in (a, u) if r is not None), key=lambda r: (r.at, r is a), default=None)
    if h is not None and (
        read is None
        or h.claimed > read.at
        or (
            read is a
            and h.modified is not None
            and a is not None
            and h.modified > (a.modified or 0)
            and h.at > a.at
        )
    ):
        return held["H"][2]
    return held["A" if read is a else "U"][2]


def story(
    chance: Random, *, lies: bool, stale: bool, unstamped: bool, deletions: bool, crowded: bool = False
) -> Story:
    """A record's life, and what lying webhooks, stale answers, replays and 404s tell of it.

    Args:
        lies: Webhooks have stamps years, hours, minutes ahead or behind, or none.
        stale: Reads may tell what was true some minutes ago.
        unstamped: Reads may have no stamp.
        deletions: It may be deleted, and answers 404 now and then while it lives.
        crowded: Two edits may have one stamp, several observations one moment, reads a part of their keys, and
            whatever was observed may be told twice.
    """
    span = range(STAMPED)
    minutes = sorted(
        chance.choices(span, k=chance.randint(1, 4)) if crowded else chance.sample(span, chance.randint(1, 4))
    )
    versions = []
    content = {key: _value(key, 0) for key in KEYS["webhook"]}
    for number, minute in enumerate(minutes):
        content = {
            key: _value(key, number) if chance.random() < 0.7 else value for key, value in content.items()
        }
        versions.append((minute, content))
    deleted = chance.randint(minutes[-1] + 1, 60) if deletions and chance.random() < 0.4 else None
    moments = chance.sample(range(minutes[0], 90), chance.randint(2, 7))  # one observation a minute
    if crowded:
        moments = chance.choices(
            [*chance.sample(moments, -(-len(moments) // 2)), deleted or minutes[-1]], k=len(moments)
        )
    seen: list[Seen] = []
    for at in moments:
        if chance.random() < 0.55:
            seen.append(
                _read(
                    chance,
                    versions,
                    deleted,
                    at,
                    stale=stale,
                    unstamped=unstamped,
                    spells=deletions,
                    partial=crowded,
                )
            )
        else:
            seen.append(_hint(chance, versions, at, lies=lies))
        if not lies and seen[-1].stamp is not None and seen[-1].stamp > at:
            seen.pop()  # nobody honest tells of what is to come
        elif crowded and chance.random() < 0.1:
            seen.append(seen[-1])
        elif seen and seen[-1].is_hint and chance.random() < 0.2:
            again = chance.randint(at, 89)
            if crowded or again not in moments:
                moments.append(again)
                replayed = seen[-1]
                seen.append(Seen("webhook", again, replayed.stamp, replayed.body))
    if deletions and deleted is not None and chance.random() < 0.5:
        seen.append(Seen("webhook", deleted, None, (), "delete"))
    return Story(tuple(versions), deleted, tuple(seen))


def _value(key: str, number: int) -> Any:
    return number if key == "rate" else f"{key} {number}"


def _at(
    chance: Random, versions: Sequence[tuple[int, Mapping[str, Any]]], minute: int
) -> tuple[int, Mapping[str, Any]]:
    """The version that was true then; of those made in this very minute any."""
    before = [v for v in versions if v[0] <= minute]
    now = [v for v in before if v[0] == minute]
    return chance.choice(now) if len(now) > 1 else before[-1] if before else versions[0]


def _read(
    chance: Random,
    versions: Sequence[tuple[int, Mapping[str, Any]]],
    deleted: int | None,
    at: int,
    *,
    stale: bool,
    unstamped: bool,
    spells: bool,
    partial: bool,
) -> Seen:
    # in the minute of its deletion Zoho may say either
    if spells and (
        (deleted is not None and at - (chance.random() < 0.5) >= deleted) or chance.random() < 0.1
    ):
        return Seen("detail", at, None, (), "delete")
    lag = chance.randint(0, 20) if stale and chance.random() < 0.3 else 0
    stamp, content = _at(chance, versions, at - lag)
    shape = chance.choice(("list", "detail"))
    keys: Sequence[str] = KEYS[shape]
    if partial and chance.random() < 0.2:
        keys = sorted(chance.sample(keys, 2))
    body = tuple((key, content[key]) for key in keys)
    return Seen(shape, at, None if unstamped and chance.random() < 0.4 else stamp, body)


def _hint(chance: Random, versions: Sequence[tuple[int, Mapping[str, Any]]], at: int, *, lies: bool) -> Seen:
    stamp: int | None
    stamp, content = chance.choice(versions)
    if lies and chance.random() < 0.5:
        stamp = chance.choice([None, stamp + 1000, stamp + 180, stamp + 7, at, stamp - 15])
    keys = chance.sample(KEYS["webhook"], chance.randint(1, 4))
    return Seen("webhook", at, stamp, tuple((key, content[key]) for key in sorted(keys)))
