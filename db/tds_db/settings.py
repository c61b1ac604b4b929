"""Where the database is, from the environment."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from tds_db.embedded import default_data_dir


class DatabaseSettings(BaseSettings):
    """`TDS_DATABASE_URL`, `TDS_DATA_DIR` and `TDS_LOCK_TIMEOUT`."""

    model_config = SettingsConfigDict(env_prefix="TDS_")

    database_url: SecretStr | None = None
    """A libpq URL or key=value string; it may hold a password. Unset: the embedded server is used."""

    data_dir: Path = Field(default_factory=default_data_dir)
    """Where the embedded server keeps its data."""

    lock_timeout: str = "5s"
    """How long an upgrade waits for any one lock of a table that is in use."""
