"""Whether requests should be sent to this process now, and why not."""

from ordertrail.runtime.tasks import BackgroundTasks
from ordertrail.storage.postgres.watch import DatabaseWatch
from ordertrail.storage.spool import Spool


class Readiness:
    """One process's; what comes all the same is served."""

    def __init__(self, watch: DatabaseWatch, spool: Spool, background: BackgroundTasks) -> None:
        self._watch = watch
        self._spool = spool
        self._background = background
        self._is_draining = False

    def start_draining(self) -> None:
        """From now on the process stops, and no more requests should come."""
        self._is_draining = True

    def problems(self) -> list[str]:
        """Why orders cannot be taken now, in sentences; none: they can."""
        stopping = "This process is stopping." if self._is_draining else None
        problems = (stopping, self._background.problem, self._watch.problem, self._spool.problem)
        return [problem for problem in problems if problem is not None]
