"""What the HTTP rivals share, so that they differ in nothing but what they are measured for."""

import os
from typing import Annotated, Literal

import uuid_utils
from pydantic import BaseModel, Field, StringConstraints, TypeAdapter

DATABASE_URL = os.environ.get("BENCH_DATABASE_URL", "")
EXCHANGE_SECONDS = 0.005


class NewOrder(BaseModel):
    """The seed's order, validated as far as a plain service would."""

    type: Literal["market", "limit"]
    side: Literal["buy", "sell"]
    instrument: Annotated[str, StringConstraints(pattern=r"^[A-Z0-9]{12}$")]
    limit_price: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    quantity: Annotated[int, Field(gt=0, le=2_147_483_647)]


class PlacedOrder(NewOrder):
    """The answer to it."""

    id: str
    status: Literal["COMPLETED"] = "COMPLETED"


NEW_ORDER = TypeAdapter(NewOrder)


def make_id() -> str:
    """A time-ordered UUID: kinder to the primary key than a random one, so the rivals get it too."""
    return str(uuid_utils.uuid7())
