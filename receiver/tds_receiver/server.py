"""Running the receiver under uvicorn: in this process, or in several that share one socket."""

import logging
import os
import resource
import socket
import sys
import tempfile
from collections.abc import Callable

import uvicorn
from starlette.types import ASGIApp

from tds_db import traces
from tds_db.envfile import load
from tds_db.errors import TdsError
from tds_db.processes import Program, end_with_parent, python, supervise
from tds_db.supervision import Hanging
from tds_db.worker import worker_programs
from tds_receiver.app import create_app
from tds_receiver.logs import log_as_json
from tds_receiver.protocol import MAX_CONNECTIONS, BoundedProtocol
from tds_receiver.quota import is_loopback
from tds_receiver.settings import SHORTEST, ReceiverSettings

log = logging.getLogger(__name__)

BACKLOG = 2048
SHUTDOWN_SECONDS = 15  # longer than any request may take
OTHER_DESCRIPTORS = 100  # of a process: the database, logs, metrics


def serve(
    settings: ReceiverSettings,
    conninfo: str,
    *,
    host: str,
    port: int,
    insecure: bool = False,
    processes: int = 1,
    workers: int = 0,
    announce: Callable[[str], None] = lambda _: None,
) -> None:
    """Serves until SIGTERM or SIGINT, then finishes the requests in hand.

    Args:
        settings: see `ReceiverSettings`; several processes read theirs from the environment.
        conninfo: libpq connection string of the database.
        host: address to bind.
        port: port to bind; 0 picks a free one.
        insecure: allow a public address although neither a secret nor a token is set.
        processes: how many serve.
        workers: worker processes beside it.
        announce: is given the base URL once the port is bound.

    Raises:
        TdsError: the address would accept unsigned webhooks from anywhere, or such as are signed with a
            secret that can be guessed, or it cannot be bound.
    """
    if settings.is_open and not insecure and not is_loopback(host):
        raise TdsError(
            f"Without a webhook secret, whoever reaches {host}:{port} could write into the mirror.",
            "Set ZOHO_WEBHOOK_SECRET to your webhooks' secret token (or ZOHO_WEBHOOK_TOKEN), "
            "or bind 127.0.0.1, or say --insecure. Next: tds connect, which makes one",
        )
    if settings.weak and not insecure and not is_loopback(host):
        raise TdsError(
            f"Too short for whoever reaches {host}:{port}: {', '.join(settings.weak)}.",
            f"Use {SHORTEST} to 50 characters, as Zoho does, or bind 127.0.0.1, or say --insecure. "
            "Next: tds webhooks, which shows what is set",
        )
    if settings.is_open:
        log.warning(
            "webhooks are neither signed nor bear a token: whoever reaches this address may send them"
        )
    listener = _bind(host, port)
    bound = listener.getsockname()[1]
    announce(f"http://[{host}]:{bound}" if ":" in host else f"http://{host}:{bound}")
    if processes == 1 and not workers:
        _serve_here(settings, conninfo, listener)
        return
    with listener, tempfile.TemporaryDirectory(prefix="tds-metrics-") as metrics:
        listener.listen(BACKLOG)
        # Whichever process is asked for /metrics answers for all of them.
        environment = {
            "PROMETHEUS_MULTIPROC_DIR": metrics,
            **os.environ,
            "TDS_DATABASE_URL": conninfo,
            "TDS_ORGANISATIONS": settings.organisations,
            "TDS_ONLY_ROWS": str(settings.only_rows),
        }
        descriptor = listener.fileno()
        receivers = [
            Program(
                f"receiver {number}",
                python("tds_receiver.server", str(descriptor)),
                environment=environment,
                pass_fds=[descriptor],
            )
            for number in range(1, processes + 1)
        ]
        # Nobody must wait in the queue of a socket that nobody will accept from any more.
        supervise([*receivers, *worker_programs(workers)], stopping=listener.close, hanging=Hanging(conninfo))


def _serve_here(settings: ReceiverSettings, conninfo: str, listener: socket.socket) -> None:
    traces.start("receiver")
    server = uvicorn.Server(configured(create_app(settings, conninfo), settings))
    server.run(sockets=[listener])


def configured(app: ASGIApp, settings: ReceiverSettings) -> uvicorn.Config:
    """How uvicorn serves the application."""
    return uvicorn.Config(
        app,
        http=BoundedProtocol.bounded(head_seconds=settings.header_seconds, connections=_connections()),
        ws="none",
        loop="uvloop",
        backlog=BACKLOG,
        limit_concurrency=MAX_CONNECTIONS + BACKLOG,  # the protocol makes room before
        # Query strings may carry tokens: the application logs what may be logged.
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,  # nobody is believed who another is
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )


def _connections() -> int:
    """The most connections at once: as many as this process may open files for."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + OTHER_DESCRIPTORS
    given = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < given:
        resource.setrlimit(resource.RLIMIT_NOFILE, (given, hard))
    return max(given - OTHER_DESCRIPTORS, 10)


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, *_, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        # Named, because asyncio turns Nagle's delay off only for a protocol it recognises: 40 ms an answer.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise TdsError(
            f"Cannot listen on {host}:{port}: {error.strerror}.",
            "Next: tds serve --port 0 takes a free one; ss -ltnp shows who has it",
        ) from error
    return listener


if __name__ == "__main__":
    end_with_parent()
    log_as_json()
    load()
    _serve_here(ReceiverSettings(), os.environ["TDS_DATABASE_URL"], socket.socket(fileno=int(sys.argv[1])))
