"""The statement that applies reports, alone: fed from memory by processes of their own, without exchange or queue."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench.execution_way import PER_FRAME, Measured, database_cpu, fetch
from bench.servers import ROOT
from ordertrail.queues.queue import Frame
from ordertrail.storage.postgres.database import Database
from ordertrail.storage.postgres.executions import PostgresExecutions

PER_STATEMENT = 4_000
IN_FLIGHT = 1


def make_frames(ids: Sequence[str], reports: int, *, first_seq: int = 1) -> list[Frame]:
    """Frames of trades over orders in turn, some 300 bytes a report."""
    frames = []
    cum = dict.fromkeys(ids, 0)
    for first in range(first_seq, first_seq + reports, PER_FRAME):
        elements = []
        for seq in range(first, first + PER_FRAME):
            id_ = ids[seq * 7919 % len(ids)]
            cum[id_] += 3
            elements.append(
                {
                    "seq": seq, "exec_id": f"E{seq}", "exec_type": "trade", "ord_status": "partially_filled",
                    "client_order_id": id_, "exchange_order_id": f"bench-{seq % len(ids)}", "last_qty": 3,
                    "last_px": "150.25", "cum_qty": cum[id_], "leaves_qty": 2_000_000_000 - cum[id_],
                    "avg_px": "150.25", "transact_time": "2026-11-27T12:00:00.000000Z",
                }
            )  # fmt: skip
        body = json.dumps(elements, separators=(",", ":")).encode()
        frames.append(Frame("bench", "e1", "order", PER_FRAME, first, first + PER_FRAME - 1, body))
    return frames


async def apply_from_memory(url: str, frames: Sequence[Frame]) -> None:
    """What one processor does with its database, without a queue."""
    database = Database(url, timeout_seconds=60, connections_max=IN_FLIGHT)
    await database.open()
    rows = PostgresExecutions(database)
    batch = max(1, PER_STATEMENT // PER_FRAME)
    batches = iter([frames[start : start + batch] for start in range(0, len(frames), batch)])

    async def work() -> None:
        for each in batches:
            await rows.apply_reports(each)

    try:
        await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
    finally:
        await database.close()


def memory_worker(url: str, ids: Path, share: int, shares: int, reports: int) -> None:
    """A processor fed from memory, as a process: says when it is ready, begins at a line, says what it used."""
    frames = make_frames(ids.read_text().split(), reports)[share::shares]
    print("ready", flush=True)
    sys.stdin.readline()
    before = time.process_time()
    asyncio.run(apply_from_memory(url, frames))
    print(json.dumps({"cpu": time.process_time() - before}), flush=True)


def from_memory(url: str, folder: Path, ids: Sequence[str], *, processors: int, reports: int) -> Measured:
    """The statement, by so many processes at once."""
    names = folder / "ids"
    names.write_text("\n".join(ids))
    base = [sys.executable, "-m", "bench.execution_statement", url, str(names)]
    children = [
        subprocess.Popen(
            [*base, str(share), str(processors), str(reports)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for share in range(processors)
    ]  # fmt: skip
    try:
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
        used_before = database_cpu()
        begun = time.monotonic()
        for child in children:
            assert child.stdin is not None
            child.stdin.write("go\n")
            child.stdin.flush()
        used = [json.loads(child.stdout.readline())["cpu"] for child in children if child.stdout is not None]
        seconds = time.monotonic() - begun
        database = database_cpu() - used_before
    finally:
        for child in children:
            child.kill()
            child.wait()
    rows = fetch(url, "SELECT count(*) FROM executions")[0][0]
    assert rows == reports, f"{rows} rows of {reports} reports"
    return Measured(reports / seconds, {"process": sum(used) / reports * 1e6, "PostgreSQL": database / reports * 1e6})


if __name__ == "__main__":
    memory_worker(sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:]))
