"""The exchange as a state machine without network: commands in, decisions and execution reports out.

It never waits. What it decides is in memory at once and in the log's buffer in the same step; that nobody
sees it before it is durable is the caller's part (`service.py`).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from random import Random
from typing import Literal

import msgspec

from simulated_exchange.capabilities import Profile
from simulated_exchange.compaction import Known, kept_lines, restored
from simulated_exchange.entries import (
    AcceptedLine,
    AmendedLine,
    CanceledLine,
    Command,
    EpochChangedLine,
    ExpiredLine,
    Kept,
    LoadedLine,
    LoadLine,
    NoiseLine,
    RejectedLine,
    StrayTradeLine,
    as_ordered,
)
from simulated_exchange.execution_log import ExecutionLog, encode_view
from simulated_exchange.faults import FaultDice, Faults
from simulated_exchange.flood import Flood, price_of
from simulated_exchange.log import Log
from simulated_exchange.noise import Noise, noise
from simulated_exchange.occurrences import Amendment, EpochChange, Expiry, Load, StrayTrade, price_ticks
from simulated_exchange.order_book import OrderBook
from simulated_exchange.order_store import OrderStore
from simulated_exchange.orders import (
    ExecType,
    NewOrder,
    Order,
    Refusal,
    Report,
    is_client_order_id,
    refusal_of,
    ticks_of,
)
from simulated_exchange.results import (
    Accepted,
    CancelDecision,
    Canceled,
    CannotOccur,
    Compacted,
    Decision,
    Duplicate,
    Executions,
    ExecutionsRaw,
    Occurred,
    OccurrenceResult,
    OpenOrders,
    OtherEpoch,
    Rejected,
    TooLate,
    UnknownExecution,
    UnknownOrder,
)
from simulated_exchange.trade_chains import TradeChain, TradeChains, amended
from simulated_exchange.wire import OrderView, ReportView, order_view, report_view, text_us, time_text

EXECUTIONS_LIMIT_MAX = 10_000
INVALID_ID = Rejected("invalid_client_order_id", "client_order_id must be 1 to 255 visible ASCII characters.")
NOT_OPEN = CannotOccur("not_open", "The order is not open.")
NO_TRADE = CannotOccur("no_trade", "This report is no trade's, so there is nothing to amend.")
EXPIRED_BEFORE_ACCEPTANCE = Refusal("accept_by_passed", "accept_by had passed before the order could be accepted.")


class Exchange:
    """All orders, books and execution reports of one epoch.

    `now_us` is the wall clock in microseconds since 1970; the exchange's own time never runs backwards.
    `keep_orders` bounds the memory of an exchange that may forget: the oldest orders are dropped, open ones too.
    `reports_kept` bounds the execution reports that can be read again. Without them everything is kept.
    `on_report` is called after each new report.
    """

    def __init__(
        self,
        *,
        epoch: str,
        log: Log,
        now_us: Callable[[], int],
        random: Random,
        profile: Profile | None = None,
        faults: Faults | None = None,
        keep_orders: int | None = None,
        reports_kept: int | None = None,
    ) -> None:
        self.executions_log = ExecutionLog(epoch, kept_max=reports_kept)
        self.on_report: Callable[[], None] | None = None
        self._log = log
        self._now_us = now_us
        self._random = random
        self._profile = Profile()
        self.dice = FaultDice(Faults(), random)
        self._keep_orders = keep_orders
        self.orders = OrderStore(keep_orders=keep_orders)
        self._epochs_count = 0
        self._chains = TradeChains()
        self._flood: Flood | None = None
        self._last_us = 0
        self.set_capabilities(profile or Profile())
        self.set_faults(faults or Faults())

    @property
    def epoch(self) -> str:
        return self.executions_log.epoch

    # Capabilities and faults

    def capabilities(self) -> Profile:
        return self._profile

    def set_capabilities(self, profile: Profile) -> None:
        """ValueError with a sentence where the faults in force would break the promise."""
        _check_hiding(profile, self.faults)
        self._profile = profile

    @property
    def faults(self) -> Faults:
        return self.dice.settings

    def set_faults(self, faults: Faults) -> None:
        """ValueError with a sentence where they would break a promise of the profile."""
        _check_hiding(self._profile, faults)
        self.dice = FaultDice(faults, self._random)

    # Commands

    def taken_by(self, client_order_id: str) -> Order | None:
        """The order that holds the id against a new one, as far as the profile says that ids are unique."""
        order = self.orders.newest_by_id.get(client_order_id)
        if order is None:
            return None
        unique = self._profile.client_order_id_unique
        if unique == "forever":
            return order
        if unique == "while_open":
            return order if order.is_open else None
        if unique == "never":
            return None
        return order if self._now() < order.transacted_at_us + unique * 1_000_000 else None

    def place(self, new: NewOrder, refusal: Refusal | None = None) -> Decision:
        """Accept or reject an order; a `refusal` of the door counts once the id is found to be free."""
        if not is_client_order_id(new.client_order_id):
            return INVALID_ID
        taken_by = self.taken_by(new.client_order_id)
        if taken_by is not None:
            return Duplicate(order_view(taken_by))
        now_us = self._now()
        refusal = refusal or refusal_of(new) or self._expiry(new, now_us)
        if refusal is not None:
            order, reports = self._reject(new, refusal, now_us, has_id=self._profile.rejected_orders_have_ids)
            self._log.rejected(new, order, refusal, reports)
            return Rejected(refusal.reject_reason, refusal.text)
        order, reports = self._accept(new, now_us)
        self._log.accepted(new, order, reports)
        return Accepted(order.exchange_order_id, order.client_order_id, order.ord_status, order.transacted_at_us)

    def cancel(self, client_order_id: str) -> CancelDecision:
        """Cancel the newest order with the id, if it is open."""
        order = self.orders.newest_by_id.get(client_order_id)
        if order is None:
            return UnknownOrder()
        if not order.is_open:
            return TooLate(order_view(order))
        reports = self._end(order, "canceled", self._now())
        self._log.canceled(order, reports)
        return Canceled(order_view(order))

    def refuse_cancel(self, client_order_id: str) -> TooLate | UnknownOrder:
        """The newest order with the id as it stands; nothing changes."""
        order = self.orders.newest_by_id.get(client_order_id)
        return UnknownOrder() if order is None else TooLate(order_view(order))

    # What happens on demand

    def expire(self, expiry: Expiry) -> OccurrenceResult:
        """The newest order with the id expires, if it is open."""
        order = self.orders.newest_by_id.get(expiry.client_order_id)
        if order is None:
            return UnknownOrder()
        if not order.is_open:
            return NOT_OPEN
        now_us = self._now()
        reports = self._end(order, "expired", now_us)
        view = _views(reports)
        self._log.occurred(ExpiredLine(time_text(now_us), order.exchange_order_id, order.client_order_id, view))
        return self._occurred(view)

    def amend(self, amendment: Amendment) -> OccurrenceResult:
        """Bust or correct a trade, and its order follows."""
        target = self.executions_log.find(amendment.exec_id)
        if target is None:
            return UnknownExecution()
        chain = self._chains.of(target)
        if chain is None:
            return NO_TRADE
        order = self.orders.of(target)
        if order is None:
            return UnknownOrder()
        now_us = self._now()
        view = _views(self._amend(order, target, chain, amendment, now_us))
        self._log.occurred(AmendedLine(time_text(now_us), amendment, view))
        return self._occurred(view)

    def trade(self, trade: StrayTrade) -> OccurrenceResult:
        """The newest order with the id trades with nobody, whatever state it is in, unless it was rejected."""
        order = self.orders.newest_by_id.get(trade.client_order_id)
        if order is None:
            return UnknownOrder()
        if order.ord_status == "rejected":
            return NOT_OPEN
        now_us = self._now()
        view = _views([self._trade(order, trade.last_qty, price_ticks(trade.last_px), now_us)])
        self._log.occurred(StrayTradeLine(time_text(now_us), trade, view))
        return self._occurred(view)

    def report_noise(self, kind: Noise, about: ReportView) -> None:
        """A report that comes of nothing: of an unknown type about the same order, or of a stranger."""
        order = self.orders.of(about)
        if order is None or order.ord_status == "rejected":
            return  # a report of any type but `rejected` would say that it had been accepted
        log, at = self.executions_log, time_text(self._now())
        seq = log.head + 1
        exec_id = f"E{seq}{log.exec_id_suffix}"
        view = noise(kind, order_view(order), seq=seq, exec_id=exec_id, transact_time=at)
        self._append(view)
        self._log.occurred(NoiseLine(at, (view,)))

    def change_epoch(self, change: EpochChange) -> OccurrenceResult:
        """Begin a new epoch, or go back in this one."""
        old = self.executions_log
        if change.head is not None and not old.dropped <= change.head <= old.head:
            return CannotOccur("no_such_head", f"head must be from {old.dropped} to {old.head}.")
        epoch = old.epoch if change.head is not None else f"{self._random.getrandbits(48):012x}"
        self._epochs_count += 1
        # Going back within an epoch, ids must differ in any case, or they would not be unique in it.
        has_suffix = self._profile.exec_id_unique == "order" or change.head is not None
        suffix = f".{self._epochs_count}" if has_suffix else ""
        view = self._change_epoch(change, epoch, suffix)
        self._log.occurred(EpochChangedLine(time_text(self._now()), epoch, suffix, change, view))
        return self._occurred(view)

    def begin_load(self, load: Load) -> OccurrenceResult:
        """From now on `load_turns` is about this flood."""
        flood = self._flood_of(load)
        if flood.is_over:
            return NOT_OPEN
        self._flood = flood
        self._log.occurred(LoadLine(time_text(self._now()), load))
        return self._occurred(())

    def load_turns(self, count: int) -> int:
        """Take turns of the flood: how many, for it may be over before."""
        now_us = self._now()
        turns = self._take_turns(count, now_us)
        if turns and self.on_report is not None:
            self.on_report()
        if turns:
            self._log.occurred(LoadedLine(time_text(now_us), turns, self.executions_log.head))
        return turns

    # Queries

    def query(self, client_order_id: str) -> OrderView | None:
        """The newest order with the id, as far as the exchange shows it (`hide_seconds`, `ask_covers`)."""
        order = self.orders.newest_by_id.get(client_order_id)
        if order is None or (self._profile.ask_covers == "open_only" and not order.is_open):
            return None
        hide_seconds = self.faults.ask.hide_seconds
        if hide_seconds and self._now() < order.transacted_at_us + hide_seconds * 1_000_000:
            return None
        return order_view(order)

    def open_orders(self) -> OpenOrders:
        return OpenOrders(tuple(map(order_view, self.orders.open.values())), time_text(self._now()))

    def executions(self, after: int, limit: int) -> Executions:
        """Reports with `seq` above `after`, in order, at most `limit` and never more than a page."""
        log = self.executions_log
        return Executions(log.epoch, log.views(after, min(limit, EXECUTIONS_LIMIT_MAX)), log.head)

    def executions_raw(self, after: int, limit: int, epoch: str | None) -> ExecutionsRaw | OtherEpoch | Compacted:
        """The same, encoded; said no where `epoch` is another one, or where some of them are not kept any more."""
        log = self.executions_log
        refused = log.refusal(after, epoch)
        if refused is not None:
            return refused
        reports = log.encoded(after, min(limit, EXECUTIONS_LIMIT_MAX))
        return ExecutionsRaw(log.epoch, log.head, after, len(reports), b"[" + b",".join(reports) + b"]")

    # The log

    def compacted(self) -> Iterator[Kept]:
        """All that it knows, for a log that is to begin with it; nothing may happen meanwhile."""
        return kept_lines(
            Known(self._last_us, self._epochs_count, self.executions_log, self.orders, self._chains, self._flood)
        )

    def restore(self, kept: Sequence[Kept]) -> None:
        """Be as the log begins, and knows no more of; ValueError and KeyError where that cannot be."""
        if not kept:
            return
        known = restored(kept, reports_kept=self.executions_log.kept_max, keep_orders=self._keep_orders)
        self._last_us, self._epochs_count = known.last_us, known.epochs_count
        self.executions_log, self.orders = known.executions_log, known.orders
        self._chains, self._flood = known.chains, known.flood

    def replay(self, command: Command) -> None:
        """Do again what the log says was done; ValueError if something else comes of it."""
        at_us = text_us(command.transact_time)
        self._last_us = max(self._last_us, at_us)
        match command:
            case AcceptedLine() | RejectedLine() | CanceledLine() | ExpiredLine():
                order, reports = self._replay_order(command, at_us)
                if order.exchange_order_id != command.exchange_order_id:
                    raise ValueError(f"its order would be {order.exchange_order_id}, not {command.exchange_order_id}")
                if _without_reasons(_views(reports)) != _without_reasons(command.reports):
                    raise ValueError("its execution reports do not follow from the lines before")
            case AmendedLine() | StrayTradeLine() | NoiseLine() | EpochChangedLine():
                if self._replay_occurrence(command, at_us) != command.reports:
                    raise ValueError("its execution reports do not follow from the lines before")
            case LoadLine():
                self._flood = self._flood_of(command.load)
            case LoadedLine():
                if self._take_turns(command.turns, at_us) != command.turns or self.executions_log.head != command.head:
                    raise ValueError("the flood does not lead to where it was")

    def _replay_order(
        self, line: AcceptedLine | RejectedLine | CanceledLine | ExpiredLine, at_us: int
    ) -> tuple[Order, list[Report]]:
        match line:
            case AcceptedLine():
                return self._accept(as_ordered(line.order), at_us)
            case RejectedLine():
                refusal = Refusal(line.reject_reason, line.text)
                has_id = all(report.exchange_order_id is not None for report in line.reports)
                return self._reject(as_ordered(line.order), refusal, at_us, has_id=has_id)
            case CanceledLine() | ExpiredLine():
                if line.exchange_order_id not in self.orders.open:
                    raise ValueError(f"it ends {line.exchange_order_id}, which is not open")
                order = self.orders.open[line.exchange_order_id]
                return order, self._end(order, "canceled" if isinstance(line, CanceledLine) else "expired", at_us)

    def _replay_occurrence(
        self, line: AmendedLine | StrayTradeLine | NoiseLine | EpochChangedLine, at_us: int
    ) -> tuple[ReportView, ...]:
        match line:
            case NoiseLine():
                for view in line.reports:
                    self._append(view)
                return line.reports
            case EpochChangedLine():
                self._epochs_count += 1
                return self._change_epoch(line.change, line.epoch, line.exec_id_suffix)
            case StrayTradeLine(trade=trade):
                order = self.orders.newest_by_id.get(trade.client_order_id)
                if order is None:
                    raise ValueError(f"{trade.client_order_id} trades, which is not there")
                return _views([self._trade(order, trade.last_qty, price_ticks(trade.last_px), at_us)])
            case AmendedLine(amendment=amendment):
                target = self.executions_log.find(amendment.exec_id)
                chain = None if target is None else self._chains.of(target)
                amended_order = None if target is None else self.orders.of(target)
                if target is None or chain is None or amended_order is None:
                    raise ValueError(f"it amends {amendment.exec_id}, which is no trade")
                return _views(self._amend(amended_order, target, chain, amendment, at_us))

    # What commands do once they are decided

    def _accept(self, new: NewOrder, now_us: int) -> tuple[Order, list[Report]]:
        order = self._take_in(new, now_us)
        reports = [self._report(order, "new", now_us)]
        if order.price_ticks is not None or new.instrument in self.orders.books:
            self._match(order, reports, now_us)
        if order.leaves_qty and order.price_ticks is None:
            order.leaves_qty = 0
            order.ord_status = "canceled"
            reports.append(self._report(order, "canceled", now_us))
        if order.is_open:
            self.orders.open[order.exchange_order_id] = order
        return order, reports

    def _match(self, order: Order, reports: list[Report], now_us: int) -> None:
        instrument = order.instrument or ""
        book = self.orders.books.get(instrument)
        if book is None:
            book = self.orders.books[instrument] = OrderBook()
        for resting, quantity, ticks in book.place(order):
            for side in (order, resting):
                side.cum_qty += quantity
                side.notional_ticks += quantity * ticks
            # The arriving order's leaves are those after all its trades; each report shows its own.
            order_leaves = (order.quantity or 0) - order.cum_qty
            order.ord_status = "partially_filled" if order_leaves else "filled"
            resting.ord_status = "partially_filled" if resting.leaves_qty else "filled"
            reports.append(self._report(order, "trade", now_us, quantity, ticks, leaves_qty=order_leaves))
            reports.append(self._report(resting, "trade", now_us, quantity, ticks))
            if not resting.is_open:
                del self.orders.open[resting.exchange_order_id]
        if book.is_empty:
            del self.orders.books[instrument]

    def _reject(self, new: NewOrder, refusal: Refusal, now_us: int, *, has_id: bool) -> tuple[Order, list[Report]]:
        order = self._take_in(new, now_us)
        order.has_id = has_id
        order.leaves_qty = 0
        order.ord_status = "rejected"
        order.reject_reason = refusal.reject_reason
        return order, [self._report(order, "rejected", now_us)]

    def _end(self, order: Order, how: Literal["canceled", "expired"], now_us: int) -> list[Report]:
        self.orders.take_out(order)
        order.leaves_qty = 0
        order.ord_status = how
        return [self._report(order, how, now_us)]

    def _amend(
        self, order: Order, target: ReportView, chain: TradeChain, amendment: Amendment, now_us: int
    ) -> list[Report]:
        quantity, ticks = amended(chain, amendment)
        order.cum_qty += quantity - chain.quantity
        order.notional_ticks += quantity * ticks - chain.quantity * chain.ticks
        is_back = order.ord_status == "filled" and amendment.reinstate and order.price_ticks is not None
        self._follow_cum_qty(order, is_open_again=is_back)
        is_bust = amendment.exec_type == "trade_cancel"
        report = self._report(
            order,
            amendment.exec_type,
            now_us,
            0 if is_bust else quantity,
            None if is_bust else ticks,
            exec_ref_id=amendment.exec_id,
        )
        self._chains.amend(target, chain, report.exec_id, quantity, ticks)
        reports = [report]
        if is_back and order.is_open:
            self._match(order, reports, now_us)
            if order.is_open:
                self.orders.open[order.exchange_order_id] = order
        return reports

    def _trade(self, order: Order, quantity: int, ticks: int, now_us: int) -> Report:
        order.cum_qty += quantity
        order.notional_ticks += quantity * ticks
        self._follow_cum_qty(order)
        return self._report(order, "trade", now_us, quantity, ticks)

    def _flood_of(self, load: Load) -> Flood:
        newest = {name: self.orders.newest_by_id.get(name) for name in load.client_order_ids}
        usable = {name: order for name, order in newest.items() if order is None or order.is_open}
        return Flood(load, usable, self.orders.count)

    def _take_turns(self, count: int, now_us: int) -> int:
        flood = self._flood
        if flood is None:
            return 0
        log = self.executions_log
        suffix = log.exec_id_suffix
        for turn in range(count):
            entry = flood.next()
            if entry is None:
                if flood.is_over:
                    return turn
                new = flood.new_order()
                if new.client_order_id not in self.orders.newest_by_id:
                    flood.add(self._accept(new, now_us)[0])
            elif entry.order.leaves_qty > 1:
                log.append(entry.trade(turn, log.head + 1, suffix, now_us))
            else:
                self._trade(entry.order, 1, price_of(entry.order, turn), now_us)
        return count

    def _follow_cum_qty(self, order: Order, *, is_open_again: bool = False) -> None:
        """What an open order has left, and its status, follow from its trades; what is over stays as it is."""
        if not order.is_open and not is_open_again:
            return
        leaves_qty = max((order.quantity or 0) - order.cum_qty, 0)
        if not leaves_qty and not is_open_again:
            self.orders.take_out(order)
        order.leaves_qty = leaves_qty
        if leaves_qty:
            order.ord_status = "partially_filled" if order.cum_qty else "new"
        else:
            order.ord_status = "filled"

    def _change_epoch(self, change: EpochChange, epoch: str, exec_id_suffix: str) -> tuple[ReportView, ...]:
        old = self.executions_log
        if change.head is not None:
            log = old.back_to(change.head, exec_id_suffix=exec_id_suffix)
        else:
            log = old.successor(epoch, exec_id_suffix=exec_id_suffix, replay=change.replay)
            if not change.replay:
                self._chains = TradeChains()
        self.executions_log = log
        if change.forget:
            self.orders.forget_all()
            self._flood = None
        if self.on_report is not None:
            self.on_report()
        return log.views(0, log.head) if change.replay else ()

    def _occurred(self, reports: tuple[ReportView, ...]) -> Occurred:
        return Occurred(self.executions_log.epoch, self.executions_log.head, reports)

    def _append(self, view: ReportView) -> None:
        self.executions_log.append(encode_view(view))
        if self.on_report is not None:
            self.on_report()

    def _take_in(self, new: NewOrder, now_us: int) -> Order:
        number = self.orders.count + 1
        order = Order(
            number,
            new.side == "buy",
            None if new.limit_price is None else ticks_of(new.limit_price),
            new.quantity or 0,
            new.client_order_id,
            f"{self.epoch}-{number}",
            new.type,
            new.side,
            new.instrument,
            new.quantity,
            now_us,
        )
        self.orders.add(order)
        return order

    def _report(
        self,
        order: Order,
        exec_type: ExecType,
        now_us: int,
        last_qty: int = 0,
        last_ticks: int | None = None,
        *,
        leaves_qty: int | None = None,
        exec_ref_id: str | None = None,
    ) -> Report:
        log = self.executions_log
        report = Report(
            log.head + 1,
            exec_type,
            order.ord_status,
            order.client_order_id,
            order.shown_id,
            last_qty,
            last_ticks,
            order.cum_qty,
            order.leaves_qty if leaves_qty is None else leaves_qty,
            order.notional_ticks,
            now_us,
            order.reject_reason,
            exec_ref_id,
            log.exec_id_suffix,
        )
        log.append(report)
        if self.on_report is not None:
            self.on_report()
        return report

    def _expiry(self, new: NewOrder, now_us: int) -> Refusal | None:
        is_late = new.accept_by_us is not None and now_us > new.accept_by_us
        return EXPIRED_BEFORE_ACCEPTANCE if is_late and self._profile.honours_accept_by else None

    def _now(self) -> int:
        """The clock, held back where it was set back: times in the log never decrease."""
        self._last_us = max(self._last_us, self._now_us())
        return self._last_us


def _views(reports: list[Report]) -> tuple[ReportView, ...]:
    return tuple(map(report_view, reports))


def _without_reasons(reports: Iterable[ReportView]) -> list[ReportView]:
    """As they stand in the logs of old, in which reports gave none."""
    return [msgspec.structs.replace(report, reject_reason=msgspec.UNSET) for report in reports]


def _check_hiding(profile: Profile, faults: Faults) -> None:
    promised = profile.visible_within_seconds
    if promised is not None and faults.ask.hide_seconds > promised:
        raise ValueError(
            f"ask.hide_seconds ({faults.ask.hide_seconds:g}) would break the promise visible_within_seconds "
            f"({promised:g}); raise that first with PUT /v1/capabilities."
        )
