"""The folder where the children of `ordertrail up` keep their metrics, so that `/metrics` answers for all of them."""

import contextlib
import shutil
from collections.abc import Mapping
from pathlib import Path

# As the metrics library reads it.
VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


class SharedMetrics:
    """`environment` is what a child needs; empty where the folder cannot be used: each then counts for itself."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.environment: Mapping[str, str] = {}

    def begin(self) -> None:
        """Start anew: what an earlier run has counted is over."""
        shutil.rmtree(self._folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            self.environment = {VARIABLE: str(self._folder)}

    def forget(self, pid: int) -> None:
        """Take away what a child that has ended said of its present moment; what it has counted stays."""
        with contextlib.suppress(OSError):
            for path in self._folder.glob(f"gauge_live*_{pid}.db"):
                path.unlink(missing_ok=True)
