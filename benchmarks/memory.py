"""Resident memory and CPU time of processes, as the kernel counts them.

Not getrusage: its maximum survives exec, so that a child begins with the size of whoever started it.
"""

from __future__ import annotations

import os
from pathlib import Path

import psutil


def peak_bytes() -> int:
    """The most resident memory this process has had."""
    return peak_of(os.getpid())


def peak_of(pid: int) -> int:
    """The most resident memory a process has had; 0 if it is gone, or not on Linux."""
    return _status(pid, "VmHWM:")


def cpu_of(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def anonymous_of(pid: int) -> int:
    """The resident memory of a process that it shares with no other; 0 if it is gone, or not on Linux."""
    return _status(pid, "RssAnon:")


def _status(pid: int, name: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), 0)
