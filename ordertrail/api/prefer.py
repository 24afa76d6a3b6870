"""The header `Prefer` (RFC 7240): what a client would like, and need not get."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

# Preferences stand between commas, but for commas within quotes; a quote that is never closed goes to the end.
_PREFERENCE = re.compile(r'(?:"(?:[^"\\]|\\.)*(?:"|$)|[^,"])+')
# `name`, `name=word` or `name="words"`, and whatever parameters.
_NAME_AND_WORD = re.compile(r'\s*([^\s",;=]+)\s*(?:=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",;=]*)))?\s*(?:;.*)?', re.DOTALL)
WAIT_SECONDS_MAX = 30
# So many of what clients have said, and nothing longer.
_KEPT, _KEPT_BYTES_MAX = 128, 64
_SECONDS = re.compile(r"\d{1,9}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Preferences:
    """Of those that we know. `wait_seconds`: as the client wrote it, whatever we grant; None: it asks for none."""

    respond_async: bool
    wait_seconds: float | None


def parse_prefer(headers: Iterable[tuple[bytes, bytes]]) -> Preferences:
    """Read all `prefer` headers, whose names are in lower case. Of a preference that is given twice the first counts;
    what is unknown or malformed is ignored, as the standard wants."""
    values = tuple(value for name, value in headers if name == b"prefer")
    # A client says the same with each order.
    read = _read_again if sum(map(len, values)) <= _KEPT_BYTES_MAX else _read
    return read(values)


def _read(values: tuple[bytes, ...]) -> Preferences:
    given: dict[str, str] = {}
    for value in values:
        for preference, word in _preferences(value.decode("latin-1")):
            given.setdefault(preference.lower(), word)
    wait = given.get("wait", "")
    return Preferences("respond-async" in given, float(wait) if _SECONDS.fullmatch(wait) else None)


_read_again = lru_cache(maxsize=_KEPT)(_read)


def wait_seconds_granted(headers: Iterable[tuple[bytes, bytes]]) -> float | None:
    """How long a request may wait for its answer; None: it does not ask for it."""
    wait_seconds = parse_prefer(headers).wait_seconds
    return None if wait_seconds is None else min(wait_seconds, WAIT_SECONDS_MAX)


def preference_applied(wait_seconds: float | None) -> dict[str, str]:
    """The header that says how long was granted."""
    return {} if wait_seconds is None else {"Preference-Applied": f"wait={wait_seconds:.0f}"}


def _preferences(text: str) -> Iterable[tuple[str, str]]:
    for preference in _PREFERENCE.findall(text):
        if match := _NAME_AND_WORD.fullmatch(preference):
            name, quoted, word = match.groups()
            yield name, word or re.sub(r"\\(.)", r"\1", quoted or "")
