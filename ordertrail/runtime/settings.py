"""Settings, the only reader of the environment: variables with the prefix `ORDERTRAIL_`, and `.env`."""

import os
import sys
from pathlib import Path
from typing import Any, Literal

from dotenv import dotenv_values
from pydantic import AliasChoices, Field, PositiveFloat, PositiveInt, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "ORDERTRAIL_"
ENV_FILE = ".env"

# Old name: new name, both without the prefix. An old one is taken for one release, with a warning.
RENAMED = {
    "ASK_PER_SECOND": "QUERY_PER_SECOND",
    "ASK_IN_FLIGHT_MAX": "QUERY_IN_FLIGHT_MAX",
}

COMPOSE_DATABASE = "postgresql://ordertrail:ordertrail@127.0.0.1:5432/ordertrail"


def _renamed(name: str) -> dict[str, Any]:
    """For a setting that had another name: the new one wins."""
    names = [name, *(old for old, new in RENAMED.items() if new == name)]
    return {"validation_alias": AliasChoices(*(PREFIX + each for each in names))}


class Settings(BaseSettings):
    """Everything that can be set; `ordertrail settings` lists it with meaning, default and present value."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=ENV_FILE, extra="ignore", frozen=True, populate_by_name=True
    )

    database_url: SecretStr = Field(default=SecretStr(COMPOSE_DATABASE), description="PostgreSQL, as a URL")
    exchange_url: str | None = Field(
        default=None, description="the exchange, http://…; unset: a simulated exchange inside the process"
    )
    queue_url: str | None = Field(
        default=None, description="the queue for execution reports, nats://… or sqs://…; later"
    )
    exchange_timeout_seconds: PositiveFloat = Field(
        default=5, description="how long one answer of the exchange may take"
    )
    database_timeout_seconds: PositiveFloat = Field(default=2, description="how long one statement may take")
    send_window_seconds: PositiveFloat = Field(
        default=5, description="how long after INITIATED the first send may start"
    )
    retry_window_seconds: float = Field(
        default=60,
        ge=0,
        description="how long a limit order may be sent again, without a place_by; 0: only the first send",
    )
    reconcile_interval_seconds: PositiveFloat = Field(default=5, description="how often orders in doubt are reviewed")
    sweep_interval_seconds: float = Field(
        default=30, ge=0, description="how often the exchange's orders and executions are compared with ours"
    )
    reconcile_in_api: bool = Field(default=True, description="whether every API process reconciles too")
    clock_margin_seconds: float = Field(
        default=1, ge=0, description="how far the exchange's clock and the database's may differ"
    )
    host: str = Field(default="127.0.0.1", description="the address `ordertrail api` listens on")
    port: int = Field(default=8000, ge=0, le=65535, description="the port `ordertrail api` listens on")
    api_url: str = Field(default="http://127.0.0.1:8000", description="the API that `ordertrail order` talks to")
    workers: PositiveInt = Field(default=1, description="processes of `ordertrail api`")
    data_dir: Path = Field(default=Path(".ordertrail"), description="where everything that is kept on disk goes")
    database_connections_max: PositiveInt = Field(default=8, description="connections to PostgreSQL a process")
    exchange_connections_max: PositiveInt = Field(default=8192, description="connections to the exchange a process")
    orders_in_flight_max: PositiveInt = Field(
        default=10_000, description="orders that may be placed at once, a process"
    )
    commit_rows_max: PositiveInt = Field(default=256, description="rows that share one commit, at the most")
    commit_queue_max: PositiveInt = Field(default=20_000, description="rows that may wait for a commit, a process")
    place_per_second: float = Field(default=0, ge=0, description="orders a second to the exchange; 0: no limit")
    cancel_per_second: float = Field(default=0, ge=0, description="cancels a second to the exchange; 0: no limit")
    query_per_second: float = Field(
        default=0, ge=0, description="queries a second to the exchange; 0: no limit", **_renamed("QUERY_PER_SECOND")
    )
    place_in_flight_max: PositiveInt = Field(default=8192, description="orders under way to the exchange at once")
    cancel_in_flight_max: PositiveInt = Field(default=1024, description="cancels under way at once")
    query_in_flight_max: PositiveInt = Field(
        default=1024, description="queries under way at once", **_renamed("QUERY_IN_FLIGHT_MAX")
    )
    gate_processes: int = Field(
        default=0, ge=0, description="processes that share these limits; 0: as many as there are workers"
    )
    spool_bytes_max: PositiveInt = Field(
        default=64 * 1024 * 1024, description="how large the spool may grow; full: no order is taken"
    )
    body_bytes_max: PositiveInt = Field(default=65_536, description="the largest request body")
    header_timeout_seconds: PositiveFloat = Field(
        default=10, description="how long the head of a request may take to arrive"
    )
    body_timeout_seconds: PositiveFloat = Field(
        default=10, description="how long the body of a request may take to arrive"
    )
    keep_alive_seconds: PositiveFloat = Field(
        default=75, description="how long a connection may stay open between two requests"
    )
    answer_timeout_seconds: PositiveFloat = Field(
        default=30, description="how long a client may take to read what was answered"
    )
    header_bytes_max: int = Field(default=16_384, ge=256, description="the largest head of a request")
    connections_max: PositiveInt = Field(default=10_000, description="connections of clients, a process")
    connections_backlog: PositiveInt = Field(
        default=2048, description="connections that may wait to be accepted, at one address"
    )
    drain_seconds: PositiveFloat | None = Field(
        default=None,
        description="how long a process that is stopping may finish what it has begun; "
        "unset: 5 seconds longer than an order can take",
    )
    drain_notice_seconds: float = Field(
        default=0, ge=0, description="how long /readyz says that the process stops before it stops accepting"
    )
    failpoints: str = Field(
        default="", description="for tests: where this process ends, stops or breaks, e.g. after_claim=stop"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="the least that is logged"
    )
    log_format: Literal["json", "text"] = Field(default="json", description="JSON for programs, text for people")

    @property
    def review_seconds(self) -> float:
        """When an order's first placing has certainly ended, after its INITIATED row."""
        return self.send_window_seconds + self.seconds_after_send_by

    @property
    def seconds_after_send_by(self) -> float:
        """How long a send that started in time, its query and its last rows may still take."""
        return 2 * self.exchange_timeout_seconds + 3 * self.database_timeout_seconds

    @property
    def drain_bound_seconds(self) -> float:
        """After which a process ends whatever is left; an order that was begun last has ended by then."""
        return self.review_seconds + 5 if self.drain_seconds is None else self.drain_seconds


def load_settings() -> Settings:
    """Read the environment and `.env`; raises pydantic's ValidationError, which names the variable."""
    for old, new in RENAMED.items():
        if PREFIX + old in _given_names():
            sys.stderr.write(
                f"ordertrail: {PREFIX}{old} is now {PREFIX}{new}; the next release takes the new name only.\n"
            )
    return Settings()


def variable_of(location: str) -> str:
    """The variable behind a field, or behind a place that pydantic's ValidationError names."""
    return location.upper() if location.upper().startswith(PREFIX) else PREFIX + location.upper()


def _given_names() -> set[str]:
    """The variables that are set, here or in `.env`."""
    return {name.upper() for name in (*os.environ, *dotenv_values(ENV_FILE))}
