"""What a sweep could not understand: kept for a person, few a pass, counted and reported; nothing is read into it."""

from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b

from ordertrail.runtime.telemetry import metrics
from ordertrail.runtime.telemetry.logs import get_logger
from ordertrail.storage.parked_rows import ParkedRows, ParkedThing
from ordertrail.venues.venue import ThingKind, UnreadableElement

_log = get_logger()

NEW_PER_PASS_MAX = 100
LOGGED_PER_PASS_MAX = 10
THINGS_PER_STATEMENT = 100
# Of so many it is remembered that they are kept, so that what is shown again and again is written once.
REMEMBERED_MAX = 10_000


class Parking:
    """Where a sweep leaves what it does not understand; one for all its passes."""

    def __init__(self, rows: ParkedRows, *, venue: str) -> None:
        self._rows = rows
        self.venue = venue
        self._kept: OrderedDict[bytes, None] = OrderedDict()

    def begin_pass(self) -> "ParkingPass":
        """A pass has limits of its own."""
        return ParkingPass(self)

    async def keep(self, things: Sequence[ParkedThing], *, new_max: int) -> dict[bytes, bool]:
        """Keep them; returns what is kept, and whether it is new."""
        kept = {thing.fingerprint: False for thing in things if thing.fingerprint in self._kept}
        rest = [thing for thing in things if thing.fingerprint not in kept]
        if rest:
            kept |= await self._rows.park(self.venue, rest, new_max=new_max)
        for fingerprint in kept:
            self._kept[fingerprint] = None
            self._kept.move_to_end(fingerprint)
        while len(self._kept) > REMEMBERED_MAX:
            self._kept.popitem(last=False)
        return kept

    async def count_open(self) -> int:
        """How many are open, whoever parked them."""
        return await self._rows.count_parked()

    def thing_of(self, element: UnreadableElement, epoch: str | None) -> ParkedThing:
        """An element as it is kept.

        An execution report is the same whenever it is sent; an open order changes while it is traded, and is the same
        one by its ids, where they can be read.
        """
        ids = (element.client_order_id, element.exchange_order_id)
        is_known = element.kind == ThingKind.OPEN_ORDER and any(ids)
        what = repr((ids, element.field)).encode() if is_known else element.raw
        mark = repr((self.venue, element.kind, epoch)).encode()
        return ParkedThing(
            element.kind,
            element.field or None,
            element.why,
            element.raw,
            blake2b(mark + b"\0" + what, digest_size=20).digest(),
            order_id=element.client_order_id,
            epoch=epoch,
            seq=element.seq,
        )


class ParkingPass:
    """One pass: `new` things were kept in it, and `dropped` could not be."""

    def __init__(self, parking: Parking) -> None:
        self._parking = parking
        self.new = 0
        self.dropped = 0

    async def park(self, elements: Sequence[UnreadableElement], *, epoch: str | None, dropped: int = 0) -> None:
        """Keep what can be kept of these; `dropped` more are not even here."""
        if dropped:
            self._drop(ThingKind.OPEN_ORDER, dropped)
        for start in range(0, len(elements), THINGS_PER_STATEMENT):
            things = [self._parking.thing_of(each, epoch) for each in elements[start : start + THINGS_PER_STATEMENT]]
            kept = await self._parking.keep(things, new_max=NEW_PER_PASS_MAX - self.new)
            for thing in things:
                is_new = kept.get(thing.fingerprint)
                if is_new is None:
                    self._drop(thing.kind, 1)
                elif is_new:
                    kept[thing.fingerprint] = False  # the same thing twice is one
                    self._report(thing)

    def end(self) -> None:
        """Say in one line what was not said of each."""
        unsaid = self.new - LOGGED_PER_PASS_MAX
        if self.dropped or unsaid > 0:
            _log.error(
                "more things that the exchange sent cannot be understood",
                venue=self._parking.venue,
                parked=max(unsaid, 0),
                not_kept=self.dropped,
            )

    def _report(self, thing: ParkedThing) -> None:
        self.new += 1
        metrics.PARKED.labels(thing.kind).inc()
        if self.new <= LOGGED_PER_PASS_MAX:
            _log.error(
                "a thing that the exchange sent cannot be understood",
                venue=self._parking.venue,
                kind=thing.kind,
                field=thing.field,
                reason=thing.reason,
                order_id=thing.order_id,
                seq=thing.seq,
            )

    def _drop(self, kind: str, count: int) -> None:
        self.dropped += count
        metrics.PARKED_DROPPED.labels(kind).inc(count)
