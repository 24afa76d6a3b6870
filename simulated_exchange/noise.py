"""Execution reports that come of nothing: an exchange's words that its clients have never heard of."""

from enum import StrEnum

import msgspec

from simulated_exchange.wire import OrderView, ReportView

UNKNOWN_TYPE = "restated"


class Noise(StrEnum):
    """What a report may be that is none of the protocol's, or nobody's."""

    UNKNOWN_TYPE = "unknown_type"
    STRANGER = "stranger"


def noise(kind: Noise, order: OrderView, *, seq: int, exec_id: str, transact_time: str) -> ReportView:
    """Of an unknown type: how `order` stands, though nothing has moved. Of a stranger: an order of nobody's."""
    if kind is Noise.STRANGER:
        order = msgspec.structs.replace(
            order,
            client_order_id=f"stranger-{exec_id}",
            exchange_order_id=f"stranger-{exec_id}",
            ord_status="new",
            cum_qty=0,
            leaves_qty=order.quantity or 1,
            avg_px=None,
            reject_reason=None,
        )
    return ReportView(
        seq=seq,
        exec_id=exec_id,
        exec_type=UNKNOWN_TYPE if kind is Noise.UNKNOWN_TYPE else "new",
        ord_status=order.ord_status,
        client_order_id=order.client_order_id,
        exchange_order_id=order.exchange_order_id,
        last_qty=0,
        last_px=None,
        cum_qty=order.cum_qty,
        leaves_qty=order.leaves_qty,
        avg_px=order.avg_px,
        transact_time=transact_time,
    )
