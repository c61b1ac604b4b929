"""The receiver's settings, from the environment."""

from dataclasses import dataclass

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


@dataclass(frozen=True, slots=True)
class Credentials:
    """What proves that a webhook comes from Zoho: any of these; none at all: nothing is asked."""

    secrets: tuple[bytes, ...] = ()
    tokens: tuple[bytes, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.secrets or self.tokens)


class ReceiverSettings(BaseSettings):
    """What the receiver needs besides the database; the alias of a field is its environment variable."""

    model_config = SettingsConfigDict(populate_by_name=True, env_nested_delimiter="__")

    webhook_secret: SecretStr = Field(default=SecretStr(""), validation_alias="ZOHO_WEBHOOK_SECRET")
    """Secrets of signatures, separated by commas: the old one stays good while Zoho is told the new one."""

    webhook_secrets: dict[str, SecretStr] = Field(default={}, validation_alias="ZOHO_WEBHOOK_SECRETS")
    """The same by endpoint, in place of those: ZOHO_WEBHOOK_SECRETS__INVOICES=…, or one JSON object."""

    webhook_token: SecretStr = Field(default=SecretStr(""), validation_alias="ZOHO_WEBHOOK_TOKEN")
    """Fixed tokens, separated by commas, of webhooks that are not signed: a header, or ?token=."""

    webhook_tokens: dict[str, SecretStr] = Field(default={}, validation_alias="ZOHO_WEBHOOK_TOKENS")
    """The same by endpoint: ZOHO_WEBHOOK_TOKENS__INVOICES=…, or one JSON object."""

    organization_id: str | None = Field(default=None, validation_alias="ZOHO_ORGANIZATION_ID")
    """Organisation of the events that name none, in their URL or in their body."""

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

    def credentials(self, entity: str) -> Credentials:
        """What an endpoint (`credit_notes`) asks for: its own secrets and tokens, else everybody's."""
        secrets = self.webhook_secrets.get(entity, self.webhook_secret)
        tokens = self.webhook_tokens.get(entity, self.webhook_token)
        return Credentials(_listed(secrets), _listed(tokens))

    image_url: str | None = Field(default=None, validation_alias="TDS_IMAGE_URL")
    """Where the pictures that are served are kept; see `db.images.ImageSettings`."""

    @property
    def is_open(self) -> bool:
        """Whether no endpoint asks for anything: nothing is configured."""
        given = [self.webhook_secret, self.webhook_token]
        given += [*self.webhook_secrets.values(), *self.webhook_tokens.values()]
        return not any(_listed(each) for each in given)


def _listed(given: SecretStr) -> tuple[bytes, ...]:
    return tuple(each.strip().encode() for each in given.get_secret_value().split(",") if each.strip())
