"""A record's JSON, written for reading, with the line of one path marked."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

STEP = re.compile(r"\[(\d+)\]|\[?'?\"?([^.\[\]'\"]+)'?\"?\]?")
Path = tuple[str | int, ...]


class _Literal(str):
    """A number as it was written: what is shown is what came."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the document."""

    text: str
    is_marked: bool


def steps_of(path: str | None) -> Path | None:
    """The steps of a path as dead letters have them: `rate`, `line_items[2].rate`, `$.item.rate`.

    Args:
        path: the path; None: there is none.
    """
    if not path:
        return None
    steps: list[str | int] = []
    for number, name in STEP.findall(path.removeprefix("$")):
        steps.append(int(number) if number else name)
    return tuple(steps) or None


def read(text: str) -> Any:
    """The document, its numbers as they were written.

    Raises:
        ValueError: it is no JSON.
    """
    return json.loads(text, parse_float=_Literal, parse_int=_Literal, parse_constant=_refuse)


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def rows(text: str, path: str | None) -> list[Row]:
    """The document line by line; one that is no JSON as it is.

    Args:
        text: the document.
        path: where the bad value is, if anywhere.
    """
    try:
        document = read(text)
    except (ValueError, RecursionError):
        return [Row(line, False) for line in text.splitlines() or [""]]
    wanted = steps_of(path)
    written = list(_written(document, (), "", ""))
    marked = _marked([at for at, _ in written], wanted)
    return [Row(line, number in marked) for number, (_, line) in enumerate(written)]


def pretty(text: str) -> str:
    """The document as it is written for mending; one that is no JSON as it is."""
    return "\n".join(row.text for row in rows(text, None))


def _marked(paths: list[Path], wanted: Path | None) -> set[int]:
    """The lines of that path, an envelope looked through; where a step is missing, of its nearest parent."""
    while wanted:
        length = len(wanted)
        whole = {number for number, at in enumerate(paths) if at == wanted}
        inner = {
            number
            for number, at in enumerate(paths)
            if length < len(at) <= length + 2 and at[-length:] == wanted
        }
        if whole or inner:
            return whole or inner
        wanted = wanted[:-1]
    return set()


def _written(value: Any, path: Path, lead: str, indent: str) -> Iterator[tuple[Path, str]]:
    deeper = indent + "  "
    match value:
        case dict() if value:
            yield path, f"{indent}{lead}{{"
            for number, (key, inner) in enumerate(value.items(), 1):
                yield from _comma(
                    _written(inner, (*path, key), f"{json.dumps(key, ensure_ascii=False)}: ", deeper),
                    number < len(value),
                )
            yield path, f"{indent}}}"
        case list() if value:
            yield path, f"{indent}{lead}["
            for number, inner in enumerate(value):
                yield from _comma(_written(inner, (*path, number), "", deeper), number + 1 < len(value))
            yield path, f"{indent}]"
        case _Literal():
            yield path, f"{indent}{lead}{value!s}"
        case _:
            yield path, f"{indent}{lead}{json.dumps(value, ensure_ascii=False)}"


def _comma(lines: Iterator[tuple[Path, str]], is_followed: bool) -> Iterator[tuple[Path, str]]:
    held: tuple[Path, str] | None = None
    for line in lines:
        if held is not None:
            yield held
        held = line
    if held is not None:
        yield (held[0], held[1] + ",") if is_followed else held
