"""What is written to a terminal: text of Zoho's and of the database's moves no cursor and hides nothing."""

import logging
import os
import re
import sys

import click

# C0 but tab and line feed, DEL, C1, what turns the direction of writing around, and halves of characters,
# which no terminal takes.
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
# In a line or a cell, these too.
BREAKS = re.compile("[\t\n]")
NAMES = {"\t": r"\t", "\n": r"\n"}


def escaped(text: str) -> str:
    """The text with control characters written out: \\x1b, \\u202e. Tabs and line feeds stay."""
    return CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def escaped_line(text: str) -> str:
    """The same in one line."""
    return BREAKS.sub(lambda found: NAMES[found[0]], escaped(text))


def escaped_json(document: str) -> str:
    """A JSON document with the same characters escaped as JSON does it: its value is the same."""
    return CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", document)


def open_streams() -> None:
    """Opens what whoever started this has closed, onto nothing.

    The next file or connection would have its number else, and be sent what this program prints, or one
    that it starts.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            # the lowest number that is free: this one
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def echo(message: object = "", *, mark: str = "", err: bool = False) -> None:
    """Writes a line to stdout, or to stderr.

    Args:
        message: what; escaped.
        mark: comes before it as it is: a word of ours in a colour of ours.
        err: to stderr.
    """
    click.echo(mark + escaped(str(message)), err=err)


class EscapingFormatter(logging.Formatter):
    """Log lines for a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """See logging."""
        return escaped(super().format(record))
