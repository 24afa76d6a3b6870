"""Why something that an exchange sent cannot be understood: the field and a short sentence.

Fields are named as our own structs name them; of the exchange's text at most a printable excerpt is repeated.
"""

import json
import re
from typing import Any, TypeVar

import msgspec

# msgspec's errors are ValueErrors; so is UnicodeDecodeError.
CANNOT_READ = (ValueError, RecursionError)
EXCERPT_LENGTH_MAX = 40
WHY_LENGTH_MAX = 120

_Decoded = TypeVar("_Decoded")

_PATH = re.compile(r" - at `(.*)`\Z", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(\w+)`")
_WORD = re.compile(r"Invalid enum value (.*)\Z", re.DOTALL)
_OTHER_LETTERS = re.compile(r"Expected `str` matching regex .*\Z", re.DOTALL)
_KEYS = re.compile(rb'"([^"]*)"\s*:|"[^"]*"')


class RepeatedKey(ValueError):
    """A key stands twice in one object; which of them is meant cannot be known."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def explain(error: Exception) -> tuple[str, str]:
    """The field, or "" where it is none in particular, and why it cannot be read."""
    if isinstance(error, RecursionError):
        return "", "is nested too deeply"
    if isinstance(error, RepeatedKey):
        return excerpt(error.name), "stands twice"
    if isinstance(error, UnicodeDecodeError):
        return "", "is not UTF-8"
    text = str(error)
    path = _PATH.search(text)
    field = path.group(1).removeprefix("$").removeprefix(".") if path else ""
    text = text[: path.start()] if path else text
    if missing := _MISSING.fullmatch(text):
        return ".".join(filter(None, (field, missing.group(1)))), "is missing"
    if word := _WORD.fullmatch(text):
        text = f"unknown word {excerpt(word.group(1))}"
    elif _OTHER_LETTERS.fullmatch(text):
        text = "too long, empty, or of other characters than it may have"
    return excerpt(field), "".join(filter(str.isprintable, text[:WHY_LENGTH_MAX]))


def sentence(error: Exception) -> str:
    """Field and why in one: `leaves_qty: Expected int`."""
    field, why = explain(error)
    return f"{field}: {why}" if field else why


def excerpt(text: str) -> str:
    """The beginning of a text of the exchange's, as far as it can be printed."""
    return "".join(filter(str.isprintable, text[:EXCERPT_LENGTH_MAX]))


def check_keys(raw: bytes) -> None:
    """Raise RepeatedKey where an object has a key twice, in itself or in what it holds."""
    if b"\\" not in raw:
        # Without escapes, every text ends at the next quote.
        keys = [key for key in _KEYS.findall(raw) if key]
        if len(set(keys)) == len(keys):
            return
    _checking.decode(raw.decode())


def _check_object(pairs: list[tuple[str, Any]]) -> None:
    names: set[str] = set()
    for name, _ in pairs:
        if name in names:
            raise RepeatedKey(name)
        names.add(name)


# Numbers are looked at by nobody, and `int` would refuse long ones in words of its own.
_checking = json.JSONDecoder(object_pairs_hook=_check_object, parse_int=str, parse_float=str, parse_constant=str)


def decode_once(decoder: "msgspec.json.Decoder[_Decoded]", raw: bytes) -> _Decoded:
    """What is written there, each key once; raises one of CANNOT_READ."""
    read: _Decoded = decoder.decode(raw)
    check_keys(raw)
    return read
