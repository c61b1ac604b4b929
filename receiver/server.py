"""Running the receiver under uvicorn."""

import ipaddress
import socket
from collections.abc import Callable

import uvicorn

from db.errors import TdsError
from receiver.app import create_app
from receiver.settings import ReceiverSettings

SHUTDOWN_SECONDS = 15  # longer than any request may take


def serve(
    settings: ReceiverSettings,
    conninfo: str,
    *,
    host: str,
    port: int,
    insecure: bool = False,
    announce: Callable[[str], None] = lambda _: None,
) -> None:
    """Serves until SIGTERM or SIGINT, then finishes the requests in hand.

    Args:
        settings: see `ReceiverSettings`.
        conninfo: libpq connection string of the database.
        host: address to bind.
        port: port to bind; 0 picks a free one.
        insecure: allow a public address although no webhook secret is set.
        announce: is given the base URL once the port is bound.

    Raises:
        TdsError: the address would accept unsigned webhooks from anywhere, or cannot be bound.
    """
    if not settings.secrets and not insecure and not _is_loopback(host):
        raise TdsError(
            f"Without a webhook secret, whoever reaches {host}:{port} could write into the mirror.",
            "Set ZOHO_WEBHOOK_SECRET to your webhooks' secret token, or bind 127.0.0.1, or say --insecure.",
        )
    listener = _bind(host, port)
    bound = listener.getsockname()[1]
    announce(f"http://[{host}]:{bound}" if ":" in host else f"http://{host}:{bound}")
    config = uvicorn.Config(
        create_app(settings, conninfo),
        # Query strings may carry tokens: the application logs what may be logged.
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    uvicorn.Server(config).run(sockets=[listener])


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, *_, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        # Named, because asyncio turns Nagle's delay off only for a protocol it recognises: 40 ms an answer.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise TdsError(
            f"Cannot listen on {host}:{port}: {error.strerror}.", "Choose another --host or --port."
        ) from error
    return listener
