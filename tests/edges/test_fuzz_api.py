"""Whatever is sent to it, the service answers what its OpenAPI says it may answer.

ORDERTRAIL_FUZZ_EXAMPLES raises how many requests of each operation are drawn, beyond those that always go to the
edges of its schema.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from schemathesis.core.failures import Failure
from schemathesis.core.transport import Response
from schemathesis.engine import Status, events, from_schema
from schemathesis.engine.recorder import Interaction, ScenarioRecorder
from schemathesis.openapi.checks import RejectedPositiveData

from ordertrail.api.events_query import NO_CURSOR
from tests.support.programs import Program, api_program, exchange_program

SEED = 20261123
EXAMPLES = int(os.environ.get("ORDERTRAIL_FUZZ_EXAMPLES", "25"))
REQUESTS_MIN = 400
REQUESTS_OF_AN_OPERATION_MIN = 9
PLACED_MIN = 30
FINDINGS_SHOWN_MAX = 10
BYTES_SHOWN_MAX = 600

# However slow the machine, nothing is answered because of a timeout.
PATIENT = {
    "database_timeout_seconds": 60,
    "exchange_timeout_seconds": 60,
    "send_window_seconds": 60,
    "keep_alive_seconds": 300,
}

# Orders that the exchange fails on purpose, so that the answers to failures are compared with the document too.
FAULTS = {"FAULTREFUSE0": "/problems/exchange-refused", "FAULTCLOSED0": "/problems/exchange-unavailable"}
# What orders of these instruments may be answered as well, once so many of them have failed.
OPEN = "/problems/circuit-open"

# What a JSON Schema cannot say, so that a query which fits it may still be invalid. For orders see `make_valid`.
UNSAYABLE = {
    ("/query/cursor", "is not a cursor that came as next_cursor"),
    ("/query/cursor", "comes from a list with other filters; keep them the same from page to page"),
    ("/query/after", NO_CURSOR),
    ("/header/Last-Event-ID", NO_CURSOR),
    ("/query/created_after", "must be a time that exists, in the years 1 to 9999"),
    ("/query/created_before", "must be a time that exists, in the years 1 to 9999"),
}

WAIT = re.compile(r"wait=\d+")

# Left out are the checks for authentication, of which there is none, and these:
# - use_after_free: a canceled order can be read for ever.
# - not_a_server_error: 5xx that are not documented are found by status_code_conformance, the others by us.
CHECKS: dict[str, Any] = {
    "status_code_conformance": {"enabled": True},
    "content_type_conformance": {"enabled": True},
    "response_headers_conformance": {"enabled": True},
    "response_schema_conformance": {"enabled": True},
    "positive_data_acceptance": {"enabled": True, "expected-statuses": ["2xx", "404", "409", "500"]},
    "negative_data_rejection": {"enabled": True, "expected-statuses": ["404", "405", "409", "415", "422"]},
    "missing_required_header": {"enabled": True},
    "unsupported_method": {"enabled": True},
    "allow_header_conformance": {"enabled": True},
    "ensure_resource_availability": {"enabled": True},
    "use_after_free": {"enabled": False},
    "not_a_server_error": {"enabled": False},
    "ignored_auth": {"enabled": False},
}


@dataclass
class Run:
    """What was asked and answered, and what is wrong with it in words."""

    requests: Counter[str] = field(default_factory=Counter)
    successes: Counter[str] = field(default_factory=Counter)
    failed_orders: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)


@pytest.fixture
def valid_orders() -> Iterator[None]:
    numbers = count(1)

    def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
        is_order = case.operation.label == "POST /orders" and case.method == "POST" and isinstance(case.body, dict)
        if is_order and case.meta is not None and case.meta.generation.mode.is_positive:
            make_valid(case, next(numbers))
        if case.operation.label == "GET /events":
            # A page of events: a stream does not end.
            case.headers = {**(case.headers or {}), "Accept": "application/json"}
        prefer = (case.headers or {}).get("Prefer")
        if isinstance(prefer, str):
            # What is waited for does not come here, and 1 s says as much as 30.
            case.headers["Prefer"] = WAIT.sub("wait=1", prefer)

    schemathesis.hook(before_call)
    yield
    schemathesis.hooks.unregister(before_call)


@pytest.fixture
def api(database_url: str, tmp_path: Path) -> Iterator[Program]:
    with (
        exchange_program(tmp_path / "exchange") as exchange,
        api_program(database_url, tmp_path / "api", exchange_url=exchange.url, log_level="error", **PATIENT) as api,
    ):
        yield api


@pytest.mark.usefixtures("valid_orders")
def test_every_answer_is_a_documented_one(api: Program) -> None:
    document = requests.get(api.url + "/openapi.json", timeout=30).json()
    operations = {f"{m.upper()} {path}" for path, operations in document["paths"].items() for m in operations}

    run = fuzz(with_faults(document), api.url)

    assert run.findings == [], report(run, api)
    assert sum(run.requests.values()) >= REQUESTS_MIN, run.requests
    assert {name for name in operations if run.requests[name] < REQUESTS_OF_AN_OPERATION_MIN} == set()
    assert {name for name in operations if not run.successes[name]} == set()
    assert run.successes["POST /orders"] >= PLACED_MIN
    assert set(run.failed_orders) == set(FAULTS.values())


def with_faults(document: dict[str, Any]) -> dict[str, Any]:
    """The document, with examples of orders that fail: each is sent as it is, and so are variations of it."""
    examples = document["paths"]["/orders"]["post"]["requestBody"]["content"]["application/json"]["examples"]
    for instrument in FAULTS:
        examples[instrument] = {"value": examples["market"]["value"] | {"instrument": instrument}}
    return document


def fuzz(document: dict[str, Any], url: str) -> Run:
    """Send examples, edges, draws and walks from link to link."""
    config = schemathesis.Config.from_dict(
        {
            "seed": SEED,
            "max-redirects": 0,
            "continue-on-failure": True,
            "request-timeout": 120,
            "checks": CHECKS,
            "generation": {"deterministic": True, "database": "none", "max-examples": EXAMPLES},
        }
    )
    schema = schemathesis.openapi.from_dict(document, config=config)
    schema.config.update(base_url=url)
    schema.hook("filter_failure")(is_a_failure)
    run = Run()
    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            add(run, event.phase.value, event.recorder)
        elif isinstance(event, events.NonFatalError):
            run.findings.append(f"{event.label}: {event.value!r}")
        elif isinstance(event, events.FatalError):
            raise event.exception
        elif isinstance(event, events.PhaseFinished) and event.status in (Status.ERROR, Status.INTERRUPTED):
            run.findings.append(f"the phase {event.phase.name} ended as {event.status}")
    return run


def make_valid(case: Any, number: int) -> None:
    """Mend an order that fits the schema where it breaks a rule that no schema can state."""
    body = dict(case.body)
    # One key, one order; and its two spellings agree.
    keys = [case.headers.get("Idempotency-Key"), body.get("client_order_id")]
    key = f"{number}-{keys[0] or keys[1]}"[:255]
    if keys[0] is not None:
        case.headers["Idempotency-Key"] = key
    if keys[1] is not None:
        body["client_order_id"] = key
    if isinstance(body.get("place_by"), str):
        body["place_by"] = "2400" + body["place_by"][4:]  # in the future, and a leap year like any other
    if isinstance(body.get("limit_price"), float):
        body["limit_price"] = max(0.01, round(body["limit_price"] % 1e12, 2))
    case.body = body


def is_a_failure(context: Any, failure: Failure, case: Any, response: Response) -> bool:
    """False where only what no schema can say made a query invalid that fits its schema."""
    if not isinstance(failure, RejectedPositiveData) or response.status_code != 422:
        return True
    errors = response.json().get("errors", [])
    return not errors or not {(error["pointer"], error["detail"]) for error in errors} <= UNSAYABLE


def add(run: Run, phase: str, recorder: ScenarioRecorder) -> None:
    for case_id, interaction in recorder.interactions.items():
        operation = recorder.cases[case_id].value.operation.label
        run.requests[operation] += 1
        where = f"{operation}, {phase}"
        if interaction.response is None:
            run.findings.append(f"{where}: no answer\n{shown(interaction)}")
            continue
        status = interaction.response.status_code
        run.successes[operation] += 200 <= status < 300
        if status >= 500:
            kind = problem_type(interaction.response)
            if operation == "POST /orders" and kind in FAULTS.values():
                run.failed_orders[kind] += 1
            elif kind != OPEN or not is_about_a_fault(interaction):
                run.findings.append(f"{where}: a server error that nothing has caused\n{shown(interaction)}")
        for check in recorder.checks.get(case_id, ()):
            if check.failure_info is not None:
                failure = check.failure_info.failure
                run.findings.append(f"{where}: {check.name}: {failure.title}\n{failure.message}\n{shown(interaction)}")
            elif check.status is not Status.SUCCESS:
                run.findings.append(f"{where}: {check.name} itself failed\n{shown(interaction)}")


def is_about_a_fault(interaction: Interaction) -> bool:
    return any(instrument.encode() in (interaction.request.body or b"") for instrument in FAULTS)


def problem_type(response: Response) -> str:
    is_problem = "application/problem+json" in response.headers.get("content-type", [])
    return str(response.json()["type"]) if is_problem else "no problem document"


def shown(interaction: Interaction) -> str:
    request, response = interaction.request, interaction.response
    lines = [f"> {request.method} {request.uri}"]
    lines += [f"> {name}: {', '.join(values)}" for name, values in request.headers.items()]
    lines.append(f"> {(request.body or b'')[:BYTES_SHOWN_MAX]!r}")
    if response is not None:
        lines.append(f"< {response.status_code}")
        lines += [f"< {name}: {', '.join(values)}" for name, values in response.headers.items()]
        lines.append(f"< {response.content[:BYTES_SHOWN_MAX]!r}")
    return "\n".join(lines)


def report(run: Run, api: Program) -> str:
    """One of each kind of finding: the first line says which operation, phase and check."""
    first: dict[str, str] = {}
    for finding in run.findings:
        first.setdefault(finding.splitlines()[0], finding)
    texts = list(first.values())[:FINDINGS_SHOWN_MAX]
    head = f"{len(run.findings)} findings of {len(first)} kinds in {sum(run.requests.values())} requests"
    return "\n\n".join([head, *texts, "The log of the process:\n" + api.stderr[-2000:]])
