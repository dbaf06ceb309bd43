"""The only reader of the environment: every setting is one field here, read once, unsafe values
refused at start.
"""

import os
import socket
import tempfile
from collections.abc import Mapping
from functools import cache
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from shared.errors import Permanent

_PREFIX = "ATELIER_"


def _default_home() -> Path:
    # As root the embedded PostgreSQL runs as another user, who cannot enter /root.
    return Path("/var/lib/atelier") if os.geteuid() == 0 else Path.home() / ".atelier"


class Settings(BaseSettings):
    """Settings of every process of an installation, read from `ATELIER_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True)

    home: Path = Field(
        default_factory=_default_home,
        description="Folder for everything that `atelier up` keeps, and for workers' caches "
        "(`~/.atelier`; as root `/var/lib/atelier`).",
    )
    host: str = Field("127.0.0.1", description="Address on which `atelier up` serves the API.")
    port: int = Field(
        8000, ge=1, le=65_535, description="Port on which `atelier up` serves the API."
    )
    public_url: str | None = Field(
        None, description="Address of the API as clients see it; used in links to outputs."
    )

    database_url: str | None = Field(
        None,
        repr=False,  # it holds a password, as the next one does
        description="PostgreSQL 15 or later; absent: `atelier up` starts its own.",
    )
    api_database_url: str | None = Field(
        None,
        repr=False,
        description="The same database by a role of the API's own, which sees one tenant's rows at "
        "a time; absent: the API sees them all, and its services alone keep tenants apart. "
        "`atelier up` makes one.",
    )
    redis_url: str | None = Field(
        None,
        repr=False,
        description="Redis or Valkey; absent: `atelier up` starts its own Valkey.",
    )
    storage_url: str | None = Field(
        None, description="`file:/folder` or `s3://bucket/prefix`; absent: a folder in `home`."
    )
    s3_endpoint: str | None = Field(
        None, description="Address of an S3-compatible server; absent: AWS."
    )
    s3_public_endpoint: str | None = Field(
        None,
        description="Address of that server as clients reach it, for signed links; absent while "
        "`s3_endpoint` is set: the API streams downloads itself.",
    )
    s3_access_key: SecretStr | None = Field(None, description="Access key for `s3:` storage.")
    s3_secret_key: SecretStr | None = Field(None, description="Secret key for `s3:` storage.")
    s3_region: str = Field("us-east-1", description="Region for `s3:` storage.")
    s3_checksums: Literal["when_supported", "when_required"] = Field(
        "when_required",
        description="When boto3 adds checksums; many S3-compatible servers refuse its default.",
    )

    secrets: Path | None = Field(
        None,
        description="Folder of files that hold settings which should not stand in the environment, "
        "each named like its variable (`ATELIER_SECRET_KEY`): secrets of Docker or Kubernetes, or "
        "what the agent of a vault writes. The environment goes first.",
    )
    secret_key: SecretStr | None = Field(
        None,
        description="Signs dashboard sessions; at least 32 characters. `atelier up` makes one.",
    )
    secure_cookies: bool = Field(
        False,
        description="Send session cookies over HTTPS only. Set it wherever there is TLS.",
    )
    https_subdomains: bool = Field(
        False,
        description="With `secure_cookies`: have browsers demand HTTPS of the subdomains of this "
        "name too. Set it where all of them have it.",
    )
    trusted_proxies: int = Field(
        0, ge=0, le=5, description="Proxies in front whose forwarded headers are believed."
    )

    file_limit: int = Field(512 * 2**20, gt=0, description="Largest uploaded file, in bytes.")
    body_limit: int = Field(
        64 * 2**20, gt=0, description="Largest request body that is not a file, in bytes."
    )
    wait_seconds: float = Field(
        30,
        gt=0,
        le=600,
        description="How long a one-off call waits for its job before it cancels it.",
    )
    key_requests: int = Field(
        6000, gt=0, description="Requests a minute with one key; beyond it the API answers 429."
    )
    tenant_requests: int = Field(
        60_000,
        gt=0,
        description="Requests a minute with all keys of a tenant together, where it has no limit "
        "of its own; beyond it the API answers 429.",
    )
    address_requests: int = Field(
        600,
        gt=0,
        description="Requests a minute without a good key from one address (of IPv6: from one "
        "network of 64 bits); beyond it the API answers 429.",
    )
    login_limit: str = Field(
        "10 per 15 minutes", description="Sign-in attempts per account and per address."
    )
    require_second_factor: bool = Field(
        False, description="Let nobody into the dashboard without a second factor."
    )
    egress_allow: Annotated[list[str], NoDecode] = Field(
        [],
        description="Networks that webhooks may reach although they are not public, and over plain "
        "HTTP too, separated by commas (`10.1.0.0/16,fd00:1::/32`).",
    )

    lease_seconds: float = Field(40, ge=1, description="Life of a lease that is not renewed.")
    renew_seconds: float = Field(10, gt=0, description="Interval of lease renewals.")
    stop_poll_seconds: float = Field(
        2, gt=0, description="Interval at which a worker reads stop flags."
    )
    sweep_seconds: float = Field(15, gt=0, description="Interval of the sweeper's passes.")
    max_attempts: int = Field(3, ge=1, description="Errors after which an item has failed.")
    max_crashes: int = Field(3, ge=1, description="Crashes after which an item has failed.")

    max_queued: int = Field(
        20_000_000,
        gt=0,
        description="Items that may wait in all; beyond it the API answers 503.",
    )
    tenant_max_queued: int = Field(
        5_000_000,
        gt=0,
        description="Items of a tenant that may wait where it has no limit of its own; beyond it "
        "the API answers 429.",
    )

    retention_days: float | None = Field(
        None,
        gt=0,
        description="Days after which an ended generation or embedding job is deleted with its "
        "items, outputs and objects, where its tenant has no retention of its own; absent: kept.",
    )
    event_days: float = Field(
        30, gt=0, description="Days for which webhook events and their deliveries are kept."
    )

    threads: int | None = Field(
        None,
        ge=1,
        description="Processor threads for torch in a worker; absent: as torch chooses, and with "
        "`atelier up` every core, for training all but one where there are more than two.",
    )
    model_memory: int = Field(
        4 * 2**30,
        gt=0,
        description="Bytes of loaded models that a worker keeps before it drops the oldest.",
    )
    checkpoint_seconds: float = Field(
        30,
        gt=0,
        description="Interval of training checkpoints: what a killed training loses at most.",
    )
    metrics_token: SecretStr | None = Field(
        None, description="What Prometheus sends as a bearer token to read `/metrics`."
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="Lines for people, or one JSON object a line for a log collector."
    )
    families: Annotated[list[str], NoDecode] = Field(
        [], description="Modules with further families, separated by commas; each defines `FAMILY`."
    )
    worker_name: str = Field(
        default_factory=socket.gethostname,
        description="Names this machine's workers in the dashboard.",
    )

    @field_validator("families", "egress_allow", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return (
            [part.strip() for part in value.split(",") if part.strip()]
            if isinstance(value, str)
            else value
        )

    @field_validator("egress_allow")
    @classmethod
    def _networks(cls, value: list[str]) -> list[str]:
        for network in value:
            try:
                ip_network(network)
            except ValueError as error:
                raise ValueError(f"{error}; write networks as 10.1.0.0/16") from None
        return value

    @field_validator("storage_url")
    @classmethod
    def _known_storage(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("file:", "s3://")):
            raise ValueError("must start with file: or s3://")
        return value

    @field_validator("database_url", "api_database_url")
    @classmethod
    def _one_driver(cls, value: str | None) -> str | None:
        if value is None:
            return None
        scheme, separator, rest = value.partition("://")
        if not separator or scheme not in {"postgres", "postgresql", "postgresql+psycopg"}:
            raise ValueError("must be a postgresql:// address")
        return f"postgresql+psycopg://{rest}"

    @field_validator("api_database_url")
    @classmethod
    def _with_role_and_password(cls, value: str | None) -> str | None:
        if value is not None and not (urlsplit(value).username and urlsplit(value).password):
            raise ValueError("must name a role and its password")
        return value

    @field_validator("secret_key")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < 32:
            raise ValueError("needs at least 32 characters; make one with: openssl rand -hex 32")
        return value

    @model_validator(mode="after")
    def _lease_outlives_renewal(self) -> Self:
        if self.renew_seconds * 2 > self.lease_seconds:
            raise ValueError("lease_seconds must be at least twice renew_seconds")
        return self

    def required(self, name: str) -> str:
        """The value of a setting that this process cannot do without.

        Raises Permanent if it is absent.
        """
        value = getattr(self, name)
        if value is None:
            raise Permanent(
                f"The setting ATELIER_{name.upper()} is missing; `atelier up` sets it itself."
            )
        return value.get_secret_value() if isinstance(value, SecretStr) else value

    @property
    def cache(self) -> Path:
        """Where a worker keeps copies of weights and data sets; safe to delete."""
        home = (
            self.home if os.access(self.home, os.W_OK) else Path(tempfile.gettempdir()) / "atelier"
        )
        return home / "cache"


@cache
def settings() -> Settings:
    """This process's settings. Raises Permanent naming every bad variable at once."""
    folder = os.environ.get(f"{_PREFIX}SECRETS") or None
    if folder is not None and not Path(folder).is_dir():
        raise Permanent(f"Unusable settings: ATELIER_SECRETS: there is no folder {folder}")
    try:
        return Settings(_secrets_dir=folder)
    except ValidationError as error:
        faults = "; ".join(
            f"ATELIER_{'_'.join(map(str, fault['loc'])).upper()}: {fault['msg']}"
            for fault in error.errors()
        )
        raise Permanent(f"Unusable settings: {faults}") from None


def environment() -> dict[str, str]:
    """A copy of this process's environment, for the programs it starts."""
    return dict(os.environ)


def adopt(values: Mapping[str, str]) -> None:
    """Set variables for this process and the programs it starts, and read the settings anew."""
    os.environ.update(values)
    settings.cache_clear()
