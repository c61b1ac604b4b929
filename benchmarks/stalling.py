"""A network that can be had to stall: a TCP proxy that takes what it is sent, and passes nothing on."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class Proxy:
    """Passes bytes on in both directions, until `stall`. Nothing is closed: whoever waits is not told."""

    def __init__(self, address: tuple[str, int] | str) -> None:
        self._address = address
        self._flows = threading.Event()
        self._flows.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def stall(self) -> None:
        """From now on nothing gets through, neither on old connections nor on new ones."""
        self._flows.clear()

    def resume(self) -> None:
        """What was held back gets through, and all that follows."""
        self._flows.set()

    def close(self) -> None:
        """Ends it, and every connection."""
        self._flows.set()
        for each in (self._listener, *self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                here, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=[here], daemon=True).start()

    def _serve(self, here: socket.socket) -> None:
        self._open.append(here)
        self._flows.wait()
        family = socket.AF_UNIX if isinstance(self._address, str) else socket.AF_INET
        there = socket.socket(family)
        self._open.append(there)
        with suppress(OSError):
            there.connect(self._address)
            threading.Thread(target=self._pass, args=[there, here], daemon=True).start()
            self._pass(here, there)

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self._flows.wait()
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)
