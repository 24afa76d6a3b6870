"""One HTTP call at a time to a program, from outside of any event loop: what it answers, whatever the status."""

import json
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tests.support.orders import SEED_ORDER
from tests.support.programs import Program

WAIT_SECONDS = 60


def call(method: str, url: str, body: object = None, *, key: str | None = None) -> tuple[int, Any]:
    """The status, and the answer's JSON."""
    headers = {"Content-Type": "application/json"} | ({} if key is None else {"Idempotency-Key": key})
    data = None if body is None else json.dumps(body).encode()
    try:
        with urlopen(Request(url, data, headers, method=method), timeout=WAIT_SECONDS) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)


def place(api: Program, key: str | None = None, **changes: object) -> tuple[int, dict[str, Any]]:
    """Place the seed's order, with changes."""
    return call("POST", f"{api.url}/orders", SEED_ORDER | changes, key=key)
