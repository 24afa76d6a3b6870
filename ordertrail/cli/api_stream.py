"""A request to Ordertrail's API whose answer does not end: a stream of bytes, until the connection is lost."""

import http.client
from collections.abc import Iterator
from contextlib import contextmanager

from ordertrail.cli.api_client import (
    ApiReply,
    RequestNotSent,
    RequestOutcomeUnknown,
    connect,
    cut_after,
    read_reply,
    text_of,
)

MEDIA_TYPE = "text/event-stream"
CHUNK_BYTES_MAX = 64 * 1024


class StreamCut(Exception):
    """The stream has ended before its reader wanted it to: the text says how."""


@contextmanager
def open_stream(
    url: str, path: str, *, headers: dict[str, str], silence_seconds_max: float
) -> Iterator[Iterator[bytes] | ApiReply]:
    """The stream's bytes as they come, or the answer that is none; StreamCut from the iterator where it is lost.

    The head, and the whole of an answer that is no stream, must be there within `silence_seconds_max`, and so must
    each further byte. Raises RequestNotSent and RequestOutcomeUnknown as `api_client.request`.
    """
    place, connection = connect(url, silence_seconds_max)
    reply: http.client.HTTPResponse | ApiReply | None = None
    try:
        with cut_after(silence_seconds_max, connection.sock) as is_late:
            try:
                reply = _request_stream(connection, place.path.rstrip("/") + path, headers)
            except (OSError, http.client.HTTPException, ValueError) as error:
                cause = f"no answer within {silence_seconds_max:g} s" if is_late.is_set() else text_of(error)
                raise RequestOutcomeUnknown(f"The connection to {url} was lost before the answer: {cause}.") from error
            if is_late.is_set():
                raise RequestOutcomeUnknown(f"There was no answer within {silence_seconds_max:g} s from {url}.")
        yield reply if isinstance(reply, ApiReply) else _chunks(reply, url, silence_seconds_max)
    finally:
        if isinstance(reply, http.client.HTTPResponse):
            reply.close()  # the connection is its own, where the API has said that it closes it
        connection.close()


def _request_stream(
    connection: http.client.HTTPConnection, target: str, headers: dict[str, str]
) -> http.client.HTTPResponse | ApiReply:
    try:
        connection.putrequest("GET", target)
        for name, value in {"Accept": MEDIA_TYPE, "Cache-Control": "no-store", **headers}.items():
            connection.putheader(name, value)
    except (ValueError, http.client.InvalidURL) as error:
        raise RequestNotSent(f"The request cannot be sent: {error}.") from error
    connection.endheaders()
    response = connection.getresponse()
    is_stream = response.status == 200 and response.headers.get_content_type() == MEDIA_TYPE
    return response if is_stream else read_reply(response)


def _chunks(response: http.client.HTTPResponse, url: str, silence_seconds_max: float) -> Iterator[bytes]:
    try:
        while chunk := response.read1(CHUNK_BYTES_MAX):
            yield chunk
    except TimeoutError as error:
        raise StreamCut(f"Nothing has come from {url} for {silence_seconds_max:g} s.") from error
    except http.client.IncompleteRead as error:
        raise StreamCut(f"The connection to {url} was cut off.") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise StreamCut(f"The connection to {url} was lost: {text_of(error)}.") from error
    raise StreamCut(f"The connection to {url} was ended.")
