"""What the bulk-sync API takes and gives. Whether a value suits the entity is the database's to say."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from tds_db.runs import RunState

LARGEST_ID = 2**63 - 1

Since = Annotated[
    str,
    Field(
        pattern=r"^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d))?$",
        max_length=40,
        description="A time with its offset, or a date: its beginning where the organisation is.",
        examples=["2026-11-01", "2026-11-01T08:00:00+03:00"],
    ),
]
Ids = Annotated[list[Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,50}$")]], Field(max_length=200)]
Places = Annotated[list[Annotated[str, Field(min_length=1, max_length=255)]], Field(max_length=200)]


class Options(BaseModel):
    """Nothing but what is named here is taken."""

    model_config = ConfigDict(extra="forbid")

    def given(self) -> dict[str, Any]:
        """What was asked for."""
        return self.model_dump(exclude_unset=True, exclude_none=True)


class ListOptions(Options):
    """Of everything that is a list in Zoho."""

    incremental: StrictBool = Field(
        default=False,
        description="Only what was modified since the last complete pass. Where the API has no such filter "
        "the whole list is read; unchanged records cost nothing in the database.",
    )
    modified_since: Since | None = Field(
        default=None, description="Only what was modified since; implies `incremental`."
    )
    batch_size: Annotated[int, Field(strict=True, ge=1, le=200)] = Field(
        default=200, description="Records a page; each page is a call."
    )
    update_only: StrictBool = Field(
        default=False, description="Only records the mirror knows: new ones are left out."
    )


class ProductOptions(ListOptions):
    """Of products."""


class CustomerOptions(ListOptions):
    """Of customers."""

    include_addresses: StrictBool = Field(
        default=True,
        description="Fetch details, which have the addresses: a call for each new or changed customer.",
    )


class DocumentOptions(ListOptions):
    """Of invoices and bills."""

    include_line_items: StrictBool = Field(
        default=True,
        description="Fetch details, which have the lines: a call for each document that is new or changed.",
    )


class StockOptions(Options):
    """Of stock, which is in the details of products, up to 100 a call."""

    warehouses: Places | None = Field(
        default=None,
        description="Only products with stock in these warehouses, by Zoho's ids or their names; "
        "empty or `all`: in any.",
    )
    update_only: StrictBool = Field(
        default=False, description="Only products the mirror knows: the list is not read first."
    )
    batch_size: Annotated[int, Field(strict=True, ge=1, le=100)] = Field(
        default=100, description="Products a call."
    )


class PricelistOptions(Options):
    """Of price lists, which Zoho calls price books."""

    pricelist_ids: Ids | None = Field(default=None, description="Only these, by Zoho's ids; empty: all.")
    include_item_prices: StrictBool = Field(
        default=True, description="Fetch the prices: a call a price list, whether or not it seems changed."
    )
    batch_size: Annotated[int, Field(strict=True, ge=1, le=200)] = Field(
        default=200, description="Price lists a page."
    )
    update_only: StrictBool = Field(
        default=False, description="Only price lists the mirror knows: new ones are left out."
    )


class Accepted(BaseModel):
    """A pull that will be done, or that was asked for before and is not done yet."""

    run_id: int
    status: RunState
    url: str = Field(description="Where to look how far it is.")


class Run(BaseModel):
    """A pull: what was asked for, how far it is, what it has cost."""

    run_id: int
    organization_id: str
    entity: str
    state: RunState = Field(
        description="queued; running: pages are fetched; settling: they are processed, details are fetched; "
        "complete; partial: some details could not be had; failed; cancelled"
    )
    options: dict[str, Any] = Field(description="What was asked for; defaults are left out.")
    requested_at: datetime | None
    requested_by: str | None
    started_at: datetime | None
    finished_at: datetime | None
    duration: float | None = Field(description="Seconds.")
    since: datetime | None = Field(description="Only what was modified since is asked for.")
    filtered: bool = Field(description="Whether Zoho does the asking; false: the whole list is read.")
    pages: int
    expected_pages: int | None = Field(description="From the newest whole list read before; else null.")
    records: int
    calls: int = Field(description="API calls it has cost.")
    details_wanted: int
    details_fetched: int
    details_failed: int
    progress: float | None = Field(description="0 to 1; null where it is unknown.")
    records_per_second: float | None
    eta: datetime | None = Field(description="Of the pages, then of the details; null where it is unknown.")
    heartbeat_at: datetime | None
    error: str | None = Field(description="Why it did not complete, or what it waits for.")


class Runs(BaseModel):
    """A page of runs, newest first."""

    runs: list[Run]
    next: int | None = Field(description="`before` of the next page; null: this is the last.")


class Health(BaseModel):
    """What the last look at the whole said."""

    state: str = Field(description="ok, warning, critical or unknown.")
    looked_at: datetime
    age_seconds: float
    checks: int
    critical: list[str] = Field(description="Names of checks.")
    warning: list[str]
    unknown: list[str]


class Living(BaseModel):
    """This process runs."""

    status: str = Field(examples=["ok"])
    health: Health | None = Field(default=None, description="As far as this process knows.")


class Ready(BaseModel):
    """Whether it can do its work."""

    status: str = Field(examples=["ready"])
    health: Health | None = None


class NotReady(BaseModel):
    """What it lacks."""

    status: str = Field(examples=["unavailable"])
    failed: dict[str, str] = Field(description="database, schema, queue, storage: why.")


class Refusal(BaseModel):
    """Why not."""

    status: str = Field(examples=["refused"])
    reason: str
    path: str | None = Field(default=None, description="The value it is about.")
    hint: str | None = Field(default=None, description="What to do next.")
