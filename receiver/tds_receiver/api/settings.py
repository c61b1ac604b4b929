"""The settings of the operators' API, from the environment."""

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class ApiSettings(BaseSettings):
    """What the API needs besides the database; the alias of a field is its environment variable."""

    model_config = SettingsConfigDict(populate_by_name=True)

    api_key: SecretStr | None = Field(default=None, validation_alias="TDS_API_KEY")
    """A key besides those of `tds keys create`, at least 16 characters."""

    organization_id: str | None = Field(default=None, validation_alias="ZOHO_ORGANIZATION_ID")
    """Organisation of the pulls whose URL names none."""

    @field_validator("api_key")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and value.get_secret_value() and len(value.get_secret_value()) < 16:
            raise ValueError("must have at least 16 characters")
        return value if value and value.get_secret_value() else None
