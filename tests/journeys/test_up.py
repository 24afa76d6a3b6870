"""`ordertrail up` as a person meets it: one command, one order, Ctrl-C, and what happens when things die."""

import contextlib
import json
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import psutil
import pytest

from ordertrail.runtime.settings import STARTED_BY_UP as MARK
from ordertrail.up.up import _end_stale_processes
from tests.support.http_calls import call
from tests.support.orders import SEED_ORDER
from tests.support.postgres import open_folder
from tests.support.until import until

WAIT_SECONDS = 60
ROOT = Path(__file__).parents[2]


class Up:
    """A running `ordertrail up`, and what it says."""

    def __init__(self, data_dir: Path, port: int = 0, *options: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ordertrail", "up", "--port", str(port), *options],
            env={**os.environ, "ORDERTRAIL_DATA_DIR": str(data_dir)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.said = ""
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self._lines.put(line)
        self._lines.put("")

    def hear(self, words: str) -> None:
        """Wait until it has said that."""
        while words not in self.said:
            line = self._lines.get(timeout=WAIT_SECONDS)
            if not line:
                self._lines.put("")
                raise AssertionError(f"it ended without saying {words!r}, but: {self.said}")
            self.said += line

    def url(self, name: str) -> str:
        found = re.search(rf"^  {name} +(\S+)", self.said, re.MULTILINE)
        assert found is not None, self.said
        return found[1]

    def ended(self) -> int:
        """Wait for its end; the exit code."""
        code = self.process.wait(WAIT_SECONDS)
        self._reader.join(WAIT_SECONDS)
        while line := self._lines.get(timeout=WAIT_SECONDS):
            self.said += line
        self._lines.put("")
        return code

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.ended()

    def children(self) -> dict[str, psutil.Process]:
        """By the last word that tells them apart."""
        return {_kind(child): child for child in psutil.Process(self.process.pid).children()}


def _kind(process: psutil.Process) -> str:
    command = process.cmdline()
    if "postgres" in command[0]:
        return "postgres"
    if "nats-server" in command[0]:
        return "nats"
    return (
        "exchange"
        if "simulated_exchange" in command
        else next(x for x in ("api", "feed", "process", "place") if x in command)
    )


@contextlib.contextmanager
def up(data_dir: Path, port: int = 0, *options: str) -> Iterator[Up]:
    running = Up(data_dir, port, *options)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.send_signal(signal.SIGTERM)
        running.ended()


@contextlib.contextmanager
def up_and_ready(data_dir: Path, *options: str) -> Iterator[Up]:
    with up(data_dir, 0, *options) as running:
        running.hear("Ctrl-C stops all of it.")
        yield running


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with open_folder() as folder:
        yield folder / "data"


def statuses(running: Up, order_id: str) -> list[str]:
    _, answer = call("GET", f"{running.url('API')}/orders/{order_id}/trail")
    return [row["status"] for row in answer["trail"]]


def test_the_order_it_shows_is_placed_and_its_trail_is_kept_over_a_restart(data_dir: Path) -> None:
    with up_and_ready(data_dir) as running:
        shown = running.said[running.said.index("curl ") : running.said.index("Ctrl-C stops")]
        body = json.loads(shown[shown.index("{") : shown.rindex("}") + 1])
        status, order = call("POST", shown.split("'")[1], body)
        children = list(running.children().values())
        with urlopen(f"{running.url('API')}/metrics", timeout=WAIT_SECONDS) as metrics:
            counted = metrics.read().decode()
        code = running.stop()

    with up_and_ready(data_dir) as again:
        trail = statuses(again, order["id"])

    assert 'ordertrail_requests_total{status="201"} 1.0' in counted.splitlines()
    assert body == SEED_ORDER
    assert (status, order["status"], trail) == (201, "COMPLETED", ["INITIATED", "COMPLETED"])
    assert code == 0
    assert "Traceback" not in running.said
    # PostgreSQL, the exchange, a worker, a feed, a processor, the API.
    assert len(children) == 6 and not any(child.is_running() for child in children)


def cross(running: Up, instrument: str = "AAPL12345678") -> list[str]:
    """Two orders that are matched with each other; their ids."""
    orders = [SEED_ORDER | {"side": side, "instrument": instrument} for side in ("buy", "sell")]
    answers = [call("POST", f"{running.url('API')}/orders", each) for each in orders]
    assert [status for status, _ in answers] == [201, 201]
    return [order["id"] for _, order in answers]


def order(running: Up, order_id: str) -> dict[str, Any]:
    answer: dict[str, Any] = call("GET", f"{running.url('API')}/orders/{order_id}")[1]
    return answer


@pytest.mark.kills
def test_two_orders_that_cross_are_filled(data_dir: Path) -> None:
    with up_and_ready(data_dir) as running:
        ids = cross(running)
        until(lambda: all(order(running, id_)["status"] == "FILLED" for id_ in ids))
        found = [order(running, id_) for id_ in ids]
        begun = {kind: child.create_time() for kind, child in running.children().items()}
        until(lambda: _metric(running, "ordertrail_execution_rows_total") == 4)

    assert [(each["cum_qty"], each["leaves_qty"], each["avg_px"]) for each in found] == [(10, 0, "150.00")] * 2
    # Whoever waited for the API looks for the fill in the same second.
    assert max(begun["feed"], begun["process"]) <= begun["api"]
    assert [[one["exec_type"] for one in each["executions"]] for each in found] == [["new", "trade"]] * 2
    assert [statuses_of(each) for each in found] == [["INITIATED", "COMPLETED", "FILLED"]] * 2


def statuses_of(found: dict[str, Any]) -> list[str]:
    return [row["status"] for row in found["trail"]]


def _metric(running: Up, name: str) -> float | None:
    with urlopen(f"{running.url('API')}/metrics", timeout=WAIT_SECONDS) as metrics:
        lines = metrics.read().decode().splitlines()
    return next((float(line.split()[-1]) for line in lines if line.startswith(f"{name} ")), None)


@pytest.mark.kills
def test_fills_are_there_once_whatever_dies_meanwhile(data_dir: Path) -> None:
    with up_and_ready(data_dir) as running:
        ids = []
        for number, victim in enumerate(("process", "feed", "exchange", "process", "postgres", "process", "feed")):
            ids += cross(running, f"KILLED00000{number}")
            running.children()[victim].kill()
            running.hear("ended by itself")
            running.said = running.said.replace("ended by itself", "ended")
            # What takes in reports is not waited for: the next orders come while it is away.
            if victim in {"exchange", "postgres"}:
                until(lambda: _placed(running))
            until(lambda victim=victim: victim in running.children())  # type: ignore[misc] # bound now
        until(lambda: all(order(running, id_)["status"] == "FILLED" for id_ in ids), timeout_seconds=WAIT_SECONDS)
        found = [order(running, id_) for id_ in ids]
        _, answer = call("GET", f"{running.url('API')}/positions")

    assert [each["cum_qty"] for each in found] == [10] * len(ids)
    assert [sorted(one["exec_type"] for one in each["executions"]) for each in found] == [["new", "trade"]] * len(ids)
    sums = {each["instrument"]: (each["buy_qty"], each["sell_qty"]) for each in answer["positions"]}
    assert sums == {f"KILLED00000{number}": (10, 10) for number in range(7)}


@pytest.mark.brokers
def test_fills_come_over_nats_also_when_it_is_killed(data_dir: Path) -> None:
    with up_and_ready(data_dir, "--queue", "nats") as running:
        ids = cross(running)
        until(lambda: all(order(running, id_)["status"] == "FILLED" for id_ in ids), timeout_seconds=WAIT_SECONDS)
        running.children()["nats"].kill()
        ids += cross(running)
        until(lambda: all(order(running, id_)["status"] == "FILLED" for id_ in ids), timeout_seconds=WAIT_SECONDS)
        code = running.stop()

    with up_and_ready(data_dir, "--queue", "nats") as again:
        found = [order(again, id_) for id_ in ids]

    assert code == 0
    assert "over nats://127.0.0.1:" in running.said
    assert "The queue ended by itself: ended by SIGKILL" in running.said
    assert [len(each["executions"]) for each in found] == [2] * 4


def command(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """A command that a person types in the folder, with nothing set."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ORDERTRAIL_")}
    return subprocess.run(
        [sys.executable, "-m", "ordertrail", *arguments],
        cwd=folder,
        env={**inherited, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        check=False,
    )


@pytest.mark.kills
def test_commands_find_it_by_its_data_folder_until_it_stops(data_dir: Path) -> None:
    place = ["order", "place", "--type", "market", "--side", "buy", "--instrument", "AAPL12345678", "--quantity", "1"]
    with up_and_ready(data_dir.parent / ".ordertrail") as running:
        placed = command(data_dir.parent, *place)
        listed = command(data_dir.parent, "order", "list", "--json")
        halted = command(data_dir.parent, "halt", "--reason", "lunch")
        turned_away = command(data_dir.parent, *place)
        resumed = command(data_dir.parent, "resume")
        status = command(data_dir.parent, "status", "--json")
        doubts = command(data_dir.parent, "doubts")
        reconciled = command(data_dir.parent, "reconcile", "--once")
        _, ready = call("GET", f"{running.url('API')}/readyz")
        running.stop()
    gone = command(data_dir.parent, *place)

    results = [placed, listed, halted, resumed, doubts, reconciled]
    assert [result.returncode for result in results] == [0] * len(results), [result.stderr for result in results]
    assert [order["quantity"] for order in json.loads(listed.stdout)["orders"]] == [1]
    assert "names no exchange" not in halted.stdout + halted.stderr
    assert turned_away.returncode == 1
    assert json.loads(status.stdout)["ready"]["is_ready"] is True
    assert json.loads(status.stdout)["exchange"]["venue"] == ready["venue"]
    assert ready["venue"] == f"SIMULATED at {running.url('exchange')}"
    assert "SIMULATED, no real order is placed" in running.said
    assert gone.returncode == 2
    assert "ORDERTRAIL_API_URL is not set" in gone.stderr and "make up" in gone.stderr


@pytest.mark.kills
def test_an_order_on_its_way_is_finished_before_anything_under_it_stops(data_dir: Path) -> None:
    with up_and_ready(data_dir) as running, ThreadPoolExecutor(max_workers=1) as client:
        call("PUT", f"{running.url('exchange')}/v1/faults", {"latency_ms": 1500})
        answer = client.submit(call, "POST", f"{running.url('API')}/orders", SEED_ORDER)
        until(lambda: call("GET", f"{running.url('API')}/orders")[1]["orders"])

        code = running.stop()

        assert answer.result(WAIT_SECONDS)[0] == 201
    assert code == 0


@pytest.mark.kills
def test_a_second_ctrl_c_hurries(data_dir: Path) -> None:
    with up_and_ready(data_dir) as running:
        for process in running.children().values():
            if _kind(process) == "api":
                process.suspend()  # it will never drain
        running.process.send_signal(signal.SIGINT)
        running.hear("Stopping")

        code = running.stop()

    assert code == 0
    assert "The API is ended at once." in running.said


@pytest.mark.kills
def test_a_killed_run_leaves_nothing_in_the_way_of_the_next(data_dir: Path) -> None:
    with up_and_ready(data_dir) as running:
        _, order = call("POST", f"{running.url('API')}/orders", SEED_ORDER)
        children = list(running.children().values())
        running.process.kill()

        with up_and_ready(data_dir) as again:
            trail = statuses(again, order["id"])

            # Ended, though whoever inherited them may take a while to notice.
            _, alive = psutil.wait_procs(children, timeout=60)
    assert alive == []
    assert trail == ["INITIATED", "COMPLETED"]


def test_only_marked_processes_are_ended_as_stale(data_dir: Path) -> None:
    data_dir.mkdir()
    waits = [sys.executable, "-c", "input()"]
    other = {**os.environ, MARK: str(data_dir / "other")}
    ours = {**os.environ, MARK: str(data_dir)}
    with (
        subprocess.Popen(waits, stdin=subprocess.PIPE, env=ours) as stale_process,
        subprocess.Popen(waits, stdin=subprocess.PIPE, env=other) as foreign,
    ):
        # Until a process has begun its program, its environment is still a copy of ours.
        for process, mark in ((stale_process, ours), (foreign, other)):
            until(lambda pid=process.pid, mark=mark: psutil.Process(pid).environ().get(MARK) == mark[MARK])  # type: ignore[misc] # bound now

        _end_stale_processes(data_dir)

        assert stale_process.poll() is not None
        assert foreign.poll() is None
        foreign.communicate(b"\n")


@pytest.mark.kills
def test_whatever_dies_is_started_again(data_dir: Path) -> None:
    with up_and_ready(data_dir) as running:
        for kind, name in (
            ("postgres", "The database"),
            ("exchange", "The simulated exchange"),
            ("api", "The API"),
            ("feed", "The feed of execution reports"),
            ("process", "The processor of execution reports"),
        ):
            running.children()[kind].kill()
            running.hear(f"{name} ended by itself")

            until(lambda: _placed(running))


def _placed(running: Up) -> bool:
    try:
        return call("POST", f"{running.url('API')}/orders", SEED_ORDER)[0] == 201
    except OSError:
        return False


def test_a_taken_port_is_named_with_the_way_out(data_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with up(data_dir, port) as running:
            code = running.ended()

    assert code == 2
    assert f"Port {port} is taken" in running.said
    assert f"PORT={port + 1} make up" in running.said
    assert "Traceback" not in running.said


@pytest.mark.kills
def test_a_second_one_on_the_same_data_is_refused(data_dir: Path) -> None:
    with up_and_ready(data_dir) as running, up(data_dir) as second:
        code = second.ended()

        assert code == 2
        assert f"Another `ordertrail up` (process {running.process.pid})" in second.said
        assert call("GET", f"{running.url('API')}/readyz")[0] == 200


def test_a_broken_database_is_explained(data_dir: Path) -> None:
    (data_dir / "postgres" / "data").mkdir(parents=True)
    if os.geteuid() == 0:
        os.chown(data_dir / "postgres" / "data", 65534, 65534)

    with up(data_dir) as running:
        code = running.ended()

    assert code == 2
    assert "no whole PostgreSQL data folder" in running.said
    assert "Traceback" not in running.said


def test_roles_are_as_many_as_are_wanted_and_a_queued_order_is_placed(data_dir: Path) -> None:
    with up_and_ready(data_dir, "--placers", "2", "--processors", "3") as running:
        commands = [" ".join(child.cmdline()) for child in psutil.Process(running.process.pid).children()]
        order = json.dumps(SEED_ORDER).encode()
        headers = {"Content-Type": "application/json", "Prefer": "respond-async, wait=30"}
        with urlopen(Request(f"{running.url('API')}/orders", order, headers), timeout=WAIT_SECONDS) as response:
            status, placed = response.status, json.load(response)

    counts = [sum(command.endswith(f"ordertrail {role}") for command in commands) for role in ("place", "process")]
    assert counts == [2, 3]
    assert (status, placed["outcome"]) == (201, "placed")
    assert "placed by 2 workers" in running.said and "to 3 processors" in running.said
