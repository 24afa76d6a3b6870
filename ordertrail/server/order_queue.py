"""The queue of orders in a process: the door to it, and the worker, where there is one."""

from ordertrail.placement.order_intake import OrderIntake
from ordertrail.placement.place_order import Placing
from ordertrail.placement.worker import PlaceWorker, WorkerLimits
from ordertrail.runtime.clock import Clock
from ordertrail.runtime.settings import Settings
from ordertrail.runtime.tasks import BackgroundTasks
from ordertrail.storage.doubt_rows import DoubtRows
from ordertrail.storage.order_queue_rows import ORDER_QUEUE_CHANNEL, OrderQueueRows
from ordertrail.storage.postgres.channel_watch import ChannelWatch
from ordertrail.venues.gateway import Gateway


class OrderQueue:
    """`places`: a worker of this process places what is queued."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        rows: OrderQueueRows,
        *,
        placing: Placing,
        gateway: Gateway,
        doubts: DoubtRows,
        name: str,
        places: bool,
    ) -> None:
        self.worker = (
            PlaceWorker(
                rows,
                placing,
                gateway,
                doubts,
                clock=clock,
                limits=WorkerLimits(
                    in_flight_max=settings.place_in_flight_max, answer_seconds=settings.database_timeout_seconds
                ),
                name=name,
            )
            if places
            else None
        )
        self._watch = ChannelWatch(
            settings.database_url.get_secret_value(),
            channel=ORDER_QUEUE_CHANNEL,
            timeout_seconds=settings.database_timeout_seconds,
        )
        self.intake = OrderIntake(
            placing,
            rows,
            clock,
            orders_max=settings.queue_orders_max,
            wake_up_worker=(lambda: None) if self.worker is None else self.worker.wake_up,
        )

    def start(self, background: BackgroundTasks) -> None:
        """Run all of it."""
        background.start("the depth of the queue of orders", self.intake.watch_depth())
        background.start("notifying workers of queued orders", self.intake.notify_workers())
        if self.worker is not None:
            background.start("placing queued orders", self.worker.run())
            background.start("listening to the queue of orders", self._watch.run(self.worker.wake_up))
