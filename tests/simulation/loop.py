"""An event loop in which time is a number and processes can die: the same seed gives the same run, to the letter.

Code runs in the context of a process. When that is killed, nothing of it ever runs again, no `finally` either; when
it is stopped, what became due waits until it goes on. Nothing here reads a clock or waits for anything.
"""

import asyncio
import contextvars
import gc
import heapq
import sys
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

from typing_extensions import override

_T = TypeVar("_T")

CLOSES_MAX = 20


class Killed(BaseException):
    """Ends what the process was doing when it was killed from within."""


class Process:
    """What lives and dies together; `None` stands for the world around, which does not die."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_alive = True
        self.is_stopped = False
        self.backlog: list[asyncio.Handle] = []
        self.context = contextvars.Context()
        self.context.run(CURRENT.set, self)


CURRENT: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


class NothingLeft(Exception):
    """Nothing is due and nothing ever will be: somebody waits for what cannot come."""


class _Handle(asyncio.Handle):
    """As asyncio's, without its care for debugging: a run makes some thousand of them."""

    __slots__ = ()

    def __init__(
        self,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: asyncio.AbstractEventLoop,
        context: contextvars.Context | None,
    ) -> None:
        self._context = contextvars.copy_context() if context is None else context
        self._loop = loop
        self._callback = callback
        self._args = args
        self._cancelled = False
        self._repr = None
        self._source_traceback = None

    @override
    def cancel(self) -> None:
        self._cancelled = True
        self._callback = self._args = None  # type: ignore[assignment]  # asyncio does so, too


class _Timer(_Handle, asyncio.TimerHandle):
    """The same, later."""

    __slots__ = ()

    def __init__(self, when: float, *of: Any) -> None:
        _Handle.__init__(self, *of)
        self._when = when
        self._scheduled = False


class SimulationLoop(asyncio.BaseEventLoop):
    """`executor_seconds()` says how long work in a thread takes."""

    def __init__(self, executor_seconds: Callable[[], float]) -> None:
        super().__init__()
        self._now = 0.0
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._timers_made = 0
        self._executor_seconds = executor_seconds
        # What belongs to the dead is kept to the end, for to collect it would run its `finally`s.
        self.graveyard: list[Any] = []
        self.set_exception_handler(self._note_exception)
        self.exceptions: list[dict[str, Any]] = []

    @override
    def time(self) -> float:
        return self._now

    def kill(self, process: Process) -> None:
        """From now on nothing of it runs."""
        process.is_alive = False
        self.graveyard += process.backlog
        process.backlog = []

    def stop_process(self, process: Process) -> None:
        """Nothing of it runs until it is continued."""
        process.is_stopped = True

    def continue_process(self, process: Process) -> None:
        """It goes on with what became due meanwhile, in its order."""
        process.is_stopped = False
        self._ready.extend(process.backlog)  # type: ignore[attr-defined]
        process.backlog = []

    def bury(self) -> None:
        """End what never ended, now that nothing depends on it any more; `gc` must not have done so before."""
        hook = sys.unraisablehook
        sys.unraisablehook = lambda _: None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for task in asyncio.all_tasks(self):
                    task._log_destroy_pending = False  # type: ignore[attr-defined]
                    _close(task.get_coro())
                self._ready.clear()  # type: ignore[attr-defined]
                self._timers.clear()
                self.graveyard.clear()
                gc.collect()
        finally:
            sys.unraisablehook = hook

    @override
    def call_at(  # type: ignore[override]  # as asyncio has it, without the types of what is passed on
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        # Numbered, so that of two at the same moment the first is the first, and compared without asking Python.
        timer = _Timer(when, callback, args, self, context)
        self._timers_made += 1
        heapq.heappush(self._timers, (when, self._timers_made, timer))
        return timer

    # The stub binds the types of `args` to those of `callback`; both are passed on as they came.
    @override
    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    @override
    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        self._check_closed()  # type: ignore[attr-defined]  # asyncio's own, and in no stub, as what is below
        handle = _Handle(callback, args, self, context)
        self._ready.append(handle)  # type: ignore[attr-defined]
        return handle

    def _run_once(self) -> None:
        ready, timers = self._ready, self._timers  # type: ignore[attr-defined]  # asyncio's own, and in no stub
        if not ready:
            while timers and timers[0][2]._cancelled:
                heapq.heappop(timers)
            if not timers:
                raise NothingLeft
            self._now = max(self._now, timers[0][0])
        while timers and timers[0][0] <= self._now:
            timer = heapq.heappop(timers)[2]
            if not timer._cancelled:
                ready.append(timer)
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle._cancelled:
                continue
            context = handle._context
            process = context.get(CURRENT)
            if process is not None:
                if not process.is_alive:
                    self.graveyard.append(handle)
                    continue
                if process.is_stopped:
                    process.backlog.append(handle)
                    continue
            try:
                context.run(handle._callback, *handle._args)
            except Exception as error:  # noqa: BLE001 - told at the end of the run
                self.exceptions.append({"message": f"in {handle._callback}", "exception": error})

    @override
    def run_in_executor(self, executor: Any, func: Callable[..., _T], *args: Any) -> "asyncio.Future[_T]":  # type: ignore[override]
        """Threads take time too, but there is one order of things."""
        done: asyncio.Future[_T] = self.create_future()
        self.call_later(self._executor_seconds(), _work, done, func, args)
        return done

    def _write_to_self(self) -> None:
        pass

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass

    def _note_exception(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if "was destroyed but it is pending" not in context["message"]:
            self.exceptions.append(context)


def _close(coroutine: Any) -> None:
    """Some do not end at once: they catch whatever is raised in them, and go on."""
    for _ in range(CLOSES_MAX):
        try:
            coroutine.close()
        except BaseException:  # noqa: BLE001 - of a life that is over
            continue
        return


def _work(done: "asyncio.Future[Any]", func: Callable[..., Any], args: tuple[Any, ...]) -> None:
    if done.cancelled():
        return
    try:
        result = func(*args)
    except StopIteration as error:
        # A future cannot carry it, and a thread cannot either.
        done.set_exception(RuntimeError(repr(error)))
    except Exception as error:  # noqa: BLE001 - it belongs to whoever waits
        done.set_exception(error)
    else:
        done.set_result(result)
