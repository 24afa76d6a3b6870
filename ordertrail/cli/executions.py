"""`ordertrail executions`: what the exchange executed of our orders, as far as a person looks after it.

Exit codes: 0 done, 1 they differ or cannot be compared, 2 usage or connection error.
"""

# ruff: noqa: T201 - it talks to a person

from typing import Any

from cyclopts import App

from ordertrail.cli.at_database import DONE, REFUSED, print_json, run, say
from ordertrail.cli.output import Json
from ordertrail.cli.person_settings import load_settings_of_person
from ordertrail.executions.compare import CannotCompare
from ordertrail.runtime.telemetry.logs import configure_logs
from ordertrail.server.service import Service
from ordertrail.server.start_line import want_exchange_url
from ordertrail.storage.comparison_rows import Comparison

app = App(name="executions", help="What the exchange executed of our orders.")


@app.command
def compare(*, json: Json = False) -> int:
    """Compare our executions with the exchange's, report by report; the result is kept.

    Parameters
    ----------
    json
        For programs: print one JSON document.
    """
    settings = load_settings_of_person()
    want_exchange_url(settings)
    configure_logs(level="error", log_format=settings.log_format)
    return run(_compare(Service(settings.model_copy(update={"reconcile_in_api": False})), as_json=json))


async def _compare(service: Service, *, as_json: bool) -> int:
    await service.open()
    try:
        comparison = await service.comparer.run_once()
    except CannotCompare as error:
        return say(f"The executions cannot be compared: {error}.", REFUSED)
    finally:
        await service.close()
    if as_json:
        print_json(_document(comparison))
    else:
        _print(comparison)
    return DONE if comparison.is_equal else REFUSED


def _document(comparison: Comparison) -> dict[str, Any]:
    names = ("venue", "epoch", "up_to_seq", "reports", "missing", "different", "unknown", "is_equal", "details")
    return {name: getattr(comparison, name) for name in names}


def _print(comparison: Comparison) -> None:
    since = comparison.details.get("from_seq", 1)
    print(f"{comparison.venue}, epoch {comparison.epoch}, seq {since} to {comparison.up_to_seq}: {comparison.reports}.")
    missing, different, unknown = comparison.missing, comparison.different, comparison.unknown
    if comparison.is_equal:
        print("Our executions equal the exchange's.")
    else:
        print(f"{missing} are missing here, {different} differ, {unknown} of ours the exchange does not have.")
    for name, sentence in (
        ("applied_and_no_row", "of the missing were applied and are no rows"),
        ("parked", "more are parked: see `ordertrail parked`"),
        ("unreadable", "of the exchange's cannot be read"),
    ):
        if comparison.details.get(name):
            print(f"{comparison.details[name]} {sentence}.")
    for kind, examples in comparison.details.get("examples", {}).items():
        for example in examples:
            print(f"{kind}: seq {example['seq']}, order {example['order_id']}, execution {example['exec_id']}")
