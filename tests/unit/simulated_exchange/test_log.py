import asyncio
import errno
import os
import threading
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulated_exchange import log as log_module
from simulated_exchange.capabilities import Profile
from simulated_exchange.entries import CompactedLine
from simulated_exchange.exchange import Exchange
from simulated_exchange.log import LOG_NAME, NEW_NAME, DurableLog, LogError, read_lines
from simulated_exchange.occurrences import Amendment
from simulated_exchange.orders import Refusal
from simulated_exchange.results import Accepted, Compacted, Duplicate, Occurred
from simulated_exchange.service import ExchangeService, open_exchange
from simulated_exchange.trade_chains import KeptChain
from simulated_exchange.wire import OrderView, ReportView
from tests.support.clocks import ManualClock
from tests.unit.simulated_exchange.making import limit, market


def opened(folder: Path) -> ExchangeService:
    return open_exchange(folder, now_us=ManualClock().now_us, random=Random(1))


async def some_trading(folder: Path) -> tuple[object, ...]:
    """What the exchange showed at the end of it."""
    service = opened(folder)
    await asyncio.gather(
        service.place(limit("a", "sell", quantity=10)),
        service.place(market("b", "buy", 3)),
        service.place(limit("c", "buy", "9.00")),
        service.place(limit("d"), Refusal("any", "Any.")),
        service.cancel("c"),
    )
    truth = await everything(service)
    await service.close()
    return truth


async def everything(service: ExchangeService) -> tuple[object, ...]:
    orders = [await service.query(name) for name in "abcde"]
    return (*orders, (await service.open_orders()).orders, await service.executions(0, 1000))


async def test_reopened_exchange_is_as_it_was_left(tmp_path: Path) -> None:
    before = await some_trading(tmp_path)

    service = opened(tmp_path)

    assert await everything(service) == before
    assert isinstance(await service.place(limit("e", "buy", quantity=7)), Accepted)
    assert (await service.open_orders()).orders == ()
    await service.close()


async def test_rejected_order_without_id_is_reopened_without(tmp_path: Path) -> None:
    service = open_exchange(tmp_path, profile=Profile(rejected_orders_have_ids=False))
    await service.place(limit("a", quantity=0))
    before = await everything(service)
    await service.close()

    reopened = open_exchange(tmp_path)

    assert await everything(reopened) == before
    await reopened.close()


async def test_kept_reports_are_bounded_also_after_a_restart(tmp_path: Path) -> None:
    service = open_exchange(tmp_path, reports_kept=8)
    for number in range(20):
        await service.place(limit(str(number)))
    before = [await service.executions_raw(1, 100), await service.executions(0, 100)]
    await service.close()

    reopened = open_exchange(tmp_path, reports_kept=8)

    assert [await reopened.executions_raw(1, 100), await reopened.executions(0, 100)] == before
    assert isinstance(before[0], Compacted)
    await reopened.close()


async def test_log_can_be_read_line_by_line(tmp_path: Path) -> None:
    await some_trading(tmp_path)

    kinds = [type(line).__name__ for _, line in read_lines(tmp_path / "exchange.log")]

    assert kinds == ["EpochLine", "AcceptedLine", "AcceptedLine", "AcceptedLine", "RejectedLine", "CanceledLine"]


async def test_every_cut_of_the_log_opens_with_a_prefix(tmp_path: Path) -> None:
    await some_trading(tmp_path)
    path = tmp_path / "exchange.log"
    whole = path.read_bytes()

    for length in range(0, len(whole), 37):
        path.write_bytes(whole[:length])
        await opened(tmp_path).close()
        kept = path.read_bytes()
        assert kept == whole[: whole.rfind(b"\n", 0, length) + 1] or length <= whole.find(b"\n")


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (b'"kind":"canceled"', b'"kind":"cancelled"', "line 6"),
        (b'"leaves_qty":7', b'"leaves_qty":8', "line 3: its execution reports do not follow"),
        (b'"format":1', b'"format":2', "line 1: not the beginning"),
        (b'{"kind":"accepted"', b"\x00\x00", "line 2"),
    ],
)
async def test_broken_log_is_refused_with_its_name(tmp_path: Path, old: bytes, new: bytes, sentence: str) -> None:
    await some_trading(tmp_path)
    path = tmp_path / "exchange.log"
    path.write_bytes(path.read_bytes().replace(old, new, 1))

    with pytest.raises(LogError, match=sentence) as caught:
        opened(tmp_path)

    assert str(path) in str(caught.value)


async def test_folder_that_is_in_use_is_refused(tmp_path: Path) -> None:
    service = opened(tmp_path)

    with pytest.raises(LogError, match="in use by another process"):
        opened(tmp_path)

    await service.close()
    await opened(tmp_path).close()


def test_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(LogError, match="cannot be opened"):
        opened(tmp_path / "file" / "folder")


# A log that is compacted


def compacting(folder: Path, **changes: Any) -> ExchangeService:
    return open_exchange(folder, now_us=ManualClock().now_us, random=Random(1), log_bytes_max=0, **changes)


async def test_compacted_exchange_is_as_it_was_left(tmp_path: Path) -> None:
    await some_trading(tmp_path)
    service = compacting(tmp_path)
    await service.place(limit("e", "sell", "11.00", 4))
    before = await everything(service)
    kinds = [type(line).__name__ for _, line in read_lines(tmp_path / LOG_NAME)]
    await service.place(limit("f", "buy", "10.00", 1))
    await service.close()

    reopened = opened(tmp_path)

    assert kinds == ["EpochLine", "CompactedLine", "KeptOrdersLine", "KeptReportsLine"]
    assert (await everything(reopened))[1:5] == before[1:5]
    found = await reopened.query("a")
    assert isinstance(found, OrderView) and (found.cum_qty, found.leaves_qty) == (4, 6)
    assert isinstance(await reopened.place(limit("a")), Duplicate)
    assert isinstance(await reopened.place(limit("d")), Duplicate)
    await reopened.close()


@pytest.mark.parametrize("named", ["trade", "correction"])
async def test_trade_that_was_corrected_is_busted_and_corrected_on_after_compactions(
    tmp_path: Path, named: str
) -> None:
    await some_trading(tmp_path)
    service = compacting(tmp_path)
    [traded] = [each for each in (await service.executions(0, 100)).executions if each.ord_status == "partially_filled"]
    corrected = await amended(service, traded.exec_id, "trade_correct", last_qty=2, last_px="9.50")
    await service.close()

    service = compacting(tmp_path)
    assert len(compacted_chains(tmp_path)) == 1
    assert await service.query("a") == corrected.order
    name = traded.exec_id if named == "trade" else corrected.report.exec_id
    busted = await amended(service, name, "trade_cancel")
    await service.close()
    service = opened(tmp_path)
    again = await amended(service, busted.report.exec_id, "trade_correct", last_qty=1)

    assert (corrected.order.cum_qty, corrected.order.avg_px) == (2, "9.50")
    assert (busted.order.cum_qty, busted.order.leaves_qty, busted.order.avg_px) == (0, 10, None)
    assert (again.order.cum_qty, again.order.avg_px) == (1, "9.50")
    assert (again.report.last_px, again.report.exec_ref_id) == ("9.50", busted.report.exec_id)
    await service.close()


class Amended(NamedTuple):
    report: ReportView
    order: OrderView


async def amended(service: ExchangeService, exec_id: str, exec_type: Any, **changes: Any) -> Amended:
    """Of the order `a`: the report that says it, and the order after it."""
    result = await service.occur(Amendment(exec_id=exec_id, exec_type=exec_type, **changes))
    order = await service.query("a")
    assert isinstance(result, Occurred) and isinstance(order, OrderView)
    return Amended(result.executions[0], order)


def compacted_chains(folder: Path) -> tuple[KeptChain, ...]:
    [line] = [line for _, line in read_lines(folder / LOG_NAME) if isinstance(line, CompactedLine)]
    return line.chains


async def test_compacted_log_stays_within_what_is_kept(tmp_path: Path) -> None:
    service = open_exchange(tmp_path, log_bytes_max=20_000, reports_kept=8)
    whole = open_exchange(tmp_path / "whole", reports_kept=8)
    sizes = []
    for number in range(200):
        for one in (service, whole):
            await one.place(limit(str(number), "buy" if number % 2 else "sell"))
        sizes.append((tmp_path / LOG_NAME).stat().st_size)
    pages = [await one.executions_raw(after, 100) for one in (service, whole) for after in (1, 393)]
    await service.close()
    await whole.close()

    reopened = open_exchange(tmp_path, reports_kept=8)

    assert max(sizes) < 60_000 < (tmp_path / "whole" / LOG_NAME).stat().st_size
    assert isinstance(pages[0], Compacted) and pages[0] == pages[2]
    assert await reopened.executions_raw(1, 100) == pages[0]
    assert isinstance(await reopened.query("0"), OrderView)
    assert (await reopened.executions(0, 100)).head == 400
    await reopened.close()


class Killed(BaseException):
    """The process ends here, and nothing is tidied up."""


@pytest.mark.parametrize("call", ["write", "fsync", "rename", "_sync_folder"])
async def test_process_that_dies_while_it_compacts_has_what_it_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    await some_trading(tmp_path)
    whole = (tmp_path / LOG_NAME).read_bytes()
    service = compacting(tmp_path)
    before = await everything(service)
    log = service._log
    assert isinstance(log, DurableLog)

    def die(*_arguments: Any) -> Any:
        raise Killed

    def write_a_part(descriptor: int, data: Any) -> int:
        os.pwrite(descriptor, data[: len(data) // 2], 0)
        raise Killed

    with monkeypatch.context() as patched:
        place: Any = {"rename": Path, "_sync_folder": log_module}.get(call, os)
        patched.setattr(place, call, write_a_part if call == "write" else die)
        with suppress(Killed):
            log._put(b"", log._kept_if_due())
    log.release()  # as the system does for it

    reopened = opened(tmp_path)

    is_replaced = call == "_sync_folder"
    assert ((tmp_path / LOG_NAME).read_bytes() != whole) == is_replaced
    assert not (tmp_path / NEW_NAME).exists()
    assert await everything(reopened) == before
    await reopened.close()


async def test_log_that_finds_no_room_for_another_goes_on_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    service = compacting(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", no_room)
        await service.place(limit("a"))
        kinds = [type(line).__name__ for _, line in read_lines(tmp_path / LOG_NAME)]
    await service.close()

    assert kinds == ["EpochLine", "AcceptedLine"]
    assert not (tmp_path / NEW_NAME).exists()
    reopened = opened(tmp_path)
    assert isinstance(await reopened.query("a"), OrderView)
    await reopened.close()


async def test_log_that_was_just_replaced_is_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process has opened it before, and locks what has no name any more."""
    await opened(tmp_path).close()
    lock = DurableLog._lock

    def replace_and_lock(log: DurableLog) -> None:
        (tmp_path / "other").write_bytes(log.path.read_bytes())
        (tmp_path / "other").rename(log.path)
        lock(log)

    monkeypatch.setattr(DurableLog, "_lock", replace_and_lock)

    with pytest.raises(LogError, match="in use by another process"):
        opened(tmp_path)


async def test_kept_lines_may_only_begin_a_log(tmp_path: Path) -> None:
    service = compacting(tmp_path)
    await service.place(limit("a"))
    await service.close()
    path = tmp_path / LOG_NAME
    lines = path.read_bytes().splitlines(keepends=True)
    await some_trading(tmp_path)
    path.write_bytes(path.read_bytes() + lines[1])

    with pytest.raises(LogError, match="may only be at the beginning"):
        opened(tmp_path)


class SlowDisk:
    """Lets a log's writes wait until they are let go, or fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.writing = threading.Event()
        self.go_on = threading.Event()
        self.writes: list[bytes] = []
        self.failure: OSError | None = None
        self._write = DurableLog._write
        disk = self

        def write(log: DurableLog, data: bytes) -> None:
            disk.writing.set()
            assert disk.go_on.wait(10)
            if disk.failure is not None:
                raise disk.failure
            disk.writes.append(data)
            disk._write(log, data)

        monkeypatch.setattr(DurableLog, "_write", write)


@pytest.fixture
def service(tmp_path: Path) -> ExchangeService:
    return opened(tmp_path)


@pytest.fixture
def disk(service: ExchangeService, monkeypatch: pytest.MonkeyPatch) -> SlowDisk:
    return SlowDisk(monkeypatch)


async def test_nobody_sees_an_order_before_it_is_durable(service: ExchangeService, disk: SlowDisk) -> None:
    placing = asyncio.create_task(service.place(limit("a")))
    await asyncio.to_thread(disk.writing.wait, 10)
    seeing = [
        asyncio.create_task(service.query("a")),
        asyncio.create_task(service.place(limit("a"))),
        asyncio.create_task(service.executions(0, 10)),
        asyncio.create_task(service.open_orders()),
        asyncio.create_task(service.cancel("a")),
    ]

    done, _ = await asyncio.wait((placing, *seeing), timeout=0.05)

    assert done == set()
    disk.go_on.set()
    await asyncio.gather(placing, *seeing)
    assert isinstance(seeing[0].result(), OrderView)
    await service.close()


async def test_many_orders_share_one_sync(service: ExchangeService, disk: SlowDisk) -> None:
    first = asyncio.create_task(service.place(limit("first")))
    await asyncio.to_thread(disk.writing.wait, 10)
    others = [asyncio.create_task(service.place(limit(f"a{number}"))) for number in range(100)]

    disk.go_on.set()
    await asyncio.gather(first, *others)

    assert [data.count(b"\n") for data in disk.writes if data] == [1, 100]
    await service.close()


async def test_order_goes_on_without_the_client_that_hung_up(service: ExchangeService, disk: SlowDisk) -> None:
    placing = asyncio.create_task(service.place(limit("a")))
    await asyncio.to_thread(disk.writing.wait, 10)

    placing.cancel()
    disk.go_on.set()

    assert isinstance(await service.query("a"), OrderView)
    await service.close()


async def test_failed_write_is_final(service: ExchangeService, disk: SlowDisk, tmp_path: Path) -> None:
    disk.failure = OSError(errno.ENOSPC, "No space left on device")
    disk.go_on.set()

    with pytest.raises(LogError, match=r"exchange\.log could not be written.*No space left"):
        await service.place(limit("a"))
    disk.failure = None
    with pytest.raises(LogError):
        await service.query("a")
    with pytest.raises(LogError):
        await service.place(limit("b"))

    await service.close()
    reopened = opened(tmp_path)
    assert (await reopened.executions(0, 10)).head == 0
    await reopened.close()


command = st.tuples(
    st.sampled_from("abcdef"), st.sampled_from(["buy", "sell"]), st.none() | st.integers(9, 12), st.integers(0, 20)
)


@given(st.lists(command | st.sampled_from("abcdef"), max_size=30))
def test_replaying_the_log_leads_to_the_same_exchange(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, int | None, int] | str]
) -> None:
    folder = tmp_path_factory.mktemp("log")

    async def run() -> None:
        service = opened(folder)
        for step in steps:
            if isinstance(step, str):
                service.exchange.cancel(step)
            else:
                name, side, price, quantity = step
                order = market(name, side, quantity) if price is None else limit(name, side, str(price), quantity)
                service.exchange.place(order)
        before = shown(service.exchange)
        await service.close()
        service = opened(folder)
        assert shown(service.exchange) == before
        await service.close()

    asyncio.run(run())


def shown(exchange: Exchange) -> tuple[object, ...]:
    return (
        exchange.executions(0, 1000),
        exchange.open_orders().orders,
        [exchange.query(name) for name in "abcdef"],
    )
