"""The seed's design as its text reads: a `def` handler, a synchronous SQLAlchemy session, a commit a row."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, FastAPI
from sqlalchemy import DateTime, Enum, create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from bench.rivals.order import DATABASE_URL, EXCHANGE_SECONDS, NewOrder, PlacedOrder, make_id

STATUSES = ("INITIATED", "COMPLETED", "EXCHANGE_CREATION_FAILED", "DATABASE_PERSISTENCE_FAILED")

# One connection for each of the 40 threads that FastAPI runs `def` handlers in; two workers fit PostgreSQL's 100.
engine = create_engine(DATABASE_URL.replace("postgresql://", "postgresql+psycopg2://"), pool_size=40, max_overflow=0)
open_session = sessionmaker(engine, expire_on_commit=False)


def utc_now() -> datetime:
    """As the seed's `timestamp` holds it: UTC, and without saying so."""
    return datetime.now(UTC).replace(tzinfo=None)


class Base(DeclarativeBase):
    """The declarative base."""


class OrderEntity(Base):
    """A row of the seed's table."""

    __tablename__ = "orders"

    id: Mapped[str] = mapped_column(primary_key=True)
    status: Mapped[str] = mapped_column(Enum(*STATUSES, name="order_status_enum", create_type=False), primary_key=True)
    created_at: Mapped[datetime] = mapped_column(DateTime, default=utc_now)
    type: Mapped[str]
    side: Mapped[str]
    instrument: Mapped[str]
    limit_price: Mapped[float | None]
    quantity: Mapped[int]


def give_session() -> Iterator[Session]:
    """A session a request."""
    with open_session() as session:
        yield session


app = FastAPI()


@app.post("/orders", status_code=201)
def place(order: NewOrder, session: Annotated[Session, Depends(give_session)]) -> PlacedOrder:
    """Record, send, record."""
    order_id = make_id()
    fields = order.model_dump()
    session.add(OrderEntity(id=order_id, status="INITIATED", **fields))
    session.commit()
    time.sleep(EXCHANGE_SECONDS)
    session.add(OrderEntity(id=order_id, status="COMPLETED", **fields))
    session.commit()
    return PlacedOrder(id=order_id, **fields)
