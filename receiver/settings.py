"""The receiver's settings, from the environment."""

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class ReceiverSettings(BaseSettings):
    """What the receiver needs besides the database; the alias of a field is its environment variable."""

    model_config = SettingsConfigDict(populate_by_name=True)

    webhook_secret: SecretStr = Field(default=SecretStr(""), validation_alias="ZOHO_WEBHOOK_SECRET")
    """Secret tokens, separated by commas: the old one stays good while Zoho is told the new one."""

    organization_id: str | None = Field(default=None, validation_alias="ZOHO_ORGANIZATION_ID")
    """Organisation of the events whose URL names none."""

    max_body_bytes: int = Field(default=16 * 2**20, gt=0, validation_alias="TDS_MAX_BODY_BYTES")
    """Largest body taken, before and after gzip is undone."""

    body_seconds: float = Field(default=10.0, gt=0, validation_alias="TDS_BODY_SECONDS")
    """How long a sender may take over its body."""

    connections: int = Field(default=8, gt=0, validation_alias="TDS_RECEIVER_CONNECTIONS")
    """Connections to the database."""

    image_url: str | None = Field(default=None, validation_alias="TDS_IMAGE_URL")
    """Where the pictures that are served are kept; see `db.images.ImageSettings`."""

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """The secret tokens in force; none: signatures are not checked."""
        given = self.webhook_secret.get_secret_value().split(",")
        return tuple(secret.strip().encode() for secret in given if secret.strip())
