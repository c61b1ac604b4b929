"""What the bodies in hand hold, counted as it arrives, and who gives way when that is too much.

Senders that have proved nothing share a part of the room. When it is full, nobody new is turned away: of the
peer that holds the most, the body that has been arriving for the longest gives way. A webhook that comes
whole is through before it could be the oldest; the room is taken from what dribbles.
"""

import asyncio
import ipaddress
import time
from collections import Counter
from collections.abc import Callable, MutableMapping
from typing import Any, Self

PAUSE_SECONDS = 0.5
SILENT = 4096  # bytes that a body counts for its peer although nothing has come yet


class CrowdedError(Exception):
    """There is no room for this body, or no more."""


class Place:
    """A request's share of the room. Use as a context manager; it is given back at the end.

    Attributes:
        patience: how long it may take, while it arrives: to be set by whoever reads, so that it can be ended.
    """

    def __init__(self, room: "Room", peer: str, *, is_proven: bool) -> None:
        self.patience: asyncio.Timeout | None = None
        self.is_evicted = False
        self.peer = peer
        self.is_proven = is_proven
        self.held = 0
        self._room = room

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._room.give_back(self)

    @property
    def can_be_ended(self) -> bool:
        """Whether its bytes are waited for."""
        return self.patience is not None and not self.patience.expired()

    def grow(self, size: int) -> None:
        """So many bytes more are here.

        Raises:
            CrowdedError: and there is no room for them.
        """
        self._room.grow(self, size)

    def settle(self) -> None:
        """It is whole, and its sender may send: it gives way to nobody any more."""
        self._room.settle(self)


class Room:
    """The room of one process.

    Args:
        requests: most at once.
        held: most bytes of all bodies together.
        arriving: most bytes of those that are not whole yet, or whose sender has proved nothing.
    """

    def __init__(self, *, requests: int, held: int, arriving: int) -> None:
        self._most_requests = requests
        self._most_held = held
        self._most_arriving = min(arriving, held)
        self.requests = 0
        self.held = 0
        self.arriving = 0
        self._places: dict[Place, None] = {}  # those that arrive, the oldest first
        self._peers: Counter[str] = Counter()

    def enter(self, peer: str, *, is_proven: bool) -> Place:
        """A place for one request.

        Args:
            peer: where it comes from.
            is_proven: whether its head has shown already that it may send.

        Raises:
            CrowdedError: there is none.
        """
        if self.requests >= self._most_requests and not self._evict():
            raise CrowdedError(f"{self.requests} requests are in hand already")
        place = Place(self, peer, is_proven=is_proven)
        self.requests += 1
        self._places[place] = None
        self._peers[peer] += SILENT
        return place

    def grow(self, place: Place, size: int) -> None:
        """See `Place.grow`."""
        if place.is_evicted:
            raise CrowdedError("it gave way to others")
        place.held += size
        self.held += size
        if place in self._places:
            self.arriving += size
            self._peers[place.peer] += size
        while self.held > self._most_held or self.arriving > self._most_arriving:
            if not self._evict(place):
                raise CrowdedError(f"{self.held - size} bytes are in hand already")
            if place.is_evicted:
                raise CrowdedError("it gave way to others")

    def settle(self, place: Place) -> None:
        """See `Place.settle`."""
        if place in self._places:
            self._leave_arriving(place)

    def give_back(self, place: Place) -> None:
        """What a place held is free again."""
        if not place.is_evicted:
            self.settle(place)
            self._leave(place)

    def _leave_arriving(self, place: Place) -> None:
        del self._places[place]
        self.arriving -= place.held
        self._peers[place.peer] -= place.held + SILENT
        if not self._peers[place.peer]:
            del self._peers[place.peer]

    def _leave(self, place: Place) -> None:
        self.requests -= 1
        self.held -= place.held

    def _evict(self, asking: Place | None = None) -> bool:
        """Has one give way: a stranger first, of the peer that holds the most, the oldest of its bodies."""
        waiting = [each for each in self._places if each is asking or each.can_be_ended]
        if not waiting:
            return False
        # Of several that are alike, max() gives the first, which is the oldest.
        chosen = max(waiting, key=lambda each: (not each.is_proven, self._peers[each.peer]))
        chosen.is_evicted = True
        self._leave_arriving(chosen)
        self._leave(chosen)
        if chosen is not asking and chosen.patience is not None:
            chosen.patience.reschedule(asyncio.get_running_loop().time())
        return True


class Strangers:
    """How often who has never shown anything right may show something wrong: some times, then once a second.

    Behind a proxy all senders are one peer, which has shown something right: there the wrong ones are looked
    at, and answered late.

    Args:
        at_once: how many wrong ones are looked at without a pause.
        peers: how many peers are remembered.
        clock: seconds, from anywhere.
    """

    def __init__(
        self, *, at_once: int = 20, peers: int = 10_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._at_once = at_once
        self._most = peers
        self._clock = clock
        self._known: dict[str, None] = {}
        self._wrong: dict[str, tuple[float, float]] = {}  # how many, and when that was so

    def may_try(self, peer: str) -> bool:
        """Whether what a peer shows is looked at."""
        return peer in self._known or self._count(peer) < self._at_once

    def was_wrong(self, peer: str) -> None:
        """A peer has shown something wrong."""
        count = self._count(peer)
        self._wrong.pop(peer, None)
        self._wrong[peer] = (count + 1, self._clock())
        _forget(self._wrong, self._most)

    def pause(self, peer: str) -> float:
        """Seconds after which a peer hears that what it showed is wrong: who waits for that asks no more."""
        return 0.0 if self._count(peer) < self._at_once else PAUSE_SECONDS

    def was_right(self, peer: str) -> None:
        """A peer has shown something right: it may be a proxy, before others that show something wrong."""
        if peer not in self._known:
            self._known[peer] = None
            _forget(self._known, self._most)

    def _count(self, peer: str) -> float:
        count, then = self._wrong.get(peer, (0.0, 0.0))
        return max(0.0, count - (self._clock() - then)) if count else 0.0


def _forget(peers: dict[str, Any], most: int) -> None:
    """The oldest go."""
    while len(peers) > most:
        del peers[next(iter(peers))]


def peer_of(scope: MutableMapping[str, Any]) -> str:
    """Where a request comes from; of IPv6 the network, which is what one owner has."""
    host: str = (scope.get("client") or ("",))[0]
    return host if ":" not in host else str(ipaddress.ip_network((host.partition("%")[0], 64), strict=False))


def is_loopback(host: str) -> bool:
    """Whether a name or an address is that of this computer, for whoever uses it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
