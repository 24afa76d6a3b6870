"""Execution reports of a page, as far as they are compared with rows."""

import msgspec


class ComparableReport(msgspec.Struct, frozen=True, gc=False):
    """A report of the venue's."""

    seq: int
    exec_id: str
    exec_type: str
    client_order_id: str
    last_qty: int
    last_px: str | None = None
    exec_ref_id: str | None = None


_CANNOT_READ = (ValueError, RecursionError)
_page = msgspec.json.Decoder(list[ComparableReport])
_elements = msgspec.json.Decoder(list[msgspec.Raw])
_report = msgspec.json.Decoder(ComparableReport)


def read_comparable(body: bytes) -> tuple[list[ComparableReport], int]:
    """The reports of an array, and how many more of its elements cannot be read."""
    try:
        return _page.decode(body), 0
    except _CANNOT_READ:
        elements = _elements.decode(body)
    reports = [report for raw in elements if (report := _read(bytes(raw))) is not None]
    return reports, len(elements) - len(reports)


def _read(raw: bytes) -> ComparableReport | None:
    try:
        return _report.decode(raw)
    except _CANNOT_READ:
        return None
