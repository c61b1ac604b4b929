"""The ways in which a line can be broken: small faults of the kinds that people make.

Python is broken by its syntax tree, SQL by its text: the bodies of functions are strings to every parser of SQL that
there is for Python, and half of the statements are written by the makers of room 65 from pieces of text.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

FLIPPED = {
    "<=": "<", ">=": ">", "<": "<=", ">": ">=", "=": "<>", "<>": "=", "==": "!=", "!=": "==",
    "is": "is not", "is not": "is", "in": "not in", "not in": "in",
}  # fmt: skip


@dataclass(frozen=True)
class Mutation:
    """One change: `source[start:end]` becomes `text`."""

    line: int
    operator: str
    start: int
    end: int
    text: str

    def apply(self, source: str) -> str:
        """The whole file, broken."""
        return source[: self.start] + self.text + source[self.end :]


def mutations(path: str, source: str) -> list[Mutation]:
    """All ways to break a file, in order of place."""
    found = list(_sql(source) if path.endswith(".sql") else _python(source))
    changing = [m for m in found if m.apply(source) != source]
    return sorted(changing, key=lambda m: (m.line, m.start, m.end, m.text))


# Python


class _Walker(ast.NodeVisitor):
    def __init__(self, source: str) -> None:
        self.source = source
        self.found: list[Mutation] = []
        # ast counts columns in bytes
        self._starts = [0]
        for line in source.encode().split(b"\n"):
            self._starts.append(self._starts[-1] + len(line) + 1)

    def place(self, line: int, column: int) -> int:
        return len(self.source.encode()[: self._starts[line - 1] + column].decode())

    def span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self.place(node.lineno, node.col_offset), self.place(node.end_lineno, node.end_col_offset)

    def change(self, node: ast.expr | ast.stmt, operator: str, text: str) -> None:
        self.found.append(Mutation(node.lineno, operator, *self.span(node), text))

    def negate(self, test: ast.expr) -> None:
        start, end = self.span(test)
        self.change(test, "negate a condition", f"not ({self.source[start:end]})")

    def between(self, left: ast.expr, right: ast.expr, operator: str, old: str, new: str) -> None:
        start, end = self.span(left)[1], self.span(right)[0]
        gap = self.source[start:end]
        changed = re.sub(rf"(?<![\w<>=!]){re.escape(old)}(?![\w<>=!])", new, gap, count=1)
        self.found.append(Mutation(left.lineno, operator, start, end, changed))

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for statement in node.body:
            self.visit(statement)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self.visit_FunctionDef(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_If(self, node: ast.If) -> None:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return
        self.negate(node.test)
        if not node.orelse and isinstance(node.body[-1], ast.Raise | ast.Return | ast.Continue | ast.Break):
            self.change(node.test, "drop a guard", "False")
        self.generic_visit(node)

    def visit_While(self, node: ast.While) -> None:
        if not isinstance(node.test, ast.Constant):
            self.negate(node.test)
        self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self.negate(node.test)
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        for test in node.ifs:
            self.negate(test)
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in zip(node.values, node.values[1:], strict=False):
            self.between(left, right, "swap and/or", old, new)
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        names = {
            ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
            ast.Is: "is", ast.IsNot: "is not", ast.In: "in", ast.NotIn: "not in",
        }  # fmt: skip
        left = node.left
        for operation, right in zip(node.ops, node.comparators, strict=True):
            old = names[type(operation)]
            self.between(left, right, "flip a comparison", old, FLIPPED[old])
            left = right
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, bool):
            self.change(node, "change a constant", str(not node.value))
        elif isinstance(node.value, int | float):
            self.change(node, "change a constant", repr(node.value + 1))

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """What stands in an f-string has no reliable place before Python 3.12."""

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Call | ast.Await):
            self.change(node, "drop a statement", "pass")
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.change(node, "drop a statement", "pass")
        self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> None:
        self.change(node, "drop a statement", "pass")


def _python(source: str) -> list[Mutation]:
    walker = _Walker(source)
    walker.visit(ast.parse(source))
    return walker.found


# SQL

_NOT_CODE = re.compile(
    r"\s*(--|\$|create |language |returns |set search_path|as \$|declare$|begin$|end;?$|comment on )"
)
_CLAUSE_END = re.compile(
    r"\s*(;|\bthen\b|\bloop\b|\band\b|\bor\b|\breturning\b|\border by\b|\bgroup by\b|"
    r"\blimit\b|\bfor update\b|\bend\b|\belse\b|\bon conflict\b|,|%\d+\$s|$)"
)
_SWAPS = [
    (r" is not distinct from ", " is distinct from ", "flip a comparison"),
    (r" is distinct from ", " is not distinct from ", "flip a comparison"),
    (r" is not null\b", " is null", "flip a comparison"),
    (r" is null\b", " is not null", "flip a comparison"),
    (r"\bnot exists\b", "exists", "negate a condition"),
    (r"(?<!not )(?<!if )\bexists \(", "not exists (", "negate a condition"),
    (r"\bgreatest\(", "least(", "change a function"),
    (r"\bleast\(", "greatest(", "change a function"),
    (r"\bmax\(", "min(", "change a function"),
    (r"\bmin\(", "max(", "change a function"),
    (r" desc\b", "", "change an order"),
    (r"\btrue\b", "false", "change a constant"),
    (r"\bfalse\b", "true", "change a constant"),
    (r" and ", " or ", "swap and/or"),
    (r" or ", " and ", "swap and/or"),
    (r"\bleft join\b", "join", "change a join"),
]


def _sql(source: str) -> Iterator[Mutation]:
    offset, in_comment = 0, False
    for number, line in enumerate(source.split("\n"), 1):
        masked = re.sub(r"'(?:[^']|'')*'", lambda found: "'" + "_" * (len(found[0]) - 2) + "'", line)
        masked = re.sub(r"--.*", lambda found: " " * len(found[0]), masked)
        starts_comment = line.lstrip().startswith("comment on ")
        if not (in_comment or starts_comment or _NOT_CODE.match(line)):
            for operator, start, end, text in _sql_line(masked, line):
                yield Mutation(number, operator, offset + start, offset + end, text)
        if in_comment or starts_comment:
            in_comment = not masked.rstrip().endswith(";")
        offset += len(line) + 1


def _condition_end(masked: str, start: int) -> int | None:
    """Where a condition that begins at `start` ends, or None if it goes on in the next line."""
    depth = 0
    between = False
    for at in range(start, len(masked) + 1):
        if (
            depth == 0
            and (found := _CLAUSE_END.match(masked, at))
            and (at == 0 or found[0][:1] in " ;,%" or at == len(masked))
        ):
            if found[1] == "and" and between:
                between = False
            else:
                return at if at > start else None
        if depth == 0 and masked.startswith(" between ", at):
            between = True
        if at < len(masked):
            depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(masked[at], 0)
            if depth < 0:
                return at
    return None


def _sql_line(masked: str, line: str) -> Iterator[tuple[str, int, int, str]]:
    for pattern, new, operator in _SWAPS:
        for found in re.finditer(pattern, masked):
            if not (pattern == r" and " and " between " in masked[: found.start()]):
                yield operator, found.start(), found.end(), new
    if re.match(
        r"\s*(where|and|or|on|if|elsif|when|having|case)\b|.*\b(when|where|and|if|filter|on)\b", masked
    ):
        for found in re.finditer(r" (<=|>=|<>|<|>|=) ", masked):
            yield "flip a comparison", found.start(1), found.end(1), FLIPPED[found[1]]
    for found in re.finditer(r"(?<![\w$%.:'])(\d+)(?![\w$.'])", masked):
        yield "change a constant", found.start(), found.end(), str(int(found[0]) + 1)
    for found in re.finditer(r"interval '(\d+)", line):
        yield "change a constant", found.start(1), found.end(1), str(int(found[1]) + 1)
    for found in re.finditer(r"\b(and|or) |\bwhere ", masked):
        end = _condition_end(masked, found.end())
        if end is not None and not (found[1] == "and" and " between " in masked[: found.start()]):
            yield "drop a condition", found.start(), end, "where true" if found[1] is None else ""
    for found in re.finditer(r"\b(?:if|elsif|when) (.+?) then\b", masked):
        if re.search(r"[ (]", found[1]) and found[1].count("(") == found[1].count(")"):
            yield (
                "negate a condition",
                found.start(1),
                found.end(1),
                f"not ({line[found.start(1) : found.end(1)]})",
            )
    if statement := re.match(
        r"\s*((?:perform|call|raise|delete|update|insert|grant|v_\w+ :=) ?.*;)\s*$", masked
    ):
        text = "" if statement[1].startswith("grant") else "null;"
        yield "drop a statement", statement.start(1), statement.end(1), text
