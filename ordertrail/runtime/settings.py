"""Settings, the only reader of the environment: variables with the prefix `ORDERTRAIL_`, and `.env`."""

import difflib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from dotenv import dotenv_values
from pydantic import AliasChoices, Field, PositiveFloat, PositiveInt, SecretStr, ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict
from typing_extensions import override

from ordertrail.runtime import notices
from ordertrail.runtime.errors import CannotStart

PREFIX = "ORDERTRAIL_"
ENV_FILE = ".env"

# Old name: new name, both without the prefix. An old one is taken for one release, with a warning.
RENAMED = {
    "ASK_PER_SECOND": "QUERY_PER_SECOND",
    "ASK_IN_FLIGHT_MAX": "QUERY_IN_FLIGHT_MAX",
}

# What later versions take, and what for. A deployer may set it before: it is accepted, and said to be unused.
LATER = {
    "PLACE_BY_MAX_SECONDS": "how far off a place_by may be",
    "ALLOWED_HOSTS": "the names under which clients may call the API",
    "OWNER_DATABASE_URL": "the database as the role that migrates it",
    "ALERT_URL": "where alerts are posted",
    "ALERT_FORMAT": "how alerts are written",
    "ALERT_SECRET": "what alerts are signed with",  # nosec B105 - a name, and no secret
    "OTLP_URL": "where traces go",
}

# In the environment of every program that `ordertrail up` starts: the proof, after a kill -9, whose it is.
STARTED_BY_UP = PREFIX + "STARTED_BY_UP_IN"
# Ours as well and no settings: that mark, what compose.yaml reads, and what tests read. Tests' own start with TEST_.
_MARKS = {
    STARTED_BY_UP.removeprefix(PREFIX),
    "DATABASE_PORT",
    "EXECUTION_KILLS",
    "FUZZ_EXAMPLES",
    "KILLS",
    "MATRIX_PROFILES",
    "PAIRS_SHARE",
    "SEEDS",
    "SEEDS_TWICE",
    "SOAK_ORDERS",
}
_OF_TESTS = "TEST_"

# What a container platform sets for a service that is named `ordertrail`, or `ordertrail-api`: Kubernetes for every
# service of a namespace (kubernetes.io/docs/tutorials/services/connect-applications-service), Docker for a link.
_OF_A_PLATFORM = re.compile(
    r"(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT_\d+_(?:TCP|UDP|SCTP)(?:_PROTO|_PORT|_ADDR)?)"
)
_PLATFORM_PORT = re.compile(r"(?:\w+_)?PORT")
_PLATFORM_ADDRESS = re.compile(r"(?:tcp|udp|sctp)://", re.IGNORECASE)
_LINK_NAME = re.compile(r"(?:\w+_)?NAME")
_LINKED_NAME = re.compile(r"/[^/]+/[^/]+")

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
        default=None,
        description="the exchange, http://…, or `simulated:` for one inside the process, where no real order is placed",
    )
    queue_url: str | None = Field(
        default=None,
        description="the queue for execution reports, nats://… or sqs://…; unset: it is in PostgreSQL",
    )
    queue_bytes_max: PositiveInt = Field(
        default=8 * 1024**3,
        description="how large the queue for execution reports may grow; full: the exchange keeps them (not with SQS)",
    )
    exchange_timeout_seconds: PositiveFloat = Field(
        default=5, description="how long one answer of the exchange may take"
    )
    database_timeout_seconds: PositiveFloat = Field(
        default=2, description="how long one statement may take; an order's row is repeated for half as long again"
    )
    send_window_seconds: PositiveFloat = Field(
        default=5, description="how long after INITIATED the first send may start"
    )
    retry_window_seconds: float = Field(
        default=60,
        ge=0,
        description="how long a limit order may be sent again, without a place_by; 0: only the first send",
    )
    queue_window_seconds: PositiveFloat = Field(
        default=60,
        description="how long after it was queued the first send of an order may start, without a place_by",
    )
    queue_orders_max: PositiveInt = Field(
        default=1_000_000, description="how many orders may wait in the queue; beyond it they are answered 503"
    )
    reconcile_interval_seconds: PositiveFloat = Field(default=5, description="how often orders in doubt are reviewed")
    sweep_interval_seconds: float = Field(
        default=30, ge=0, description="how often the exchange's orders and executions are compared with ours"
    )
    reconcile_in_api: bool = Field(default=True, description="whether every API process reconciles too")
    executions_in_api: bool | None = Field(
        default=None,
        description="whether a process of the API feeds and processes execution reports too; unset: where the server "
        "is started bare (uvicorn), or the exchange is in the process",
    )
    place_queued_in_api: bool | None = Field(
        default=None,
        description="whether a process of the API places queued orders too; unset: where the server is started bare "
        "(uvicorn), or the exchange is in the process",
    )
    execution_statements_in_flight: PositiveInt = Field(
        default=1, description="statements with execution reports at once, a processor"
    )
    execution_reports_max: PositiveInt = Field(
        default=4000, description="execution reports in one statement, about; a frame with more goes alone"
    )
    events_kept_days: float = Field(default=7, ge=1, le=36_500, description="how many days back events can be read")
    metrics_port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="the port on which `ordertrail feed`, `process`, `place` answer /metrics, at HOST; unset: on none",
    )
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
    log_bytes_max: int = Field(
        default=1024 * 1024 * 1024,
        ge=4 * 1024 * 1024,
        description="how large all log files of `ordertrail up` may grow together; the oldest lines go",
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
    connections_max: PositiveInt = Field(
        default=10_000, description="connections of clients, a process; each reader of events has one of its own"
    )
    event_readers_max: PositiveInt = Field(
        default=2000, description="clients that wait for events or for an order at once, a process"
    )
    event_lag_bytes_max: PositiveInt = Field(
        default=8 * 1024 * 1024,
        description="what a reader of events may leave lying before it is cut off; readers share most of it",
    )
    event_ring_bytes_max: PositiveInt = Field(
        default=16 * 1024 * 1024,
        description="the newest events that a process keeps in memory while it has readers; those that come back to "
        "one of them cost no statement",
    )
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

    @override
    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The usual ones, without what a container platform has set: its `ORDERTRAIL_PORT` is no port to listen on."""
        assert isinstance(env_settings, EnvSettingsSource)
        env_settings.env_vars = {
            name: value
            for name, value in env_settings.env_vars.items()
            if not _is_of_a_platform(name.upper().removeprefix(PREFIX), value)
        }
        return init_settings, env_settings, dotenv_settings

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


_said: set[str] = set()


def load_settings(*, quietly: bool = False) -> Settings:
    """Read the environment and `.env`; CannotStart with a sentence for what is unknown or cannot be read.

    What was given and is not used is said on standard error, unless the process that started this one has said it.
    """
    given = _given()
    settings = read_known_settings()
    if sentence := unknown_sentence(given):
        raise CannotStart(sentence)
    if not quietly:
        for notice in _notices(given):
            if notice not in _said:  # a command may read its settings more than once
                _said.add(notice)
                notices.say(notice)
    return settings


def read_known_settings() -> Settings:
    """The settings, whatever else is given; CannotStart with a sentence for values that cannot be read."""
    try:
        return Settings()
    except ValidationError as error:
        # Only the message: the rest of the error has the value in it, which may be a secret.
        problems = [f"{variable_of('_'.join(map(str, item['loc'])))}: {item['msg']}" for item in error.errors()]
        raise CannotStart("; ".join(problems) + ".") from None


def unknown_sentence(given: dict[str, str] | None = None) -> str | None:
    """One sentence about the variables with our prefix that mean nothing; None: there is none."""
    given = _given() if given is None else given
    unknown = sorted(name for name, value in given.items() if not _is_known(name, value))
    if not unknown:
        return None
    names = _settable()
    sentences = []
    for name in unknown:
        [*near] = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
        sentences.append(f"{PREFIX}{name} is no setting" + (f": did you mean {PREFIX}{near[0]}?" if near else "."))
    return " ".join([*sentences, "`ordertrail settings` lists all."])


def is_started_by_up() -> bool:
    """Whether `ordertrail up` has started this process, beside an exchange that is a simulated one."""
    return STARTED_BY_UP in os.environ


def later_settings() -> list[tuple[str, str, bool]]:
    """Variable and meaning of what only later versions use, and whether it is given."""
    given = _given()
    return [(PREFIX + name, meaning, name in given) for name, meaning in LATER.items()]


def variable_of(location: str) -> str:
    """The variable behind a field, or behind a place that pydantic's ValidationError names."""
    return location.upper() if location.upper().startswith(PREFIX) else PREFIX + location.upper()


def _notices(given: dict[str, str]) -> Iterable[str]:
    for old, new in RENAMED.items():
        if old in given:
            yield f"{PREFIX}{old} is now {PREFIX}{new}; the next release takes the new name only."
    if later := [PREFIX + name for name in LATER if name in given]:
        yield f"{', '.join(later)}: known, but not used by this version."
    if injected := sorted(PREFIX + name for name, value in given.items() if _is_of_a_platform(name, value)):
        shown = ", ".join(injected[:2]) + (f" and {len(injected) - 2} more" if len(injected) > 2 else "")
        yield (
            f"{shown}: set by the container platform for a service of that name, and ignored "
            "(Kubernetes sets none with enableServiceLinks: false)."
        )


def _settable() -> list[str]:
    return [*(name.upper() for name in Settings.model_fields), *LATER]


def _is_known(name: str, value: str) -> bool:
    return (
        name in _settable()
        or name in RENAMED
        or name in _MARKS
        or name.startswith(_OF_TESTS)
        or _is_of_a_platform(name, value)
    )


def _is_of_a_platform(name: str, value: str | None) -> bool:
    value = value or ""
    if _OF_A_PLATFORM.fullmatch(name):
        return True
    if _PLATFORM_PORT.fullmatch(name):
        return _PLATFORM_ADDRESS.match(value) is not None
    return _LINK_NAME.fullmatch(name) is not None and _LINKED_NAME.fullmatch(value) is not None


def _given() -> dict[str, str]:
    """The variables with our prefix that are set, here or in `.env`, by their names without it."""
    try:
        in_file = dotenv_values(ENV_FILE)
    except (OSError, UnicodeDecodeError) as error:
        raise CannotStart(f"The file {ENV_FILE} cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    return {
        name.upper().removeprefix(PREFIX): value or ""
        for name, value in (*in_file.items(), *os.environ.items())
        if name.upper().startswith(PREFIX)
    }
