"""The receiver's settings, from the environment."""

import difflib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

SHORTEST = 12  # characters of a secret; Zoho takes 12 to 50
# The endpoints by the names that secrets may be given for, Zoho's own among them.
ENDPOINTS = {
    "products": "products",
    "customers": "customers",
    "vendors": "vendors",
    "invoices": "invoices",
    "bills": "bills",
    "credit_notes": "credit_notes",
    "vendor_credits": "vendor_credits",
    "sales_orders": "sales_orders",
    "payments": "payments",
    "vendor_payments": "vendor_payments",
    "stock": "stock",
    "stock_adjustments": "stock_adjustments",
    "prices": "prices",
    "pricelists": "pricelists",
    "currencies": "currencies",
    "taxes": "taxes",
    "warehouses": "warehouses",
    "organizations": "organizations",
    "items": "products",
    "contacts": "customers",
    "creditnotes": "credit_notes",
    "vendorcredits": "vendor_credits",
    "customerpayments": "payments",
    "customer_payments": "payments",
    "vendorpayments": "vendor_payments",
    "pricebooks": "pricelists",
    "salesorders": "sales_orders",
    "orders": "sales_orders",
}
PREFIX = "ZOHO_WEBHOOK_"
VARIABLES = ("SECRET", "SECRETS", "TOKEN", "TOKENS", "DELETE")


@dataclass(frozen=True, slots=True)
class Credentials:
    """What proves that a webhook comes from Zoho: any of these; none at all: nothing is asked."""

    secrets: tuple[bytes, ...] = ()
    tokens: tuple[bytes, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.secrets or self.tokens)


class ReceiverSettings(BaseSettings):
    """What the receiver needs besides the database; the alias of a field is its environment variable."""

    # No secret is shown by an error.
    model_config = SettingsConfigDict(
        populate_by_name=True, env_nested_delimiter="__", hide_input_in_errors=True
    )

    webhook_secret: SecretStr = Field(default=SecretStr(""), validation_alias="ZOHO_WEBHOOK_SECRET")
    """Secrets of signatures, separated by commas: the old one stays good while Zoho is told the new one."""

    webhook_secrets: dict[str, SecretStr] = Field(default={}, validation_alias="ZOHO_WEBHOOK_SECRETS")
    """The same by endpoint, in place of those: ZOHO_WEBHOOK_SECRETS__INVOICES=…, or one JSON object."""

    webhook_token: SecretStr = Field(default=SecretStr(""), validation_alias="ZOHO_WEBHOOK_TOKEN")
    """Fixed tokens, separated by commas, of webhooks that are not signed: a header, or ?token=."""

    webhook_tokens: dict[str, SecretStr] = Field(default={}, validation_alias="ZOHO_WEBHOOK_TOKENS")
    """The same by endpoint: ZOHO_WEBHOOK_TOKENS__INVOICES=…, or one JSON object."""

    signed_delete: bool = Field(default=False, validation_alias="ZOHO_WEBHOOK_DELETE")
    """Whether DELETE is taken with a signature, which does not cover the method; ?event=delete it does."""

    organization_id: str | None = Field(default=None, validation_alias="ZOHO_ORGANIZATION_ID")
    """Organisation of the events that name none, in their URL or in their body."""

    organisations: str = Field(default="", validation_alias="TDS_ORGANISATIONS")
    """Ids of the organisations whose addresses are served, separated by commas (--org); empty: all."""

    only_rows: bool = Field(default=False, validation_alias="TDS_ONLY_ROWS")
    """Whether nothing is taken but what an organisation's own secret has signed: the environment has none."""

    max_body_bytes: int = Field(default=16 * 2**20, gt=0, validation_alias="TDS_MAX_BODY_BYTES")
    """Largest body taken, before and after gzip is undone."""

    header_seconds: float = Field(default=10.0, gt=0, validation_alias="TDS_HEADER_SECONDS")
    """How long a sender may take over the head of a request."""

    body_seconds: float = Field(default=10.0, gt=0, validation_alias="TDS_BODY_SECONDS")
    """How long a sender may take over its body."""

    max_requests: int = Field(default=1000, gt=0, validation_alias="TDS_MAX_REQUESTS")
    """Webhooks in hand at once, of each process; more are answered 503."""

    max_held_bytes: int = Field(default=128 * 2**20, gt=0, validation_alias="TDS_MAX_HELD_BYTES")
    """Bytes of bodies in hand at once, of each process; more are answered 503."""

    max_arriving_bytes: int = Field(default=32 * 2**20, gt=0, validation_alias="TDS_MAX_ARRIVING_BYTES")
    """Of those, bytes of bodies not whole yet, or not known to be Zoho's yet: the slowest give way (503)."""

    connections: int = Field(default=2, gt=0, validation_alias="TDS_RECEIVER_CONNECTIONS")
    """Connections to the database, of each process."""

    @field_validator("webhook_secrets", "webhook_tokens")
    @classmethod
    def _known_endpoints(cls, given: dict[str, SecretStr]) -> dict[str, SecretStr]:
        known: dict[str, SecretStr] = {}
        for name, secret in given.items():
            entity = ENDPOINTS.get(name.lower().replace("-", "_"))
            if entity is None:
                near = difflib.get_close_matches(name.lower(), ENDPOINTS, 1, 0.5) or ["products"]
                raise ValueError(f"there is no endpoint {name.upper()}; one is {near[0].upper()}")
            if entity in known:
                raise ValueError(f"{name.upper()} is {entity.upper()}, which is set too")
            known[entity] = secret
        return known

    @model_validator(mode="after")
    def _known_variables(self) -> Self:
        for name in os.environ:
            kind = name.removeprefix(PREFIX).partition("__")[0]
            is_known = kind in VARIABLES and ("__" not in name or kind in {"SECRETS", "TOKENS"})
            if name.startswith(PREFIX) and not is_known:
                near = difflib.get_close_matches(kind, VARIABLES, 1, 0) or VARIABLES
                raise ValueError(f"{name} is no setting; one is {PREFIX}{near[0]}")
        return self

    def credentials(self, entity: str) -> Credentials:
        """What an endpoint (`credit_notes`) asks for: its own secrets and tokens, else everybody's."""
        entity = ENDPOINTS.get(entity, entity)
        secrets = self.webhook_secrets.get(entity, self.webhook_secret)
        tokens = self.webhook_tokens.get(entity, self.webhook_token)
        return Credentials(_listed(secrets), _listed(tokens))

    @property
    def weak(self) -> list[str]:
        """The variables with a secret or token of fewer than `SHORTEST` characters."""
        return [
            name for name, secret in self._given() if any(len(each) < SHORTEST for each in _listed(secret))
        ]

    @property
    def proofs(self) -> frozenset[bytes]:
        """All secrets and tokens."""
        return frozenset(each for _, secret in self._given() for each in _listed(secret))

    def _given(self) -> Iterator[tuple[str, SecretStr]]:
        """All secrets and tokens, by their variables."""
        yield f"{PREFIX}SECRET", self.webhook_secret
        yield f"{PREFIX}TOKEN", self.webhook_token
        for kind, each in (("SECRETS", self.webhook_secrets), ("TOKENS", self.webhook_tokens)):
            yield from ((f"{PREFIX}{kind}__{entity.upper()}", secret) for entity, secret in each.items())

    image_url: str | None = Field(default=None, validation_alias="TDS_IMAGE_URL")
    """Where the pictures that are served are kept; see `db.images.ImageSettings`."""

    @property
    def only(self) -> frozenset[str]:
        """Ids of the organisations whose addresses are served; none: all."""
        return frozenset(each.strip() for each in self.organisations.split(",") if each.strip())

    @property
    def is_open(self) -> bool:
        """Whether no endpoint asks for anything: nothing is configured."""
        return not self.only_rows and not any(_listed(secret) for _, secret in self._given())


def _listed(given: SecretStr) -> tuple[bytes, ...]:
    return tuple(each.strip().encode() for each in given.get_secret_value().split(",") if each.strip())
