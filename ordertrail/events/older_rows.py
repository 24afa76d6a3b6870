"""Rows that are older than those in memory, and marks that are looked up: one statement at a time for all readers.

Pages go from place to place in the order of the log, and each serves all readers whose place is in it. A run goes on
from page to page as long as readers wait where the last one ended; so readers that came back together soon share their
pages, and none waits for longer than a run of each other.
"""

import asyncio
from collections.abc import Callable

from ordertrail.events.reader import Reader
from ordertrail.events.shown import show_rows
from ordertrail.events.trouble import Trouble
from ordertrail.runtime.clock import Clock
from ordertrail.storage.errors import StatementFailed, StatementOutcomeUnknown
from ordertrail.storage.event_rows import Event, EventLog, LogMark, MarkGone

PAGE_EVENTS_MAX = 500
RUN_PAGES_MAX = 64
LOOKUPS_MAX = 500
RETRY_SECONDS = 0.5


class OlderRows:
    """The lane to the database of all readers that are not at the log's end."""

    def __init__(self, log: EventLog, clock: Clock, *, data_of: Callable[[Event], bytes]) -> None:
        self._log = log
        self._clock = clock
        self._data_of = data_of
        self._readers: dict[LogMark, set[Reader]] = {}
        self._lookups: dict[LogMark, list[asyncio.Future[MarkGone | None]]] = {}
        self._oldest: list[asyncio.Future[LogMark]] = []
        self._has_work = asyncio.Event()
        self._last_end: LogMark | None = None
        self._run_start: tuple[int, int] = (0, 0)
        self._run_pages = 0
        self._trouble = Trouble("older rows of the event log cannot be read")

    async def is_there(self, mark: LogMark) -> MarkGone | None:
        """Whether what follows the mark can be read: None, or why not. Raises as the log does."""
        found: asyncio.Future[MarkGone | None] = asyncio.get_running_loop().create_future()
        self._lookups.setdefault(mark, []).append(found)
        self._has_work.set()
        return await found

    async def oldest(self) -> LogMark:
        """The place before the first row that is kept. Raises as the log does."""
        found: asyncio.Future[LogMark] = asyncio.get_running_loop().create_future()
        self._oldest.append(found)
        self._has_work.set()
        return await found

    def request_page(self, reader: Reader) -> None:
        """Bring the reader a page of what follows its place; as often as the database has to be tried."""
        reader.awaits_page = True
        self._readers.setdefault(reader.position.mark, set()).add(reader)
        self._has_work.set()

    def forget(self, reader: Reader) -> None:
        """It needs nothing any more."""
        mark = reader.position.mark
        if (readers := self._readers.get(mark)) is not None:
            readers.discard(reader)
            if not readers:
                del self._readers[mark]

    async def run(self) -> None:
        """Serve whatever is requested, until cancelled."""
        while True:
            await self._has_work.wait()
            if pause_seconds := await self.run_once():
                await self._clock.sleep(pause_seconds)

    async def run_once(self) -> float:
        """Look up all that is to be looked up, and read one page; how long to pause before the next time."""
        self._has_work.clear()
        try:
            await self._check_marks()
            await self._find_oldest()
            await self._read_page()
        except (StatementFailed, StatementOutcomeUnknown) as error:
            self._trouble.report(error)
        except Exception as error:  # noqa: BLE001 - a mistake in here must not end the process that places orders
            self._trouble.report(error)
        else:
            self._trouble.is_over()
            self._go_on()
            return 0
        self._go_on()
        return RETRY_SECONDS

    def _go_on(self) -> None:
        if self._readers or self._lookups or self._oldest:
            self._has_work.set()

    async def _check_marks(self) -> None:
        marks = list(self._lookups)[:LOOKUPS_MAX]
        if not marks:
            return
        requested = {mark: self._lookups.pop(mark) for mark in marks}
        try:
            answers = await self._log.are_there(marks)
        except Exception as error:
            _fail([future for futures in requested.values() for future in futures], error)
            raise
        for mark, answer in zip(marks, answers, strict=True):
            for future in requested[mark]:
                if not future.done():
                    future.set_result(answer)

    async def _find_oldest(self) -> None:
        requested, self._oldest = self._oldest, []
        if not requested:
            return
        try:
            oldest = await self._log.oldest()
        except Exception as error:
            _fail(requested, error)
            raise
        for future in requested:
            if not future.done():
                future.set_result(oldest)

    async def _read_page(self) -> None:
        after = self._next_place()
        if after is None:
            return
        page = await self._log.read(after, events_max=PAGE_EVENTS_MAX)
        if isinstance(page, MarkGone):
            for reader in self._readers.pop(after, ()):
                reader.bring(page)
            return
        rows = show_rows(after, page.rows, self._data_of)
        self._last_end = rows[-1].mark if rows else None
        if not rows:
            for reader in self._readers.pop(after, ()):
                reader.bring(())
        for index, row in enumerate(rows):
            for reader in self._readers.pop(row.before, ()):
                reader.bring(rows[index:])

    def _next_place(self) -> LogMark | None:
        """Where the last page ended, if anybody is there and the run is not too long; else the next place after the
        start of the last run, and after the last place the first again."""
        if not self._readers:
            return None
        if self._last_end in self._readers and self._run_pages < RUN_PAGES_MAX:
            self._run_pages += 1
            return self._last_end
        later = [mark for mark in self._readers if _place(mark) > self._run_start]
        after = min(later or self._readers, key=_place)
        self._run_start, self._run_pages = _place(after), 1
        return after


def _place(mark: LogMark) -> tuple[int, int]:
    return (mark.txid, mark.id)


def _fail(requested: "list[asyncio.Future[MarkGone | None]] | list[asyncio.Future[LogMark]]", error: Exception) -> None:
    for future in requested:
        if not future.done():
            future.set_exception(error)
