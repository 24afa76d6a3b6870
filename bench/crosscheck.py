"""Our load generator beside `wrk`, where that is installed: does ours slow down what it measures?"""

import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

from bench.contenders import CONTENDERS
from bench.database import Postgres
from bench.load.requests import BODY
from bench.measure import load, serve

CHECKED = ("asgi_echo", "fastapi_echo", "ordertrail")
ROUNDS = 3
SECONDS = 4
_LUA = """wrk.method = "POST"
wrk.body = '{body}'
wrk.headers["Content-Type"] = "application/json"
"""


def crosscheck(postgres: Postgres, parent: Path) -> int:
    """Both in turn against the same server, the same requests without keys; prints rates and their ratio."""
    wrk = shutil.which("wrk")
    if wrk is None:
        print("wrk is not installed.", file=sys.stderr)
        return 2
    script = parent / "post.lua"
    script.write_text(_LUA.format(body=BODY.decode()))
    for contender in (c for c in CONTENDERS if c.name in CHECKED):
        folder = parent / f"crosscheck-{contender.name}"
        folder.mkdir()
        with postgres.fresh_database() as url, serve(contender, postgres, folder, url) as server:
            server.wait_for_workers(contender.workers)
            rates: list[tuple[float, float]] = []
            for _ in range(ROUNDS):
                result, _, _ = load(server, connections=256, warm_seconds=1, seconds=SECONDS, rate=None, keys=False)
                ours = result["statuses"].get("201", 0) / result["seconds"]
                address = f"http://127.0.0.1:{server.port}/orders"
                command = [wrk, "-t1", "-c256", f"-d{SECONDS + 1}", "-s", str(script), address]
                printed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
                found = re.search(r"Requests/sec:\s+([\d.]+)", printed)
                assert found is not None, printed
                rates.append((ours, float(found[1])))
        ours, theirs = (statistics.median(column) for column in zip(*rates, strict=True))
        print(f"{contender.name:14} ours {ours:8,.0f}/s   wrk {theirs:8,.0f}/s   ours ÷ wrk {ours / theirs:.2f}")
    return 0
