"""Values that no protocol has a use for, as JSON text: what may stand in any field that another program fills."""

from collections.abc import Iterator, Mapping

DEEP = 100_000
HOSTILE: Mapping[str, bytes] = {
    "null": b"null",
    "true": b"true",
    "a whole number": b"7",
    "minus one": b"-1",
    "minus zero": b"-0",
    "a fraction": b"1.5",
    "a huge number": b"9" * 5000,
    "a large number": b"9223372036854775808",
    "a number out of range": b"1e400",
    "NaN": b"NaN",
    "Infinity": b"-Infinity",
    "an empty text": b'""',
    "an unknown word": b'"frobnicated"',
    "a NUL": b'"a\\u0000b"',
    "a raw NUL": b'"a\x00b"',
    "a line feed": b'"a\\nb"',
    "a lone surrogate": b'"\\ud800"',
    "no UTF-8": b'"\xff\xfe"',
    "twenty kilobytes": b'"' + b"x" * 20_000 + b'"',
    "an empty list": b"[]",
    "an empty object": b"{}",
    "an object": b'{"a": [{"b": "}]"}]}',
    "a nested list": b"[[[[1]]]]",
    "a deep list": b"[" * DEEP + b"]" * DEEP,
    "a deep object": b'{"a":' * 20_000 + b"1" + b"}" * 20_000,
    "a number of many digits after the point": b"0." + b"1" * 5000,
    "digits of another script": '"٣"'.encode(),
    "an escape sequence of a terminal": b'"\\u001b[2J"',
}


def with_value(document: Mapping[str, bytes], name: str, value: bytes) -> bytes:
    """An object of fields as JSON text, one of them with another value."""
    return _object((key, value if key == name else text) for key, text in document.items())


def without_field(document: Mapping[str, bytes], name: str) -> bytes:
    return _object((key, text) for key, text in document.items() if key != name)


def with_field_twice(document: Mapping[str, bytes], name: str, *, is_escaped: bool = False) -> bytes:
    """The same field once more, with the same value, or under a name that is written otherwise."""
    again = f"\\u{ord(name[0]):04x}{name[1:]}" if is_escaped else name
    return _object([*document.items(), (again, document[name])])


def spoiled(document: Mapping[str, bytes], name: str) -> Iterator[tuple[str, bytes]]:
    """The document with each hostile value in one field, by what is wrong with it."""
    yield "absent", without_field(document, name)
    yield "twice", with_field_twice(document, name)
    yield "twice, escaped", with_field_twice(document, name, is_escaped=True)
    for what, value in HOSTILE.items():
        yield what, with_value(document, name, value)


def _object(fields: object) -> bytes:
    return b"{" + b", ".join(b'"%b": %b' % (key.encode(), text) for key, text in fields) + b"}"  # type: ignore[attr-defined]
