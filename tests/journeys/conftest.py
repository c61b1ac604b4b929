"""Says in the terminal what the journeys measured."""

from __future__ import annotations

import pytest

MEASURED = "measured"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints the `measured` properties of the tests that ran."""
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            for name, value in getattr(report, "user_properties", ()):
                if name == MEASURED and report.when == "call":
                    terminalreporter.write_line(f"{report.nodeid}: {value}")
