"""Programs of ours as processes: how they are started, looked after and stopped, and end with their parent.

Whoever supervises tells each child its pid in the environment; a child calls `end_with_parent` first of all.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from types import FrameType
from typing import IO, Protocol

log = logging.getLogger(__name__)

PARENT = "TDS_PARENT_PID"
LOOK_SECONDS = 0.2  # between looks at the programs
PARENT_SECONDS = 0.5  # between looks at the parent
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds before a program that ended is started again
STEADY_SECONDS = 60.0  # after so long without an end the pause is short again
LAST_WORDS = 8  # lines
STOP_SECONDS = 20.0  # longer than the receiver takes for the requests in hand
URL = re.compile(r"https?://\S+")


def python(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of ours, whatever lies in the folder that somebody stands in."""
    return [sys.executable, "-P", "-m", module, *arguments]


def end_with_parent() -> None:
    """Asks this process to stop, as SIGTERM does, once the one that started it is gone.

    It is told its parent's pid, because a parent that is killed early is gone before it could ask.
    """
    if parent := os.environ.pop(PARENT, None):
        threading.Thread(target=_watch_parent, args=[int(parent)], daemon=True).start()


def _watch_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PARENT_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


def on_stop_signal(stop: Callable[[], None], at_once: Callable[[], None] = lambda: None) -> None:
    """Has SIGTERM and SIGINT call `stop`, and SIGHUP unless it is ignored (nohup).

    A second signal ends the process at once; a terminal that goes may well hang up twice.

    Args:
        stop: what the first one calls.
        at_once: what the second one calls before the process ends by it.
    """

    def end(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        at_once()
        signal.raise_signal(number)

    def handle(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN if number == signal.SIGHUP else end)
        stop()

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, handle)


class Program:
    """A program that is to run for as long as its supervisor does.

    Args:
        name: what it is called in messages.
        command: how it is started.
        output: where its output goes, line by line; None: where this process' goes.
        environment: None: this process'.
        pass_fds: descriptors that it inherits.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        output: logging.Logger | None = None,
        *,
        environment: Mapping[str, str] | None = None,
        pass_fds: Collection[int] = (),
    ) -> None:
        self.name = name
        self.process: subprocess.Popen[str] | None = None
        self.url: str | None = None
        """The first URL that it printed, where its output goes to a log."""
        self.last_words: deque[str] = deque(maxlen=LAST_WORDS)
        """The end of its output, where that goes to a log."""
        self._command = command
        self._output = output
        self._environment = environment
        self._pass_fds = tuple(pass_fds)
        self._pause = FIRST_PAUSE
        self._started_at = self._start_at = 0.0
        self._readers: list[threading.Thread] = []

    def start(self) -> None:
        """Starts it."""
        pipe = None if self._output is None else subprocess.PIPE
        environment = os.environ if self._environment is None else self._environment
        self.process = subprocess.Popen(
            self._command,
            stdout=pipe,
            stderr=pipe,
            text=True,
            errors="replace",
            # Ctrl-C reaches the parent only, which then asks each child once.
            process_group=0,
            pass_fds=self._pass_fds,
            env={**environment, PARENT: str(os.getpid())},
        )
        self._started_at = time.monotonic()
        self._readers = [
            threading.Thread(target=self._read, args=[stream, seeks_url], daemon=True)
            for stream, seeks_url in ((self.process.stdout, True), (self.process.stderr, False))
            if stream is not None
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: IO[str], seeks_url: bool) -> None:
        assert self._output is not None
        for line in stream:
            if seeks_url and self.url is None and (found := URL.match(line)):
                self.url = found.group()
            self.last_words.append(line.rstrip("\n"))
            self._output.info("%s", line.rstrip("\n"))

    def tend(self) -> int | None:
        """Starts it again if it ended and its pause is over; returns the code of an end just found."""
        if self.process is None:
            if time.monotonic() >= self._start_at:
                self.start()
            return None
        if (code := self.process.poll()) is None:
            return None
        if time.monotonic() - self._started_at >= STEADY_SECONDS:
            self._pause = FIRST_PAUSE
        self.process, self.url = None, None
        self._start_at = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        return code

    def ask_to_stop(self) -> None:
        """Asks it to end."""
        if self.process is not None:
            self.process.terminate()

    def wait(self) -> None:
        """Waits until it has ended, and ends it if it does not."""
        if self.process is None:
            return
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            log.warning("%s does not stop: it is killed", self.name)
            self.process.kill()
            self.process.wait()
        for reader in self._readers:
            reader.join(timeout=5)


class Watch(Protocol):
    """Knows which processes hang."""

    def start(self) -> None:
        """Begins to look."""

    def stop(self) -> None:
        """Ends it."""

    def take(self, pid: int) -> bool:
        """Whether the process hangs and has to be ended by the caller, who is told once."""


class Supervisor:
    """Keeps programs running until it is stopped.

    Args:
        programs: in the order in which they are stopped.
        one_by_one: whether each has to end before the next one is asked, or all are asked at once.
        on_end: is told each program that ended by itself, and its code.
        hanging: which programs hang, and are killed, so that another one takes their place.
    """

    def __init__(
        self,
        programs: Sequence[Program],
        *,
        one_by_one: bool = False,
        on_end: Callable[[Program, int], None] | None = None,
        hanging: Watch | None = None,
    ) -> None:
        self.programs = programs
        self.stopping = threading.Event()
        self._one_by_one = one_by_one
        self._on_end = on_end or _log_end
        self._hanging = hanging

    def stop(self) -> None:
        """Ends `run`; any thread or signal handler may call it."""
        self.stopping.set()

    def start(self) -> None:
        """Starts every program."""
        for program in self.programs:
            program.start()

    def run(self) -> None:
        """Looks after the programs until stopped."""
        if self._hanging is not None:
            self._hanging.start()
        while not self.stopping.wait(LOOK_SECONDS):
            for program in self.programs:
                if self._hangs(program):
                    assert program.process is not None
                    log.warning("%s hangs: it is killed", program.name)
                    program.process.kill()
                    program.process.wait()
                if (code := program.tend()) is not None:
                    self._on_end(program, code)
        if self._hanging is not None:
            self._hanging.stop()

    def _hangs(self, program: Program) -> bool:
        watch, process = self._hanging, program.process
        return watch is not None and process is not None and watch.take(process.pid)

    def close(self) -> None:
        """Stops every program."""
        for group in [[program] for program in self.programs] if self._one_by_one else [self.programs]:
            for program in group:
                program.ask_to_stop()
            for program in group:
                program.wait()


def supervise(
    programs: Sequence[Program], stopping: Callable[[], None] = lambda: None, hanging: Watch | None = None
) -> None:
    """Runs programs until SIGTERM or SIGINT, replacing those that end before; then stops all of them.

    Args:
        programs: to be run.
        stopping: called before they are asked.
        hanging: see `Supervisor`.
    """
    supervisor = Supervisor(programs, hanging=hanging)
    on_stop_signal(supervisor.stop)
    supervisor.start()
    supervisor.run()
    stopping()
    supervisor.close()


def _log_end(program: Program, code: int) -> None:
    log.warning("%s ended with code %d, another one takes its place", program.name, code)
