"""Why a call has no whole reply, by what the client library raised."""

from dataclasses import dataclass, field

import aiohttp

from ordertrail.domain.reason import Cause

# What a call raises that fails on its way.
CALL_ERRORS = (TimeoutError, aiohttp.ClientError, OSError)


@dataclass(frozen=True, slots=True)
class CallFailed:
    """There is no whole reply."""

    cause: Cause
    detail: str = field(default="", compare=False)


def call_failed(error: Exception) -> CallFailed:
    """One of CALL_ERRORS in our words."""
    match error:
        case TimeoutError():
            return CallFailed(Cause.TIMEOUT)
        case aiohttp.ClientConnectorError() | aiohttp.ClientConnectorCertificateError():
            return CallFailed(Cause.CONNECT_FAILED)
        case aiohttp.ClientResponseError():
            return CallFailed(Cause.UNREADABLE, "is no HTTP, or has headers that are too long")
        case _:
            return CallFailed(Cause.CONNECTION_LOST)
