"""The poller's settings, from the environment."""

import ipaddress
from typing import NamedTuple
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Hosts(NamedTuple):
    """Where a data centre answers: the accounts server and the API."""

    accounts: str
    api: str

    @property
    def console(self) -> str:
        """Where clients are registered and grant codes made."""
        return self.accounts.replace("//accounts.", "//api-console.")


# zoho.com/books/api/v3/introduction and, for Canada, zoho.com/accounts/protocol/oauth/multi-dc.html.
DATA_CENTRES = {
    "com": Hosts("https://accounts.zoho.com", "https://www.zohoapis.com"),
    "eu": Hosts("https://accounts.zoho.eu", "https://www.zohoapis.eu"),
    "in": Hosts("https://accounts.zoho.in", "https://www.zohoapis.in"),
    "com.au": Hosts("https://accounts.zoho.com.au", "https://www.zohoapis.com.au"),
    "jp": Hosts("https://accounts.zoho.jp", "https://www.zohoapis.jp"),
    "ca": Hosts("https://accounts.zohocloud.ca", "https://www.zohoapis.ca"),
    "com.cn": Hosts("https://accounts.zoho.com.cn", "https://www.zohoapis.com.cn"),
    "sa": Hosts("https://accounts.zoho.sa", "https://www.zohoapis.sa"),
}
NICKNAMES = {"us": "com", "au": "com.au", "cn": "com.cn"}


class ZohoPlace(BaseSettings):
    """Where Zoho is: `ZOHO_DC`, or the bases that replace it."""

    # Aliases rather than a prefix, so that errors name the variable.
    model_config = SettingsConfigDict(
        alias_generator=lambda name: f"ZOHO_{name.upper()}", populate_by_name=True, hide_input_in_errors=True
    )

    dc: str = "com"
    """The data centre: com, eu, in, com.au, jp, ca, com.cn or sa."""

    accounts_base: str | None = None
    """Base URL that replaces the data centre's accounts server, for the sandbox."""

    api_base: str | None = None
    """Base URL (without /books/v3) that replaces the data centre's API, for the sandbox."""

    @field_validator("dc")
    @classmethod
    def _known_data_centre(cls, value: str) -> str:
        domain = value.lower().removeprefix("zoho.").strip(".")
        domain = NICKNAMES.get(domain, domain)
        if domain not in DATA_CENTRES:
            raise ValueError(f"must be one of {', '.join(DATA_CENTRES)}")
        return domain

    @field_validator("accounts_base", "api_base")
    @classmethod
    def _nobody_listens(cls, value: str | None) -> str | None:
        if not value:
            return value
        url = urlsplit(value)
        if url.scheme == "https" and url.hostname:
            return value
        if url.scheme != "http" or not url.hostname or not _is_loopback(url.hostname):
            raise ValueError("must begin with https://; http:// is for this computer (127.0.0.1) only")
        return value

    @property
    def hosts(self) -> Hosts:
        """The hosts to ask."""
        hosts = DATA_CENTRES[self.dc]
        return Hosts(
            (self.accounts_base or hosts.accounts).rstrip("/"), (self.api_base or hosts.api).rstrip("/")
        )


class ZohoSettings(ZohoPlace):
    """`ZOHO_CLIENT_ID`, `ZOHO_DC` and so on: each field's name in capitals after `ZOHO_`."""

    client_id: str = Field(default=..., min_length=1)
    """Of the client registered in Zoho's API console."""

    client_secret: SecretStr = Field(default=..., min_length=1)
    """Its secret."""

    refresh_token: SecretStr = Field(default=..., min_length=1)
    """What access tokens are got with."""

    organization_id: str = Field(default=..., min_length=1)
    """The organisation that is mirrored; to the receiver, that of the events whose URL names none."""

    calls_per_minute: int | None = Field(default=None, gt=0)
    """Calls of all processes in any minute, Zoho allows 100; unset: what the database has, at first 90."""

    concurrency: int | None = Field(default=None, gt=0)
    """Calls of all processes at once, Zoho allows 5 in the free plan, 10 in the paid ones; unset: what the
    database has, at first 5."""

    minute_seconds: float | None = Field(default=None, gt=0)
    """Length of a minute: less than 60 only against a sandbox whose clock runs faster."""

    longest_wait: float = Field(default=300.0, ge=0)
    """Seconds that one call may wait for a limit before it is an error."""


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
