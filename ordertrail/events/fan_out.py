"""Events → the readers that want them. An event costs nothing for readers that do not."""

from collections.abc import Iterable, Sequence

from ordertrail.events.reader import End, Reader
from ordertrail.events.shown import Delivery, EventType, ShownEvent


class FanOut:
    """Readers that have all that came before; those of one order are found by its id."""

    def __init__(self) -> None:
        self._of_all: dict[EventType | None, set[Reader]] = {}
        self._of_order: dict[str, set[Reader]] = {}

    def add(self, reader: Reader) -> None:
        """It gets what is published from now on."""
        self._readers_like(reader).add(reader)
        reader.is_live = True

    def remove(self, reader: Reader) -> None:
        """It gets nothing more; harmless where it is not here."""
        if not reader.is_live:
            return
        reader.is_live = False
        readers = self._readers_like(reader)
        readers.discard(reader)
        order_id = reader.wanted.order_id
        if order_id is not None and not readers:
            del self._of_order[order_id]

    def publish(self, events: Sequence[ShownEvent]) -> None:
        """Give each reader those that it wants, in their order; the bytes of a delivery are shared."""
        for wanted_type, readers in self._of_all.items():
            if readers:
                self._push(_of_type(events, wanted_type), readers)
        if self._of_order:
            of_order: dict[str, list[ShownEvent]] = {}
            for event in events:
                if event.order_id in self._of_order:
                    of_order.setdefault(event.order_id, []).append(event)
            for order_id, its_events in of_order.items():
                readers = self._of_order[order_id]
                for wanted_type in {reader.wanted.type for reader in readers}:
                    its_readers = [reader for reader in readers if reader.wanted.type is wanted_type]
                    self._push(_of_type(its_events, wanted_type), its_readers)

    def _push(self, events: Sequence[ShownEvent], readers: Iterable[Reader]) -> None:
        if not events:
            return
        delivery = Delivery(events)
        for reader in [reader for reader in readers if not reader.push(delivery)]:
            self.remove(reader)

    def finish(self, end: End) -> None:
        """Nobody who is here gets anything more."""
        everyone = [reader for group in (*self._of_all.values(), *self._of_order.values()) for reader in group]
        for reader in everyone:
            reader.finish(end)
            self.remove(reader)

    def _readers_like(self, reader: Reader) -> set[Reader]:
        wanted = reader.wanted
        if wanted.order_id is None:
            return self._of_all.setdefault(wanted.type, set())
        return self._of_order.setdefault(wanted.order_id, set())


def _of_type(events: Sequence[ShownEvent], wanted_type: EventType | None) -> Sequence[ShownEvent]:
    return events if wanted_type is None else [event for event in events if event.type is wanted_type]
