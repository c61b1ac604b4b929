"""Where the database is, from the environment."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from tds_db.embedded import default_data_dir


class DatabaseSettings(BaseSettings):
    """`TDS_DATABASE_URL`, `TDS_SESSION_DATABASE_URL`, `TDS_DATA_DIR` and `TDS_LOCK_TIMEOUT`."""

    model_config = SettingsConfigDict(env_prefix="TDS_")

    database_url: SecretStr | None = None
    """A libpq URL or key=value string; it may hold a password. Unset: the embedded server is used."""

    session_database_url: SecretStr | None = None
    """The same database where sessions are one's own: PostgreSQL itself, or a pooler in session mode. For all
    programs but the receiver, where TDS_DATABASE_URL leads to a pooler in transaction mode."""

    data_dir: Path = Field(default_factory=default_data_dir)
    """Where the embedded server keeps its data."""

    lock_timeout: str = "5s"
    """How long an upgrade waits for any one lock of a table that is in use."""

    @property
    def for_receiver(self) -> tuple[str, str] | None:
        """The variable that says where the receiver's database is, and its value; None: the embedded one."""
        return self._first("database_url", "session_database_url")

    @property
    def for_sessions(self) -> tuple[str, str] | None:
        """The same for all others, who need sessions of their own."""
        return self._first("session_database_url", "database_url")

    def _first(self, *names: str) -> tuple[str, str] | None:
        for name in names:
            given: SecretStr | None = getattr(self, name)
            if given is not None and given.get_secret_value():
                return f"TDS_{name.upper()}", given.get_secret_value()
        return None
