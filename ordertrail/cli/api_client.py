"""One HTTP request to Ordertrail's API from a program that then ends; says whether a failed one may have arrived."""

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

# A page of a list has 500 orders at the most.
REPLY_BYTES_MAX = 8 * 1024 * 1024


class RequestNotSent(Exception):
    """The request certainly did not reach the API."""


class RequestOutcomeUnknown(Exception):
    """The request may have reached the API, and no answer came that could be read."""


@dataclass(frozen=True, slots=True)
class ApiReply:
    """A status and a JSON document; an empty one where the body was none. Whoever answered may not be our API."""

    status: int
    document: dict[str, Any]
    location: str | None = None
    retry_after_seconds: int | None = None


def request(
    url: str,
    method: str,
    path: str,
    *,
    timeout_seconds: float,
    body: dict[str, Any] | None = None,
    headers: dict[str, str] | None = None,
) -> ApiReply:
    """Send one request; the whole answer must be there within `timeout_seconds` of the connection.

    Raises RequestNotSent or RequestOutcomeUnknown, and nothing else, whatever the other side does.
    """
    place, connection = connect(url, timeout_seconds)
    try:
        with cut_after(timeout_seconds, connection.sock) as is_late:
            try:
                reply = _exchange(connection, method, place.path.rstrip("/") + path, body, headers or {})
            except (OSError, http.client.HTTPException, ValueError) as error:
                cause = f"no answer within {timeout_seconds:g} s" if is_late.is_set() else text_of(error)
                raise RequestOutcomeUnknown(f"The connection to {url} was lost before the answer: {cause}.") from error
            if is_late.is_set():
                # What came until then may look whole, where its end is that of the connection.
                raise RequestOutcomeUnknown(f"There was no answer within {timeout_seconds:g} s from {url}.")
            return reply
    finally:
        connection.close()


def connect(url: str, timeout_seconds: float) -> tuple[SplitResult, http.client.HTTPConnection]:
    """A connection to the address, whose every wait ends after so long; RequestNotSent where there is none."""
    try:
        place = urlsplit(url)
        if place.scheme not in ("http", "https") or not place.hostname:
            raise RequestNotSent(f"{url} is no address of an API; an address is like http://127.0.0.1:8000.")
        kind = http.client.HTTPSConnection if place.scheme == "https" else http.client.HTTPConnection
        connection = kind(place.hostname, place.port, timeout=timeout_seconds)
        connection.connect()
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise RequestNotSent(f"No connection to {url}: {getattr(error, 'strerror', None) or error}.") from error
    return place, connection


def _exchange(
    connection: http.client.HTTPConnection,
    method: str,
    target: str,
    body: dict[str, Any] | None,
    headers: dict[str, str],
) -> ApiReply:
    try:
        connection.putrequest(method, target)
    except (ValueError, http.client.InvalidURL) as error:
        raise RequestNotSent(f"The address cannot be sent: {error}.") from error
    content = b"" if body is None else json.dumps(body).encode()
    for name, value in {
        "Accept": "application/json",
        **({} if body is None else {"Content-Type": "application/json", "Content-Length": str(len(content))}),
        **headers,
    }.items():
        connection.putheader(name, value)
    connection.endheaders(content or None)
    response = connection.getresponse()
    return read_reply(response)


def read_reply(response: http.client.HTTPResponse) -> ApiReply:
    """The whole of an answer whose head is there; OSError or HTTPException where it is cut off or too long."""
    received = response.read(REPLY_BYTES_MAX + 1)
    if len(received) > REPLY_BYTES_MAX:
        raise http.client.HTTPException(f"the answer is longer than {REPLY_BYTES_MAX} bytes")
    if response.length:
        raise http.client.IncompleteRead(received, response.length)
    retry_after = response.headers.get("Retry-After", "")
    return ApiReply(
        response.status,
        _document(received),
        response.headers.get("Location"),
        # A moment, which a proxy may say instead, is left aside.
        int(retry_after) if retry_after.isascii() and retry_after.isdigit() and len(retry_after) < 10 else None,
    )


@contextmanager
def cut_after(seconds: float, connected: socket.socket) -> Iterator[threading.Event]:
    """Cut the connection so long after, for each byte that comes begins the socket's own timeout anew."""
    is_late = threading.Event()

    def cut() -> None:
        is_late.set()
        with contextlib.suppress(OSError):
            # Not the method of a TLS socket, which would first take the encryption away under the reader.
            socket.socket.shutdown(connected, socket.SHUT_RDWR)

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield is_late
    finally:
        timer.cancel()


def _document(text: bytes) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def text_of(error: Exception) -> str:
    """What went wrong, never empty."""
    return str(error) or type(error).__name__
