"""The dashboard: for whoever has a key, what the database says; for whoever may operate, an operator's deeds."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tds_receiver.dashboard import documents
from tds_receiver.dashboard.charts import amount, drawn
from tests.db.servers import Database
from tests.receiver.conftest import Receive
from tests.screens import stage

KEY = "a-secret-of-the-environment"


@pytest.fixture
def client(receiver: Receive, monkeypatch: pytest.MonkeyPatch) -> httpx.Client:
    monkeypatch.setenv("TDS_API_KEY", KEY)
    return receiver()


def test_the_dashboard_shows_how_all_stands(client: httpx.Client, database: Database) -> None:
    evil = {"item": {"item_id": "1", "name": "Cable", "rate": "<script>alert(1)</script>"}}
    with database.connect(autocommit=True) as conn:
        conn.execute("select tds.receive('products', %s, '77')", [json.dumps(evil).encode()])
        conn.execute("call tds.process_batch()")
        conn.execute("select tds.receive('customers', '{}', '77')")
        run = conn.execute("select tds.request_pull('invoices', '{}', '77')").fetchone()
        conn.execute("update tds.run set error = '<b>no</b>'")
        conn.execute("select tds.observe_health()")
    assert run is not None
    page = client.get("/dashboard", auth=httpx.BasicAuth("anybody", KEY))
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for shown in ("dead_letters", "Dead letters", "not a number", "invoices", "queued", "receiver"):
        assert shown in page.text
    assert "request_changes" in client.get("/dashboard/jobs", headers={"x-api-key": KEY}).text
    assert "&lt;b&gt;no&lt;/b&gt;" in page.text
    assert "<b>" not in page.text
    assert "alert(1)" not in page.text, "no value of a record's"
    assert client.get("/dashboard", headers={"x-api-key": KEY}).status_code == 200


def test_the_dashboard_needs_a_key(client: httpx.Client) -> None:
    for refused in (
        client.get("/dashboard"),
        client.get("/dashboard", auth=httpx.BasicAuth("anybody", "wrong")),
        client.get("/dashboard", headers={"authorization": "Basic &&&"}),
    ):
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"].startswith("Basic ")
    pulls = client.get("/api/zoho/bulk-sync/runs")
    assert (pulls.status_code, pulls.headers["www-authenticate"]) == (401, "Bearer")


PAGES = (
    "",
    "?span=day",
    "?span=month",
    "/entities",
    "/dead",
    "/dead?entity=products&code=ZB001&q=1,2,3",
    "/dead/1",
    "/records",
    "/records?entity=invoices&id=INV-00001",
    "/records?entity=products&id=46999",
    "/runs",
    "/runs?state=queued&entity=invoices",
    "/runs/1",
    "/jobs",
    "/stock",
    "/health",
    "/alerts",
    "/discrepancies",
    "/discrepancies?report=salesbyitem&before=3",
    "/discrepancies/1",
    "/discrepancies/2",
    "/discrepancies/3",
    "/verification",
    "/verification?entity=products",
)
HTML = {"Accept": "text/html"}
DEEDS: dict[str, dict[str, str]] = {
    "/dead/1/replay": {},
    "/jobs/heal/run": {},
    "/runs/1/cancel": {},
    "/entities/invoices/pull": {},
    "/alerts/1/acknowledge": {},
    "/alerts/1/mute": {"span": "1 hour"},
    "/alerts/1/unmute": {},
    "/alerts/mutes/end": {"kind": "backup", "entity": "*"},
    "/discrepancies/1/note": {"note": "known"},
}


def test_every_page_is_escaped_and_shows_sql_that_can_be_run(
    client: httpx.Client, database: Database
) -> None:
    with database.connect(autocommit=True) as owner:
        stage.furnish(owner)
        queries: set[str] = set()
        for path in PAGES:
            page = client.get(f"/dashboard{path}", headers={"x-api-key": KEY})
            assert page.status_code == 200, path
            policy = page.headers["content-security-policy"]
            assert "script-src 'self'" in policy
            assert "unsafe" not in policy
            assert not re.search(
                r"<script(?! src=\"/assets/)|<style| style=|\son\w+=|https?://", page.text
            ), path
            found = re.findall(r"<summary>SQL</summary><pre[^>]*><code>(.*?)</code>", page.text)
            assert found or path == "/records", path
            queries |= {
                query.replace("&#39;", "'").replace("&lt;", "<").replace("&gt;", ">") for query in found
            }
        assert "&lt;script&gt;alert(1)" in client.get("/dashboard/dead/1", headers={"x-api-key": KEY}).text
        for role in ("tds_operator", "tds_reader"):
            owner.execute(f"set role {role}")
            for query in sorted(queries):
                owner.execute(query)
            owner.execute("reset role")
    assert len(queries) > 25


def test_what_is_not_there_is_told_on_a_page(client: httpx.Client) -> None:
    known = {"x-api-key": KEY} | HTML
    for path, status in (
        ("/nothing", 404), ("/dead/4711", 404), ("/runs/4711", 404), ("/dead/99999999999999999999999", 404),
        ("?span=year", 404), ("/records?entity=sheep&id=1", 422), ("/dead?before=x&q=%00", 200),
    ):  # fmt: skip
        answer = client.get(f"/dashboard{path}", headers=known)
        assert (answer.status_code, answer.headers["content-type"].split(";")[0]) == (status, "text/html"), (
            path
        )
    assert client.get("/").headers["location"] == "/dashboard"
    for name in ("tds.css", "tds.js", "tds.svg"):
        assert client.get(f"/assets/{name}").status_code == 200
    for path in ("/assets/..%2fpages.py", "/assets/nothing"):
        assert client.get(path).status_code == 404


def test_the_page_asked_for_is_shown_after_the_key(client: httpx.Client) -> None:
    asked = client.get("/dashboard/dead?q=a%20b", headers=HTML)
    assert (asked.status_code, asked.headers["location"]) == (
        303,
        "/dashboard/login?then=/dashboard/dead%3Fq%3Da%2520b",
    )
    assert 'value="/dashboard/dead?q=a%20b"' in client.get(asked.headers["location"]).text
    done = client.post("/dashboard/login", data={"key": KEY, "then": "/dashboard/dead?q=a%20b"})
    assert done.headers["location"] == "/dashboard/dead?q=a%20b"
    for evil in (
        "//evil.example",
        "https://evil.example",
        "/dashboard.evil",
        "/dashboard/\\evil",
        "/docs",
        "/dashboard/a b",
    ):
        assert (
            client.post("/dashboard/login", data={"key": KEY, "then": evil}).headers["location"]
            == "/dashboard"
        )


def test_deeds_take_the_token_of_our_page_and_a_key_that_may(
    client: httpx.Client, database: Database
) -> None:
    with database.connect(autocommit=True) as owner:
        stage.furnish(owner)
        [reader] = owner.execute("select tds.create_api_key('a reader', 'read')").fetchone() or [""]
        for path in DEEDS:
            refused = client.post(f"/dashboard{path}", headers={"x-api-key": reader})
            assert (refused.status_code, refused.json()["reason"]) == (403, "the key a reader may only read")
            assert client.post(f"/dashboard{path}").status_code == 401
        client.post("/dashboard/login", data={"key": KEY})
        token = re.findall(r'name="csrf" value="(\w+)"', client.get("/dashboard").text)[0]
        for path in DEEDS:
            for forged in ({}, {"csrf": ""}, {"csrf": "0" * 64}):
                assert client.post(f"/dashboard{path}", data=forged).status_code == 403, path
            elsewhere = client.post(
                f"/dashboard{path}", data={"csrf": token}, headers={"Origin": "https://evil.example"}
            )
            assert elsewhere.status_code == 403
        untouched = owner.execute(
            "select (select count(*) from tds.dead_letter where resolved_at is not null), "
            "(select count(*) from tds.job where wanted_at is not null), "
            "(select count(*) from tds_alerts where id = 1 and state <> 'open'), "
            "(select count(note) from tds.discrepancy where discrepancy_id = 1)"
        )
        assert untouched.fetchone() == (0, 0, 0, 0)
        for path, fields in DEEDS.items():
            answer = client.post(f"/dashboard{path}", data={"csrf": token} | fields)
            assert answer.status_code == 303, path
        newest = owner.execute("select max(inbox_id) from tds.inbox where source = 'replay'").fetchone()
        assert newest
        assert owner.execute(
            "select resolution from tds.dead_letter where dead_letter_id = 1"
        ).fetchone() == (f"replayed as event {newest[0]} by API key TDS_API_KEY",)
        assert owner.execute("select wanted_by from tds.job where job = 'heal'").fetchone() == (
            "API key TDS_API_KEY",
        )
        again = client.post("/dashboard/dead/1/replay", data={"csrf": token})
        assert again.status_code == 404
        assert client.post("/dashboard/jobs/nonsense/run", data={"csrf": token}).status_code == 404


@pytest.fixture
def operator(client: httpx.Client, database: Database) -> Callable[..., int]:
    """A furnished database, and a browser that has logged in: `operator(path, **fields)` sends a form."""
    with database.connect(autocommit=True) as owner:
        stage.furnish(owner)
    client.post("/dashboard/login", data={"key": KEY})
    token = re.findall(r'name="csrf" value="(\w+)"', client.get("/dashboard").text)[0]

    def send(path: str, **fields: str) -> int:
        return client.post(f"/dashboard{path}", data={"csrf": token} | fields).status_code

    return send


def test_alerts_are_seen_to_and_muted_in_the_name_of_the_key(
    client: httpx.Client, operator: Callable[..., int], database: Database
) -> None:
    query = """
        select state, acknowledged_by, round(extract(epoch from acknowledged_until - tds.now()) / 3600),
               round(extract(epoch from muted_until - tds.now()) / 3600)
          from tds_alerts where id = 1"""
    with database.connect(autocommit=True) as owner:

        def alert() -> tuple[Any, ...]:
            return owner.execute(query).fetchone() or ()

        [count] = owner.execute("select count(*) from tds_alerts where state = 'open'").fetchone() or ()
        assert count > 2
        assert f">{count} open\nalerts</a> that nobody sees to yet" in client.get("/dashboard").text
        for span in ("yesterday", "-1 hour", "0", "100 years", "1e99 days", "infinity"):
            assert operator("/alerts/1/acknowledge", span=span) == 422, span
        for span in ("", " ", "yesterday", "-1 hour", "100 years"):
            assert operator("/alerts/1/mute", span=span) == 422, span
        assert alert() == ("open", None, None, None)
        assert operator("/alerts/1/acknowledge", span="4 hours") == 303
        assert alert() == ("acknowledged", "API key TDS_API_KEY", 4, None)
        assert f">{count - 1} open\n" in client.get("/dashboard/alerts").text
        assert operator("/alerts/1/acknowledge", span="") == 303
        assert alert() == ("acknowledged", "API key TDS_API_KEY", None, None)
        assert operator("/alerts/1/mute", span="1 day") == 303
        assert alert()[::3] == ("muted", 24)
        assert owner.execute(
            "select muted_by from tds.alert_mute where muted_until > now() + '3 hours'"
        ).fetchone() == ("API key TDS_API_KEY",)
        assert operator("/alerts/1/unmute") == 303
        assert alert()[::3] == ("acknowledged", None)
        [kind, entity] = owner.execute("select kind, entity from tds.alert_mute").fetchone() or ()
        assert operator("/alerts/mutes/end", kind=kind, entity=entity) == 303
        assert owner.execute("select count(*) from tds.alert_mute").fetchone() == (0,)
        over = owner.execute("select max(id) from tds_alerts where state = 'resolved'").fetchone() or ()
        for number in (*over, 4711, 2**63):
            assert operator(f"/alerts/{number}/acknowledge", span="") == 404, number
            assert operator(f"/alerts/{number}/unmute") == 404, number


def test_a_discrepancy_is_noted_in_the_name_of_the_key(
    client: httpx.Client, operator: Callable[..., int], database: Database
) -> None:
    query = "select note, noted_by from tds_discrepancies where discrepancy_id = 1"
    with database.connect(autocommit=True) as owner:
        assert operator("/discrepancies/1/note", note=" رصيد <b>2019</b>\x00 ") == 303
        assert owner.execute(query).fetchone() == ("رصيد <b>2019</b>", "API key TDS_API_KEY")
        for path in ("/discrepancies", "/discrepancies/1"):
            assert "رصيد &lt;b&gt;2019" in client.get(f"/dashboard{path}").text
        assert operator("/discrepancies/1/note", note="x" * 3000) == 303
        assert owner.execute(
            "select length(note) from tds_discrepancies where discrepancy_id = 1"
        ).fetchone() == (2000,)
        assert operator("/discrepancies/1/note") == 303
        assert owner.execute(query).fetchone() == (None, "API key TDS_API_KEY")
        assert operator("/discrepancies/4711/note", note="x") == 404
        assert client.get("/dashboard/discrepancies/4711").status_code == 404
        [first] = owner.execute("select min(number) from (select jsonb_array_elements(documents) ->> 'number' as number "
                                "from tds_discrepancies) d").fetchone() or ()  # fmt: skip
    shown = client.get("/dashboard/discrepancies/1").text
    assert first in shown
    assert "&lt;script&gt;alert(2)" in shown
    told = client.get("/dashboard/verification?entity=invoices").text
    assert "tds repair invoices 70001" in told
    assert "46003" not in told
    assert "&lt;script&gt;alert(3)" in told


def test_who_may_only_read_is_shown_no_deeds(
    client: httpx.Client, operator: Callable[..., int], database: Database
) -> None:
    paths = ("/alerts", "/discrepancies/1", "/verification")
    assert [client.get(f"/dashboard{path}").text.count('method="post"') > 1 for path in paths] == [
        True,
        True,
        False,
    ]
    with database.connect(autocommit=True) as owner:
        [reader] = owner.execute("select tds.create_api_key('a reader', 'read')").fetchone() or [""]
    client.cookies.clear()
    client.post("/dashboard/login", data={"key": reader})
    for path in paths:
        shown = client.get(f"/dashboard{path}")
        assert shown.status_code == 200
        assert shown.text.count('method="post"') == shown.text.count('action="/dashboard/logout"') == 1


def test_what_was_promised_stands_on_the_first_page(client: httpx.Client, database: Database) -> None:
    with database.connect(autocommit=True) as owner:
        stage.furnish(owner)
        promised = owner.execute("select objective, met from tds_slo").fetchall()
    shown = client.get("/dashboard", headers={"x-api-key": KEY}).text
    panel = " ".join(shown[shown.index('id="slo"') : shown.index('id="open-runs"')].split())
    for objective, _ in promised:
        assert str(objective).replace("_", " ") in panel
    assert len(promised) == panel.count('scope="row"')
    assert panel.count(">met<") == sum(met is True for _, met in promised)
    assert panel.count(">not met<") == sum(met is False for _, met in promised)
    assert "below 30 s" in panel
    assert "at least 99.9 %" in panel


def test_while_the_database_is_away_a_page_says_so(client: httpx.Client, database: Database) -> None:
    with database.connect(autocommit=True) as owner:
        owner.execute("alter function tds.api_key_scope(bytea) rename to gone")
        client.cookies.set("tds_session", "tds_session_" + "0" * 64)
        owner.execute("alter function tds.api_session_key(bytea) rename to gone_too")
    answer = client.get("/dashboard/jobs", headers=HTML)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "cannot be asked now" in answer.text


@pytest.mark.parametrize(
    ("document", "path", "marked"),
    [
        ('{"a": 1, "rate": "x"}', "rate", ['  "rate": "x"']),
        ('{"a": 1, "rate": "x"}', "$.rate", ['  "rate": "x"']),
        ('{"item": {"rate": 12345678901234567890.10}}', "rate", ['    "rate": 12345678901234567890.10']),
        ('{"lines": [{"q": 1}, {"q": "x"}]}', "lines[1].q", ['      "q": "x"']),
        ('{"lines": [{"q": 1}]}', "lines[0].missing", ["    {", "    }"]),
        ('{"a": 1}', None, []),
        ('{"a": ', "a", []),
        ("[" * 3000, "a", []),
    ],
)
def test_the_line_of_the_path_is_marked(document: str, path: str | None, marked: list[str]) -> None:
    assert [row.text for row in documents.rows(document, path) if row.is_marked] == marked


def test_a_document_that_is_mended_says_what_it_said() -> None:
    text = '{"a": [1, 2.50, {"b": null, "c": "\\u0628"}], "d": {}, "e": [], "f": true, "g": 1e400}'
    assert documents.read(documents.pretty(text)) == documents.read(text)
    assert "2.50" in documents.pretty(text)


def test_charts_keep_gaps_and_bounds() -> None:
    series: list[dict[str, Any]] = [
        {"label": "a", "summed": True, "points": [[0, 1], [60, 3], [300, 2], [600, None], [3600, 1e9]]}
    ]
    told = {"from": 0, "to": 3600, "step": 60, "span": "hour"}
    given = {"name": "received", "title": "T", "what": "W.", "unit": "events", "query": "", "series": series}
    chart = drawn(told, given)
    [line] = chart.lines
    assert line.path.count("M") == 3
    assert line.path.count("L") == 1
    assert len(line.dots) == 2
    assert all(0 <= tick.at <= 190 for tick in chart.ticks_y)
    assert chart.ticks_y[-1].label == "1 G"
    assert "1 G in all" in chart.told
    assert "Nothing has been noted" in drawn(told, given | {"series": []}).told
    for unit in ("events", "calls", "seconds", "bytes"):
        for value in (0, 1e-6, 0.5, 1, 7, 1e3, 1e12):
            points = [[0, value], [60, value]]
            flat = drawn(
                told, given | {"unit": unit, "name": "size", "series": [series[0] | {"points": points}]}
            )
            assert len({tick.at for tick in flat.ticks_y}) == len(flat.ticks_y) > 1
            assert amount(value, unit)


def test_shares_are_drawn_from_just_below_the_least_to_a_hundred() -> None:
    told = {"from": 0, "to": 2_592_000, "step": 21600, "span": "month"}
    for least, first in (
        (100, "99"),
        (99.25, "99"),
        (98.999, "98"),
        (96, "90"),
        (33.3, "0"),
        (0, "0"),
    ):
        points = [[0, 100], [1_000_000, least], [2_592_000, 100]]
        line = {"label": "Zoho's reports", "summed": False, "points": points}
        given = {
            "name": "consistency",
            "title": "T",
            "what": "W.",
            "unit": "%",
            "query": "",
            "series": [line],
        }
        chart = drawn(told, given)
        assert (chart.ticks_y[0].label, chart.ticks_y[-1].label) == (first, "100")
        assert chart.lines[0].path.count("M") == 1, "what was said last holds until it is said anew"
        assert all(0 <= tick.at <= 190 for tick in chart.ticks_y)
    # what is not all is not told as all
    assert amount(99.9999, "%") == "99.99 %"
    assert amount(100, "%") == "100 %"


def test_the_script_is_small_and_there_is_no_other() -> None:
    assets = Path(__file__).parents[2] / "receiver" / "tds_receiver" / "dashboard" / "assets"
    assert sorted(file.name for file in assets.iterdir()) == ["tds.css", "tds.js", "tds.svg"]
    assert len((assets / "tds.js").read_bytes()) < 4096
    assert not re.search(
        r"https?://|@import|innerHTML|eval",
        (assets / "tds.js").read_text() + (assets / "tds.css").read_text(),
    )
