"""The service, broken on purpose: each of these mistakes must be found, or the simulation proves nothing.

A canary is a context in which the service's own code is replaced by a version with one mistake that somebody could
make, and most have made. It says in words what is wrong; `plan` narrows the runs to those in which it can show. Where
the broken code does what the service would not have done, it says `made`: a mistake that is never made proves nothing.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from ordertrail.api import advice as advice_module
from ordertrail.api import failed_order as failed_order_module
from ordertrail.api.advice import Advice
from ordertrail.api.place import PlaceOrder
from ordertrail.domain import settling
from ordertrail.domain.order import Order
from ordertrail.domain.order_in_doubt import SendAnswer
from ordertrail.domain.reason import ABSENT, NOT_RECORDED, RESENT, not_sent, proved, refused
from ordertrail.domain.settling import Resend, Wait
from ordertrail.domain.trail import Certainty, OrderStatus, Outcome, Proof, TrailRow, fold
from ordertrail.domain.venue_answer import Absent, Accepted, NoAnswer, NotSent, Refused, Unknown
from ordertrail.placement import place_order
from ordertrail.placement.halting import Halted, Halting
from ordertrail.placement.place_order import Failed, Placed, Placing
from ordertrail.reconciliation import review as review_module
from ordertrail.reconciliation.reconciler import Reconciler
from ordertrail.reconciliation.review import Review
from ordertrail.reconciliation.schedule import Schedule
from ordertrail.runtime.tasks import BackgroundTasks
from ordertrail.storage.doubt_rows import ClaimedSend
from ordertrail.storage.errors import StatementFailed, StatementOutcomeUnknown
from ordertrail.storage.journal import Journal
from ordertrail.storage.order_rows import KeyTaken
from ordertrail.storage.postgres import doubt_statements, order_statements
from ordertrail.venues.gateway import Gateway
from ordertrail.venues.simulated import translation
from simulated_exchange import results
from tests.simulation import tables as tables_module
from tests.simulation.mistakes import Mistake, in_place, made, patch
from tests.simulation.network import ExchangeWire
from tests.simulation.tables import STATEMENTS


@dataclass(frozen=True)
class Canary:
    """`broken` is the context in which the mistake is there; `focus` what of a plan must be so that it can show."""

    name: str
    broken: Callable[[], AbstractContextManager[Mistake]]
    focus: Mapping[str, Any]


CANARIES: dict[str, Canary] = {}

# Orders alone: what runs beside them takes its time, and shows nothing of a mistake with them.
ALONE: Mapping[str, Any] = {"queued": 0.0, "readers": 0, "queue": None, "unreadable": 0.0}


def canary(**focus: Any) -> Callable[[Callable[[], Iterator[None]]], None]:
    """Register a mistake under its name."""

    def register(make: Callable[[], Iterator[None]]) -> None:
        name = make.__name__
        CANARIES[name] = Canary(name, partial(in_place, make), {"is_calm": False, **focus} if focus else {})

    return register


@canary()
def a_new_id_for_each_resend() -> Iterator[None]:
    original = Gateway.send_and_query
    sends = iter(range(10**9))

    async def send(self: Gateway, order: Order, **how: Any) -> Any:
        is_resend = asyncio.current_task().get_coro().__name__ == "_review"  # type: ignore[union-attr]
        if is_resend:
            order = made(replace(order, id=f"{order.id}-{next(sends)}"))
        return await original(self, order, **how)

    with patch.object(Gateway, "send_and_query", send):
        yield


@canary()
def a_server_error_taken_for_a_refusal() -> Iterator[None]:
    original = translation.answer_of

    def answer_of(result: results.PlaceResult, order: Order) -> Any:
        return made(Refused("http_500", "")) if isinstance(result, results.ServerError) else original(result, order)

    with patch.object(translation, "answer_of", answer_of):
        yield


@canary()
def a_timeout_taken_for_not_sent() -> Iterator[None]:
    original = ExchangeWire.place

    async def place(self: ExchangeWire, order: Order, **how: Any) -> Any:
        answer = await original(self, order, **how)
        return made(NotSent("timeout")) if answer == Unknown("timeout") else answer

    with patch.object(ExchangeWire, "place", place):
        yield


@canary(exchange={"throttle": 0.1, "lost": 0.1}, events=("stop", "kill"))
def a_resend_without_a_claim() -> Iterator[None]:
    async def claim(self: Reconciler, wanted: Sequence[Any]) -> Any:
        now = datetime.now(UTC)
        return made([ClaimedSend(2, now, now + timedelta(days=365), self._send_seconds) for _ in wanted])

    async def record(answers: Sequence[Any]) -> Any:
        return [None for _ in answers]

    def init(self: Reconciler, doubts: Any, *arguments: Any, **named: Any) -> None:
        original(self, doubts, *arguments, **named)
        patch.instance(self._answers, "_write", record)

    original = Reconciler.__init__
    with patch.object(Reconciler, "_claim", claim), patch.object(Reconciler, "__init__", init):
        yield


@canary(profile="forever_late", exchange={"late": 0.25}, late_seconds=10.0)
def absence_believed_at_once() -> Iterator[None]:
    original = settling.absence_counts_from

    def absence_counts_from(doubt: Any, *rest: Any) -> Any:
        if original(doubt, *rest) != doubt.created_at:
            made()
        return doubt.created_at

    with patch.object(settling, "absence_counts_from", absence_counts_from):
        yield


@canary(profile="while_open_bounded", network={"held": 0.25}, exchange={"late": 0.1})
def unique_while_open_trusted() -> Iterator[None]:
    original = settling._safe_resend

    def safe_resend(doubt: Any, capabilities: Any, rules: Any) -> Any:
        resend = original(doubt, capabilities, rules)
        if resend is None and capabilities.client_order_id_unique == "while_open":
            return made(Resend())
        return resend

    with patch.object(settling, "_safe_resend", safe_resend):
        yield


@canary(profile="never_bounded", network={"held": 0.25})
def resend_where_nothing_makes_it_safe() -> Iterator[None]:
    original = settling._safe_resend

    with patch.object(settling, "_safe_resend", lambda *of: original(*of) or made(Resend())):
        yield


@canary()
def completed_before_the_answer() -> Iterator[None]:
    original = Gateway.send_and_query
    journals: dict[Any, Journal] = {}

    async def send(self: Gateway, order: Order, **how: Any) -> Any:
        journal = journals.get(self)
        if journal is not None:
            await made(journal.completed(order.id, "e-1"))
        return await original(self, order, **how)

    def init(self: Placing, journal: Journal, gateway: Gateway, *rest: Any) -> None:
        original_init(self, journal, gateway, *rest)
        journals[gateway] = journal

    original_init = Placing.__init__
    with patch.object(Gateway, "send_and_query", send), patch.object(Placing, "__init__", init):
        yield


@canary()
def sent_before_it_is_recorded() -> Iterator[None]:
    async def place(self: Placing, order: Order) -> Any:
        send_by = self._clock.monotonic() + self._deadlines.send_seconds
        answer = await made(self._gateway.send_and_query(order, send_by=send_by, accept_by=None))
        recorded = await self._journal.initiated(order)
        if isinstance(recorded, KeyTaken):
            return await self.repeat(recorded.order_id)
        if not isinstance(answer, Accepted):
            return await self._not_placed(order, recorded.created_at, answer)
        await self._journal.completed(order.id, answer.exchange_order_id)
        return Placed(order, recorded.created_at, answer.exchange_order_id)

    with patch.object(Placing, "place", place):
        yield


@canary()
def placed_before_completed_is_committed() -> Iterator[None]:
    async def completed(self: Journal, order_id: str, exchange_order_id: str) -> None:
        task = made(asyncio.ensure_future(original(self, order_id, exchange_order_id)))
        task.add_done_callback(lambda task: task.exception())

    original = Journal.completed
    with patch.object(Journal, "completed", completed):
        yield


@canary(
    **ALONE,
    profile="durable",
    database={"lost_answer": 0.25, "hangs": 0.25},
    # Whatever else goes wrong only keeps orders from being accepted.
    network={},
    exchange={},
    failpoints={},
    no_answer=0.0,
    followers=0,
    events=("spool lost",) * 6 + ("database away",),
    keyless=1.0,
)
def a_lost_commit_taken_for_none() -> Iterator[None]:
    original = StatementOutcomeUnknown.__init__

    def lost(self: StatementOutcomeUnknown, text: str, *, may_have_happened: bool) -> None:
        if may_have_happened:
            made()
        original(self, text, may_have_happened=False)

    with patch.object(StatementOutcomeUnknown, "__init__", lost):
        yield


@canary()
def a_repeated_request_that_sends() -> Iterator[None]:
    original = Placing.repeat

    async def repeat(self: Placing, order_id: str) -> Any:
        repeated = await original(self, order_id)
        stored = repeated.stored
        if stored is None or OrderStatus.COMPLETED in {row.status for row in stored.rows}:
            return repeated
        send_by = self._clock.monotonic() + self._deadlines.send_seconds
        answer = await made(self._gateway.send_and_query(stored.order, send_by=send_by, accept_by=None))
        if isinstance(answer, Accepted):
            await self._journal.completed(order_id, answer.exchange_order_id)
            return await original(self, order_id)
        return repeated

    with patch.object(Placing, "repeat", repeat):
        yield


@canary(exchange={"closed": 0.25, "error_before": 0.1})
def resend_after_not_placed() -> Iterator[None]:
    """NOT_PLACED is said when the exchange does not know the order, and the order is sent again all the same."""
    after, before = settling.after_query, settling.before_query
    name, run = STATEMENTS[doubt_statements.CLAIM_SENDS]

    def unsettled(doubt: Any) -> Any:
        return replace(doubt, rows=tuple(row for row in doubt.rows if row.status is not OrderStatus.NOT_PLACED))

    def after_query(doubt: Any, *rest: Any, **named: Any) -> Any:
        step = after(unsettled(doubt), *rest, **named)
        if isinstance(step, Resend) and OrderStatus.NOT_PLACED not in doubt.statuses:
            return settling.Append((TrailRow(OrderStatus.NOT_PLACED, "proved:absent"),))
        return step

    def before_query(doubt: Any) -> Any:
        return before(unsettled(doubt))

    def claim_sends(tables: Any, now: datetime, ids: Any, *rest: Any) -> Any:
        trails = [trail for id_ in ids if "NOT_PLACED" in (trail := tables.orders.get(id_, {}))]
        hidden = [(trail, trail.pop("NOT_PLACED")) for trail in trails]
        if hidden:
            made()
        try:
            return run(tables, now, ids, *rest)
        finally:
            for trail, row in hidden:
                trail["NOT_PLACED"] = row

    with (
        patch.object(review_module, "after_query", after_query),
        patch.object(review_module, "before_query", before_query),
        patch.dict(STATEMENTS, {doubt_statements.CLAIM_SENDS: (name, claim_sends)}),
    ):
        yield


@canary(**ALONE)
def no_answer_taken_for_absence() -> Iterator[None]:
    original = settling.after_query

    def after_query(doubt: Any, verification: Any, *rest: Any, **named: Any) -> Any:
        if isinstance(verification, NoAnswer):
            verification = made(Absent())
        return original(doubt, verification, *rest, **named)

    with patch.object(review_module, "after_query", after_query):
        yield


@canary()
def no_answer_given_up_after_some_tries() -> Iterator[None]:
    original = Review._carry_out

    async def carry_out(self: Review, doubt: Any, step: Any) -> Any:
        if isinstance(step, Wait) and step.why.startswith("no answer") and self._lease.tries >= 2:
            rows = (TrailRow(OrderStatus.NOT_PLACED, "proved:gave_up"),)
            return made(self._settled(rows, "gave up"))
        return await original(self, doubt, step)

    with patch.object(Review, "_carry_out", carry_out):
        yield


@canary()
def a_doubt_forgotten_after_one_review() -> Iterator[None]:
    original = Review._later

    def later(self: Review, observation: str, *rest: Any, **named: Any) -> Any:
        return made(replace(original(self, observation, *rest, **named), is_settled=True))

    with patch.object(Review, "_later", later):
        yield


@canary()
def found_is_not_compared() -> Iterator[None]:
    def judge(self: Any, order: Order) -> bool:
        return True

    # A venue that answers with somebody else's order, and an adapter that believes it.
    from ordertrail.domain.venue_answer import VenueOrder  # noqa: PLC0415

    original = ExchangeWire.query

    async def query(self: ExchangeWire, order_id: str, **how: Any) -> Any:
        answer = await original(self, order_id, **how)
        if isinstance(answer, Absent) and self._clock.monotonic() % 1 < 0.5:
            others = await self._far_end.venue.open_orders(timeout_seconds=1)
            if not isinstance(others, NoAnswer) and others.orders:
                from ordertrail.domain.venue_answer import Found  # noqa: PLC0415

                return made(Found(others.orders[0]))
        return answer

    with patch.object(VenueOrder, "equals", judge), patch.object(ExchangeWire, "query", query):
        yield


@canary(events=("stop",) * 4)
def the_send_window_is_not_reviewed() -> Iterator[None]:
    original = ExchangeWire.place

    async def place(self: ExchangeWire, order: Order, **how: Any) -> Any:
        return await made(original(self, order, **how | {"send_by": float("inf"), "accept_by": None}))

    with patch.object(ExchangeWire, "place", place):
        yield


@canary(exchange={"closed": 0.25, "error_before": 0.25})
def a_cancel_that_does_not_forbid_sends() -> Iterator[None]:
    name, run = STATEMENTS[doubt_statements.CLAIM_SENDS]

    def claim_sends(tables: Any, *arguments: Any) -> Any:
        wanted, tables.cancels = tables.cancels, {}
        if wanted:
            made()
        try:
            return run(tables, *arguments)
        finally:
            tables.cancels = wanted

    def may_send(doubt: Any) -> bool:
        return doubt.order.place_by is not None and doubt.now < doubt.order.place_by and not doubt.is_final

    with (
        patch.object(settling, "_may_send", may_send),
        patch.dict(STATEMENTS, {doubt_statements.CLAIM_SENDS: (name, claim_sends)}),
    ):
        yield


@canary(
    **ALONE,
    profile="never_honours",
    network={"held": 0.25, "lost_answer": 0.25},
    exchange={"refuse": 0.25},
    database={},
    failpoints={},
    events=(),
    followers=0,
)
def a_rejected_order_taken_for_the_only_one() -> Iterator[None]:
    original = settling._may_hide_another

    with patch.object(settling, "_may_hide_another", lambda *of: original(*of) and made(False)):
        yield


@canary(profile="open_only", database={"lost_answer": 0.25, "error": 0.25}, events=("database away",) * 4)
def an_unresolved_order_settled_without_a_word() -> Iterator[None]:
    original = settling._not_placed

    def not_placed(doubt: Any, reason: Any) -> Any:
        return made(()) if any(row.parsed_reason == NOT_RECORDED for row in doubt.rows) else original(doubt, reason)

    with patch.object(settling, "_not_placed", not_placed):
        yield


@canary()
def not_recorded_answered_as_final() -> Iterator[None]:
    original = Placing._not_recorded

    async def not_recorded(self: Placing, order: Order, error: Any, **when: Any) -> Any:
        placement = await original(self, order, error, **when)
        if isinstance(placement, Failed) and placement.may_be_recorded:
            return made(replace(placement, may_be_recorded=False))
        return placement

    with patch.object(Placing, "_not_recorded", not_recorded):
        yield


@canary()
def a_refusal_of_a_resend_taken_for_the_whole() -> Iterator[None]:
    original = place_order._failing_row

    def failing_row(answer: Any) -> Any:
        if isinstance(answer, Unknown):
            return made((OrderStatus.EXCHANGE_CREATION_FAILED, refused(answer.cause).text))
        return original(answer)

    with patch.object(place_order, "_failing_row", failing_row):
        yield


@canary(
    # Many are sent again, many of these answers tell nothing, and few queries find what came of them.
    network={},
    database={},
    exchange={"closed": 0.4, "error_after": 0.3},
    events=("exchange away", "exchange away"),
    failpoints={},
    no_answer=0.5,
    cancels=0.0,
    followers=0,
    queue=None,
)
def unknown_recorded_as_not_sent() -> Iterator[None]:
    original = review_module._recorded

    def recorded(answer: Any) -> Any:
        if isinstance(answer, Unknown):
            return made((SendAnswer.NOT_SENT, not_sent(answer.cause).text))
        return original(answer)

    with patch.object(review_module, "_recorded", recorded):
        yield


@canary(
    # Much time lies between reading a doubt and its verdict, in which the order is canceled.
    network={"slow": 0.5},
    database={"slow_answer": 0.5, "slow": 0.25},
    events=(),
    failpoints={},
    no_answer=0.5,
    cancels=1.0,
    keyless=0.0,
    followers=0,
    queue=None,
)
def no_fence() -> Iterator[None]:
    """Whoever held an order once concludes and claims, however long ago that was."""
    original = dict(STATEMENTS)

    def without_fence(sql: str) -> Any:
        name, run = original[sql]

        def losing(tables: Any, now: datetime, ids: Any, fences: Any, *rest: Any) -> Any:
            newest = [tables.doubts[order_id].fence if order_id in tables.doubts else 0 for order_id in ids]
            if newest != list(fences):
                made()
            return run(tables, now, ids, newest, *rest)

        return name, losing

    changed = {sql: without_fence(sql) for sql in (doubt_statements.APPLY_VERDICTS, doubt_statements.CLAIM_SENDS)}
    with patch.dict(STATEMENTS, changed):
        yield


@canary()
def spooled_orders_replayed_as_sendable() -> Iterator[None]:
    name, run = STATEMENTS[order_statements.REPLAY]

    def replay(tables: Any, now: datetime, *columns: Any) -> Any:
        columns = (*columns[:9], [None for _ in columns[9]], *columns[10:])
        statuses = ["INITIATED" for _ in columns[8]]
        result = run(tables, now, *columns[:8], statuses, *columns[9:])
        for order_id in columns[0]:
            row = tables.orders.get(order_id, {}).get("INITIATED")
            if row is not None:
                row["place_by"] = made(row["place_by"] or now + timedelta(seconds=20))
        return result

    with patch.dict(STATEMENTS, {order_statements.REPLAY: (name, replay)}):
        yield


@canary()
def the_key_is_free_again_after_an_unknown_answer() -> Iterator[None]:
    name, run = STATEMENTS[order_statements.INSERT_TRAIL_ROWS]

    def insert_trail_rows(tables: Any, now: datetime, ids: Any, statuses: Any, *rest: Any) -> Any:
        result = run(tables, now, ids, statuses, *rest)
        unknown = {id_ for id_, status in zip(ids, statuses, strict=True) if status == "EXCHANGE_OUTCOME_UNKNOWN"}
        for key in [key for key, order_id in tables.keys.items() if order_id in unknown]:
            del tables.keys[made(key)]
        return result

    with patch.dict(STATEMENTS, {order_statements.INSERT_TRAIL_ROWS: (name, insert_trail_rows)}):
        yield


@canary()
def the_key_is_not_claimed_with_the_order() -> Iterator[None]:
    with patch.object(tables_module, "_claim_keys", lambda tables, keys: made({order_id for _, order_id in keys})):
        yield


@canary()
def only_failures_are_reviewed() -> Iterator[None]:
    """An order whose process died before it could fail is found by nobody."""
    name, run = STATEMENTS[doubt_statements.ENQUEUE_DUE_BATCHES]

    def enqueue_due_batches(tables: Any, now: datetime, batches_max: int) -> Any:
        if tables.batches:
            made()
        tables.batches.clear()
        return run(tables, now, batches_max)

    with patch.dict(STATEMENTS, {doubt_statements.ENQUEUE_DUE_BATCHES: (name, enqueue_due_batches)}):
        yield


@canary(
    # Many of the first cancels come to nothing.
    network={"lost_answer": 0.25, "refused": 0.25},
    database={},
    exchange={},
    events=("exchange away", "exchange away"),
    failpoints={},
    no_answer=0.5,
    cancels=0.7,
    followers=0,
    queue=None,
)
def a_cancel_that_is_sent_once() -> Iterator[None]:
    original = Review._cancel

    async def cancel(self: Review, doubt: Any, rows: Any) -> Any:
        verdict = await original(self, doubt, rows)
        return verdict if verdict.is_settled else made(replace(verdict, is_settled=True))

    with patch.object(Review, "_cancel", cancel):
        yield


@canary(**ALONE, exchange={"closed": 0.25})
def an_answer_taken_for_its_successor() -> Iterator[None]:
    """A claim is closed before its acceptance is recorded, and the acceptance is left to the next look."""
    original = Journal.step

    async def step(self: Journal, row: Any) -> None:
        if row.status is OrderStatus.COMPLETED and row.reason == RESENT.text:
            made()
            return
        await original(self, row)

    with patch.object(Journal, "step", step):
        yield


@canary(events=("halt", "kill"), is_watcher_dead=True)
def a_halt_that_processes_must_hear_of() -> Iterator[None]:
    """Recording does not obey what it read, so that who has not heard of the halt goes on sending."""
    original = Journal.initiated

    def initiated(self: Journal, order: Order) -> Any:
        async def unaware() -> Any:
            recorded = await original(self, order)
            if not isinstance(recorded, KeyTaken) and recorded.is_halted:
                recorded = made(replace(recorded, is_halted=False))
            return recorded

        return unaware()

    with patch.object(Journal, "initiated", initiated):
        yield


@canary(events=("halt", "kill"), is_watcher_dead=True, exchange={"closed": 0.25, "throttle": 0.25})
def a_claim_that_does_not_read_the_switch() -> Iterator[None]:
    name, run = STATEMENTS[doubt_statements.CLAIM_SENDS]

    def claim_sends(tables: Any, *arguments: Any) -> Any:
        if not tables.is_halted:
            return run(tables, *arguments)
        halt = tables.turns.pop()
        try:
            return made(run(tables, *arguments))
        finally:
            tables.turns.append(halt)

    with patch.dict(STATEMENTS, {doubt_statements.CLAIM_SENDS: (name, claim_sends)}):
        yield


@canary(
    # Much time lies between the commit of an order and its sender's hearing of it, in which placing is halted.
    events=("halt", "halt"),
    is_watcher_dead=True,
    network={},
    database={"slow_answer": 0.5},
    failpoints={},
    followers=0,
    queue=None,
)
def a_halt_that_does_not_wait() -> Iterator[None]:
    original = Halting.wait

    async def wait(self: Halting, halt: Any, **how: Any) -> Any:
        now = await self._rows.under_way(halt)
        return made(Halted(halt.at, now)) if now.startable else await original(self, halt, **how)

    with patch.object(Halting, "wait", wait):
        yield


@canary()
def logging_before_answering() -> Iterator[None]:
    original = PlaceOrder._placed

    def placed(self: PlaceOrder, task: Any) -> None:
        taken = self._in_flight[task]

        def respond(answer: Any) -> None:
            answers.append(answer)

        answers: list[Any] = []
        self._in_flight[task] = taken._replace(respond=respond)
        original(self, task)
        # Rows are committed, and the line that tells of them raises: the sink is gone. The event loop goes on.
        if answers and answers[0] is not None and answers[0].status == 201:
            made()
            return
        taken.respond(*answers)

    with patch.object(PlaceOrder, "_placed", placed):
        yield


@canary()
def a_task_that_dies_unseen() -> Iterator[None]:
    async def run(self: Schedule) -> None:
        try:
            while True:
                await self.run_once()
                await asyncio.sleep(self._interval_seconds)
        except (StatementFailed, StatementOutcomeUnknown):
            made()  # its last handler logs, and the log raises

    def ended(self: BackgroundTasks, task: Any) -> None:
        self._names.pop(task, None)

    with patch.object(Schedule, "run", run), patch.object(BackgroundTasks, "_ended", ended):
        yield


@canary(profile="forever_late", network={"held": 0.25}, followers=4)
def a_new_key_called_safe_where_absence_is_only_presumed() -> Iterator[None]:
    original = advice_module._advice_about

    def advice_about(outcome: Outcome, certainty: Certainty | None, **key: Any) -> Advice:
        advice = original(outcome, certainty, **key)
        return made(Advice.NEW_KEY_IS_SAFE) if certainty is Certainty.PRESUMED else advice

    with patch.object(advice_module, "_advice_about", advice_about):
        yield


@canary(profile="forever_late", network={"held": 0.25}, followers=4)
def presumed_called_proved() -> Iterator[None]:
    def fold_as_proved(rows: Any) -> Any:
        standing = fold(rows)
        if standing.proof is Proof.SETTLED and standing.certainty is Certainty.PRESUMED:
            return made(replace(standing, reason=proved(ABSENT)))
        return standing

    with patch.object(failed_order_module, "fold", fold_as_proved):
        yield


@canary(network={"lost_answer": 0.25}, exchange={"lost": 0.1}, followers=4)
def an_order_in_doubt_without_a_key_advised_to_be_repeated() -> Iterator[None]:
    original = advice_module._advice_about

    def advice_about(outcome: Outcome, certainty: Certainty | None, *, has_key: bool) -> Advice:
        advice = original(outcome, certainty, has_key=has_key)
        is_wrong = outcome is not Outcome.NOT_PLACED and not has_key
        return made(Advice.REPEAT_REQUEST) if is_wrong else advice

    with patch.object(advice_module, "_advice_about", advice_about):
        yield


@canary(profile="never_bounded", network={"held": 0.25}, exchange={"late": 0.25}, unreadable=0.25)
def a_list_read_as_a_whole() -> Iterator[None]:
    """One element that cannot be understood, and nothing of the list counts: the sweep never comes past it."""
    original = ExchangeWire._spoiled_page

    def spoiled_page(self: ExchangeWire, page: Any) -> Any:
        read = original(self, page)
        return made(NoAnswer("unreadable")) if not isinstance(read, NoAnswer) and read.unreadable else read

    with patch.object(ExchangeWire, "_spoiled_page", spoiled_page):
        yield
