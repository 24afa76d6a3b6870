"""A database URL that cannot be read ends every command with one sentence, which shows no piece of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CANARY = "kN4rY"
UNREADABLE = f"postgresql://ordertrail:{CANARY}@tail@127.0.0.1:1/ordertrail"


@pytest.mark.parametrize(
    "command",
    [
        "api --port 0",
        "api --port 0 --workers 2",
        "check",
        "migrate",
        "doubts",
        "halt --reason x",
        "reconcile --once",
        "status",
    ],
)
def test_every_command_says_the_same_sentence(tmp_path: Path, command: str) -> None:
    environment = {
        **os.environ,
        "ORDERTRAIL_DATABASE_URL": UNREADABLE,
        "ORDERTRAIL_EXCHANGE_URL": "http://127.0.0.1:1",
        "ORDERTRAIL_DATA_DIR": str(tmp_path),
    }

    done = subprocess.run(
        [sys.executable, "-m", "ordertrail", *command.split()],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "ORDERTRAIL_DATABASE_URL cannot be read: an @ stands where none can" in said
    assert CANARY not in said and "Traceback" not in said
    assert said.count("cannot be read") == 1
