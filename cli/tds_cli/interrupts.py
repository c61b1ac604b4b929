"""What long work says when it is interrupted."""

import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tds_cli.events import Events
from tds_cli.exits import INTERRUPTED
from tds_cli.terminal import echo


@contextmanager
def goes_on(
    command: Sequence[str] | None = None, *, as_json: bool = False, anew: str | None = None
) -> Iterator[None]:
    """Work that the same command goes on with: Ctrl-C and SIGTERM say so, and end it with exit code 130.

    Args:
        command: the words that go on with it; None: those that were typed.
        as_json: whether programs are told.
        anew: what became of what was done, where the command begins anew.
    """
    # The event loop ends its main task on SIGINT: calls under way are settled, connections closed.
    before = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        yield
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever is impatient does not spoil the end
        again = shlex.join(command or ["tds", *sys.argv[1:]])
        begins = "goes on" if anew is None else "begins anew"
        told = f"Stopped. {anew or 'What was done is kept.'}", f"The same command {begins}: {again}"
        if as_json:
            Events().tell("interrupted", " ".join(told), next=again)
        else:
            echo("\n".join(told), err=True)
        sys.exit(INTERRUPTED)
    finally:
        signal.signal(signal.SIGTERM, before)
