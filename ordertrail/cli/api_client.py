"""One HTTP request to Ordertrail's API from a program that then ends; says whether a failed one may have arrived."""

import http.client
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit


class RequestNotSent(Exception):
    """The request certainly did not reach the API."""


class RequestOutcomeUnknown(Exception):
    """The request may have reached the API, and no answer came that could be read."""


@dataclass(frozen=True, slots=True)
class ApiReply:
    """A status and a JSON document; an empty one where the body was none."""

    status: int
    document: dict[str, Any]


def request(
    url: str,
    method: str,
    path: str,
    *,
    timeout_seconds: float,
    body: dict[str, Any] | None = None,
    headers: dict[str, str] | None = None,
) -> ApiReply:
    """Send one request; raises NotSent or NoAnswer."""
    place = urlsplit(url)
    if place.scheme not in ("http", "https") or not place.hostname:
        raise RequestNotSent(f"{url} is no address of an API; an address is like http://127.0.0.1:8000.")
    try:
        kind = http.client.HTTPSConnection if place.scheme == "https" else http.client.HTTPConnection
        connection = kind(place.hostname, place.port, timeout=timeout_seconds)
        connection.connect()
    except (OSError, ValueError) as error:
        raise RequestNotSent(f"No connection to {url}: {getattr(error, 'strerror', None) or error}.") from error
    try:
        connection.request(
            method,
            place.path.rstrip("/") + path,
            None if body is None else json.dumps(body),
            {"Accept": "application/json", "Content-Type": "application/json", **(headers or {})},
        )
        response = connection.getresponse()
        text = response.read()
    except (OSError, http.client.HTTPException) as error:
        cause = str(error) or type(error).__name__
        raise RequestOutcomeUnknown(f"The connection to {url} was lost before the answer: {cause}.") from error
    finally:
        connection.close()
    return ApiReply(response.status, _document(text))


def _document(text: bytes) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
