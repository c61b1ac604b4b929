"""What the documents tell people to type: taken out of the pages, run, or at least read as its program would read it.

A block between fences is run as it stands, unless a mark on the line above says otherwise. Marks are HTML comments, so that no
reader of the page sees them:

    <!-- read: needs root -->     not run, and why, in the words of `NOT_RUN`; shells, options and statements are read all the same
    <!-- example numbers -->      run; what it names need not be there, so that TDS may answer that it is not
    <!-- until -->                run again until it shows what the page shows
    <!-- act: a minute passes --> something that happens here, done by the world that the page is run in

In a console block, lines that begin with `$ ` are typed, and the others are what is shown: each has to come, in that order, with `…` for
anything. `# exit code 4` at the end of a command says how it ends, if not well.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import sqlparse
import yaml

from tds_cli.main import main

ROOT = Path(__file__).parents[2]
MADE = ("reference.md", "supply.md")
"""Written by `make docs` and `make sbom`, which are run by other tests."""

NOT_RUN = {
    "needs Zoho": "an account and a browser",
    "needs root": "of a machine with systemd",
    "needs Docker": "an engine",
    "needs a machine of its own": "a second server, or the network",
    "needs what is not ours": "files or programs that are no part of the project",
    "takes minutes": "and is what other tests, or benchmarks, do",
    "is the suite": "which this is part of",
    "runs until it is stopped": "like all of `ENDLESS`",
    "shortened": "it is not whole",
}
ENDLESS = {"serve", "work", "up", "top", "sandbox", "poll", "alerts send"}
SHOWN = {"text", "html"}
"""Languages of what is shown and not typed."""

MARK = re.compile(r"<!-- (?P<mark>(?:read: [\w ]+|example numbers|until|act: [^\n]+?)) -->")
EXIT_CODE = re.compile(r"\s+# exit code (\d+)$")
LOOKS_TYPED = re.compile(r"^\s*(\$ |tds |sudo |curl |select |call |update |docker |make )")


@dataclass(frozen=True)
class Block:
    """What stands between two fences, or a mark of its own (`act`)."""

    page: str
    line: int
    language: str
    marks: tuple[str, ...]
    text: str

    @property
    def where(self) -> str:
        """File and line, for messages."""
        return f"{self.page}:{self.line}"

    @property
    def why_not_run(self) -> str | None:
        """The reason, if its mark says that it is only read."""
        return next((mark[6:] for mark in self.marks if mark.startswith("read: ")), None)


@dataclass(frozen=True)
class Typed:
    """A command, how it is to end, and what is to be shown."""

    command: str
    exit_code: int
    shown: tuple[str, ...]

    @property
    def words(self) -> list[list[str]]:
        """The words of each call of `tds` in it."""
        return list(calls_of_tds(self.command))


def pages() -> list[Path]:
    """All documents that people read."""
    found = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("deploy/**/*.md")]
    return sorted(path for path in found if path.name not in MADE and path.name != "CHANGELOG.md")


def blocks(path: Path) -> list[Block]:
    """The blocks and acts of a page.

    Raises:
        AssertionError: a mark that nobody knows, a fence without language, a block by indentation.
    """
    name, opened, language, before, in_list = str(path.relative_to(ROOT)), 0, "", "", False
    found: list[Block] = []
    marks: list[str] = []
    text: list[str] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("```"):
            if not opened:
                language, text, opened = line.strip().strip("`"), [], number
                assert language, f"{name}:{number}: which language? What is only shown is `text`"
            else:
                found.append(Block(name, opened, language, tuple(marks), "\n".join(text)))
                marks, opened = [], 0
        elif opened:
            text.append(line)
        elif marked := MARK.fullmatch(line.strip()):
            if marked["mark"].startswith("act: "):
                found.append(Block(name, number, "act", (), marked["mark"][5:]))
            else:
                reason = marked["mark"].removeprefix("read: ")
                assert marked["mark"] == reason or reason in NOT_RUN, f"{name}:{number}: {reason}?"
                marks.append(marked["mark"])
        else:
            assert not line.startswith("<!-- read"), f"{name}:{number}: {line}"
            in_list = bool(re.match(r"\s*([-*]|\d+\.) ", line)) or (in_list and line.startswith(" "))
            by_indentation = line.startswith("    ") and not before.strip() and not in_list
            assert not by_indentation, f"{name}:{number}: a block between fences says its language"
        before = line
    assert not opened, f"{name}:{opened}: a fence is not closed"
    return found


def typed(block: Block) -> list[Typed]:
    """The commands of a console block."""
    found: list[Typed] = []
    lines = iter(block.text.splitlines())
    for line in lines:
        if not line.startswith("$ "):
            assert found, f"{block.where}: a console block begins with `$ `"
            last = found.pop()
            found.append(Typed(last.command, last.exit_code, (*last.shown, line)))
            continue
        command = line[2:]
        while command.endswith("\\") or _is_open(command):
            command = f"{command}\n{next(lines)}"
        ends = EXIT_CODE.search(command)
        found.append(Typed(EXIT_CODE.sub("", command), int(ends[1]) if ends else 0, ()))
    return found


def _is_open(command: str) -> bool:
    try:
        shlex.split(command, comments=True)
    except ValueError:
        return True
    return False


def statements(text: str) -> list[str]:
    """The statements of a block of SQL."""
    parts = [sqlparse.format(part, strip_comments=True).strip() for part in sqlparse.split(text)]
    return [part for part in parts if part.strip(";").strip()]


def calls_of_tds(command: str) -> Iterator[list[str]]:
    """The words after `tds`, of every call of it in a line of shell."""
    lexer = shlex.shlex(
        re.sub(r"\\\n", " ", re.sub(r"\b2>", ">", command)), posix=True, punctuation_chars=";|&()<>"
    )
    lexer.whitespace_split = True
    call: list[str] = []
    for word in [*_without_redirections(list(lexer)), ";"]:
        if set(word) <= set(";|&()<>"):
            while call and ("=" in call[0] or call[0] in ("sudo", "export", "time", "then", "do")):
                call.pop(0)
            if call and Path(call[0]).name == "tds":
                yield call[1:]
            call = []
        else:
            call.append(word)


def _without_redirections(words: Sequence[str]) -> Iterator[str]:
    skip = False
    for word in words:
        if skip:
            skip = False
        elif set(word) <= set("<>") and word:
            skip = True
        else:
            yield word


def read_call(words: Sequence[str], *, mentioned: bool = False) -> click.Context:
    """Reads a call of `tds` as click does, without doing it.

    Args:
        words: after `tds`.
        mentioned: within a sentence: arguments may be left out, or be names in capitals.

    Returns:
        The innermost command's.

    Raises:
        click.ClickException: there is no such command, option or choice.
    """
    command: click.Command = main
    context: click.Context | None = None
    rest = list(words)
    name = "tds"
    while isinstance(command, click.Group):
        if not rest or rest[0].startswith("-"):
            return context or click.Context(command, info_name=name)
        context = click.Context(command, info_name=name, parent=context)
        found = command.get_command(context, rest[0])
        if found is None:
            raise click.UsageError(f"No such command: {name} {rest[0]}")
        name, command, rest = rest[0], found, rest[1:]
    try:
        return command.make_context(name, [*rest], parent=context)
    except click.exceptions.Exit:
        return click.Context(command, info_name=name, parent=context)
    except (click.MissingParameter, click.BadOptionUsage):
        if not mentioned:
            raise
    except click.BadParameter as error:
        # a file of somebody's; a name in capitals
        is_path = error.param is not None and isinstance(error.param.type, click.Path | click.File)
        stands_for = mentioned and any(re.fullmatch(r"[A-Z_…]+", word) for word in rest)
        if not (is_path or stands_for):
            raise
    return click.Context(command, info_name=name, parent=context)


def is_endless(words: Sequence[str]) -> bool:
    """Whether a call of `tds` goes on until it is stopped."""
    plain = [word for word in words if not word.startswith("-")]
    begins = {" ".join(plain[:1]), " ".join(plain[:2])}
    return bool(begins & ENDLESS) and not {"--once", "--help"} & set(words)


def read(block: Block) -> None:
    """Reads a block that is not run as its program would.

    Raises:
        AssertionError: it cannot be read.
    """
    match block.language:
        case "console" | "bash":
            for each in typed(block):
                done = subprocess.run(
                    ["bash", "-n"], input=each.command, text=True, capture_output=True, check=False
                )
                assert done.returncode == 0, f"{block.where}: {done.stderr}"
                for words in each.words:
                    try:
                        read_call([word for word in words if word != "…"])
                    except click.ClickException as error:
                        raise AssertionError(
                            f"{block.where}: tds {shlex.join(words)}: {error.format_message()}"
                        ) from error
        case "yaml":
            yaml.safe_load(block.text)
        case "json":
            json.loads(block.text)
        case "sql":
            assert statements(block.text), f"{block.where}: nothing in it"
        case _:
            assert block.language in SHOWN, f"{block.where}: what is to become of {block.language}?"
            told = [line for line in block.text.splitlines() if LOOKS_TYPED.match(line)]
            assert not told, f"{block.where}: this is typed, so it is `console` or `sql`: {told[0]}"


SPAN = re.compile(r"(?<!`)`(?!`)([^`]+)`(?!`)")


def spans(path: Path) -> list[tuple[int, str]]:
    """What stands between single backquotes, with its line."""
    text = re.sub(
        r"^```.*?^```$",
        lambda found: re.sub(r"[^\n]", "", found[0]),
        path.read_text(encoding="utf-8"),
        flags=re.M | re.S,
    )
    return [
        (text.count("\n", 0, each.start()) + 1, " ".join(each[1].split())) for each in SPAN.finditer(text)
    ]


def mismatch(shown: Sequence[str], printed: str) -> str | None:
    """The first line of the page that does not come, in its order, in what was printed."""
    place = 0
    for line in filter(str.strip, shown):
        pattern = re.sub(r"(?:\\?\s)+", r"\\s+", re.escape(line.strip())).replace("…", ".*?")
        found = re.compile(pattern).search(printed, place)
        if found is None:
            return line
        place = found.end()
    return None
