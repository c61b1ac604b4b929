"""Every command and every query in the documents is run, or read as its program would; none is left out without a word."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from psycopg import pq

from tests.conftest import RUNNING, all_servers
from tests.docs.blocks import (
    NOT_RUN,
    SHOWN,
    Block,
    blocks,
    calls_of_tds,
    pages,
    read,
    read_call,
    spans,
    statements,
)
from tests.docs.world import World, world

PERFORMED = (
    "docs/migration.md", "docs/validation.md", "docs/resync.md", "docs/price-list-currency.md", "docs/stuck-queue.md",
    "docs/quota-gone.md", "docs/token-refused.md", "docs/bigger-server.md", "docs/training.md",
)  # fmt: skip
"""Pages that are performed from their beginning to their end: what a block does stays for the next."""
BY_OTHERS = {"docs/commands.md": "its screens are what the commands print (test_docs.py)"}
NO_PLACE = {"docs/backup.md": "its commands are tests/db/test_backup.py's, with places of their own"}
"""Pages whose commands are only read, though no mark says so."""
A_QUERY = re.compile(r"^(select|update|delete|insert|call)\s", re.IGNORECASE)
PHRASES = {"select *", "CALL process_batch"}
A_STATEMENT = re.compile(
    r"^(with|alter|create|drop|grant|revoke|vacuum|set|reset|lock|merge)\s", re.IGNORECASE
)
KINDS_OF_STATEMENTS = {"alter system", "alter database", "alter role", "create or replace"}
CALLED = re.compile(r"\b(tds\.\w+)\(…\)")
LEFT_OUT = re.compile(r"\s…|^DELETE …/|\(…\)")
IN_QUOTES = re.compile(r"\$\$.*?\$\$|'[^']*'", re.DOTALL)
"""What stands for something: such a statement is not whole, and of it only the function's name is looked up."""
NOT_WHOLE = re.compile(r"…|\b(PID|NAME|TABLE|ENTITY|ID)\b|\.\.\.")
ALL = [block for path in pages() for block in blocks(path)]
RUN = [
    block
    for block in ALL
    if block.why_not_run is None
    and block.language in ("console", "sql")
    and block.page not in {*PERFORMED, *BY_OTHERS}
    and not (block.language == "console" and block.page in NO_PLACE)
]


@pytest.fixture
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """On one server: what another version says of the statements is its own tests' business. TDS_DOCS_LEG names another."""
    server = all_servers(request.config).get(os.environ.get("TDS_DOCS_LEG", RUNNING[0]))
    with server.database() as database, world(server, database, tmp_path) as made:
        yield made


def _failure(stage: World, block: Block, *, keep: bool = False) -> str | None:
    try:
        stage.run(block, keep=keep)
    except AssertionError as error:
        return str(error)
    return None


def test_what_is_not_run_can_be_read() -> None:
    told = {block.where for block in RUN} | {
        block.where for block in ALL if block.page in {*PERFORMED, *BY_OTHERS}
    }
    only_read = [block for block in ALL if block.why_not_run or block.where not in told]
    for block in only_read:
        read(block)
    for block in only_read:
        if block.language not in SHOWN:
            print(f"read, {block.why_not_run or block.language}: {block.where}")
    assert {block.why_not_run for block in only_read} - {None} <= set(NOT_RUN)
    console = [block for block in ALL if block.language == "console"]
    assert len([block for block in console if block.why_not_run]) < len(console) / 2, "most are run"


def _queries() -> Iterator[Block]:
    """What stands within sentences."""
    for path in pages():
        for line, text in spans(path):
            if A_QUERY.match(text) and text not in PHRASES and not NOT_WHOLE.search(text):
                yield Block(path.name, line, "sql", ("example numbers",), text)


def _only_read() -> Iterator[tuple[str, str]]:
    """Where, and the statement: all that is SQL and is not run."""
    ran = {(block.page, block.line, block.text) for block in (*RUN, *_queries())}
    for block in ALL:
        is_run = block in RUN or (block.page in {*PERFORMED, *BY_OTHERS} and block.why_not_run is None)
        if block.language == "sql" and not is_run:
            yield from ((block.where, statement) for statement in statements(block.text))
    for path in pages():
        for line, text in spans(path):
            is_whole = text not in {*PHRASES, *KINDS_OF_STATEMENTS}
            is_sql = A_QUERY.match(text) or A_STATEMENT.match(text)
            if is_sql and is_whole and (path.name, line, text) not in ran:
                yield f"{path.name}:{line}", text


def test_sql_that_is_not_run_is_prepared(request: pytest.FixtureRequest) -> None:
    server = all_servers(request.config).get(os.environ.get("TDS_DOCS_LEG", RUNNING[0]))
    prepared = 0
    with server.database() as database, database.connect(autocommit=True) as conn:
        for where, statement in _only_read():
            if LEFT_OUT.search(IN_QUOTES.sub("", statement)):
                for name in CALLED.findall(statement):
                    found = conn.execute(
                        "select from pg_proc where format('%%s.%%s', pronamespace::regnamespace, proname) = %s",
                        [name],
                    )
                    assert found.fetchone() is not None, f"{where}: there is no {name}()"
                continue
            result = conn.pgconn.prepare(b"", statement.encode())
            assert result.status == pq.ExecStatus.COMMAND_OK, (
                f"{where}: {statement}\n{result.error_message.decode()}"
            )
            prepared += 1
    assert prepared >= 15


# One world for all, so one test; a busy machine makes minutes of it.
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_all_that_is_typed_is_run(stage: World) -> None:
    queries = list(_queries())
    assert len(queries) > 30
    stage.variables["run"] = "(select max(run_id) from tds.run where entity = 'invoices')"
    failed = [told for block in (*RUN, *queries) if (told := _failure(stage, block))]
    for page in PERFORMED:
        own = [block for block in ALL if block.page == page and block.language in ("console", "sql", "act")]
        steps = (_failure(stage, block, keep=True) for block in own if block.why_not_run is None)
        # what follows a step that failed is not what the page tells of
        failed += [told for told in [next((told for told in steps if told), None)] if told]
    print(*(f"run: {command}" for command in stage.ran), sep="\n")
    assert failed == [], "\n\n".join(failed)


def test_commands_within_sentences_are_commands() -> None:
    count = 0
    for path in pages():
        for line, text in spans(path):
            if not text.startswith("tds "):
                continue
            for words in calls_of_tds(re.sub(r"\[|\]|,? ?…$", "", text)):
                try:
                    read_call([word for word in words if word != "…"], mentioned=True)
                except click.ClickException as error:
                    raise AssertionError(f"{path.name}:{line}: {text}: {error.format_message()}") from error
                count += 1
    assert count > 100
