"""Tasks that run as long as their process: an end that nobody asked for is noticed, reported, and ends the process.

What has no owner dies unseen: orders in doubt are never settled any more, the database is not watched, and all looks
well. A process that is started anew has all of its tasks again.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from ordertrail.runtime.telemetry import metrics
from ordertrail.runtime.telemetry.logs import get_logger

_log = get_logger()


class BackgroundTasks:
    """The owner of a process's tasks. `problem` says which has ended, and `when_lost` is called, in its event loop."""

    def __init__(self) -> None:
        self.problem: str | None = None
        self.when_lost: Callable[[], None] = _do_nothing
        self._names: dict[asyncio.Task[Any], str] = {}

    def start(self, name: str, work: Coroutine[Any, Any, Any]) -> None:
        """Run `work`, which is to run until `stop`; `name` completes the sentence "the task of …"."""
        task = asyncio.get_running_loop().create_task(work)
        self._names[task] = name
        task.add_done_callback(self._ended)

    async def stop(self) -> None:
        """Cancel all, and wait until they have let go."""
        tasks = list(self._names)
        self._names.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        error = None if task.cancelled() else task.exception()
        name = self._names.pop(task, None)
        if name is None:
            return  # we have stopped it
        why = "it was cancelled" if task.cancelled() else "it returned" if error is None else type(error).__name__
        self.problem = self.problem or f"The task of {name} has ended ({why}); this process stops, to be started anew."
        try:
            metrics.INVARIANTS_BROKEN.labels("background_task_ended").inc()
            _log.critical("a background task has ended", task=name, why=why, exc_info=error)
        finally:
            self.when_lost()


async def run_together(*work: Coroutine[Any, Any, Any]) -> None:
    """Run all until one of them ends, then cancel the others and wait until they have let go.

    Raises what one has raised; of several, what the first of `work` did.
    """
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(each) for each in work]
    is_abandoned = False
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    except GeneratorExit:
        is_abandoned = True  # no loop runs this any more, and nothing can be waited for
        raise
    finally:
        for task in tasks:
            task.cancel()
        if not is_abandoned:
            await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        if not task.cancelled():
            task.result()


def _do_nothing() -> None:
    """Until somebody says how the process ends."""
