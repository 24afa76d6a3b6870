"""A worker's line to its parent, where the parent is gone."""

import multiprocessing
import os
import threading

import pytest

from ordertrail.server import workers
from ordertrail.server.workers import Parent

WAIT_SECONDS = 30


def test_worker_that_is_ready_as_its_parent_goes_does_not_fail() -> None:
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    ours.close()

    Parent(theirs).say_ready()

    theirs.close()


def test_worker_that_is_stuck_after_its_parent_has_gone_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[object] = []
    is_over = threading.Event()

    def exit_with(code: int) -> None:
        happened.append(code)
        is_over.set()

    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    monkeypatch.setattr(workers, "STUCK_SECONDS", 0.0)
    monkeypatch.setattr(os, "_exit", exit_with)

    Parent(theirs).when_gone(lambda: happened.append("stop"), end_seconds=0)
    ours.close()

    assert is_over.wait(WAIT_SECONDS)
    assert happened == ["stop", 1]
    theirs.close()
