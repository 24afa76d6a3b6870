"""What the exchange promises, as data; it behaves exactly as it promises."""

from typing import Annotated, Literal

import msgspec

Seconds = Annotated[float, msgspec.Meta(ge=0, le=31_536_000)]
UniqueSeconds = Annotated[float, msgspec.Meta(gt=0, le=31_536_000)]


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A set of promises. None for a time means that there is no bound.

    `client_order_id_unique`: for how long a used id is refused again; a number: seconds from its acceptance.
    `exec_id_unique`: whether an id of a report is never used again for its order, or in the same epoch alone.
    `rejected_orders_have_ids`: whether an order that was refused has an id of the exchange's.
    `ask_covers`: whether a query of one order covers all history, or open orders alone.
    """

    client_order_id_unique: Literal["forever", "while_open", "never"] | UniqueSeconds = "forever"
    visible_within_seconds: Seconds | None = 0.0
    accepts_within_seconds: Seconds | None = 10.0
    honours_accept_by: bool = True
    ask_covers: Literal["all", "open_only"] = "all"
    exec_id_unique: Literal["order", "epoch"] = "order"
    rejected_orders_have_ids: bool = True


PROFILES = {
    "durable": Profile(),
    "while_open": Profile(client_order_id_unique="while_open"),
    "ten_minutes": Profile(client_order_id_unique=600.0),
    "open_only": Profile(client_order_id_unique="while_open", ask_covers="open_only"),
    "promises_nothing": Profile(
        client_order_id_unique="never",
        visible_within_seconds=None,
        accepts_within_seconds=None,
        honours_accept_by=False,
    ),
}


def parse_profile(text: str) -> Profile:
    """A profile by its name or as JSON; ValueError with a sentence."""
    if text in PROFILES:
        return PROFILES[text]
    if not text.lstrip().startswith("{"):
        raise ValueError(f"There is no profile {text!r}; there are {', '.join(PROFILES)}, or give JSON.")
    try:
        return msgspec.json.decode(text, type=Profile)
    except msgspec.DecodeError as problem:
        raise ValueError(f"The profile cannot be used: {problem}.") from problem
