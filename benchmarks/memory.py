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
    """The most resident memory a process has had (VmHWM); 0 if it is gone, or not on Linux."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


def cpu_of(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system
