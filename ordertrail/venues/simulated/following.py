"""The reports of the exchange in this process, as its socket would send them."""

import asyncio

from ordertrail.domain.reason import Cause
from ordertrail.domain.venue_answer import NoAnswer
from ordertrail.venues import venue
from ordertrail.venues.report_frames import read_frame
from ordertrail.venues.venue import Heartbeat, Reports, UnreadableFrame
from simulated_exchange import following, results
from simulated_exchange.log import LogError
from simulated_exchange.service import ExchangeService

SILENCE_SECONDS_MAX = 3 * 2.0


class SimulatedFollowing:
    """What is not received stays in the exchange's log."""

    def __init__(self, frames: following.Following) -> None:
        self.epoch = frames.epoch
        self.head = frames.head
        self._frames = frames

    async def receive(self) -> Reports | Heartbeat | UnreadableFrame | NoAnswer:
        try:
            async with asyncio.timeout(SILENCE_SECONDS_MAX):
                return read_frame(await anext(self._frames))
        except TimeoutError:
            return NoAnswer(Cause.TIMEOUT, f"nothing came for {SILENCE_SECONDS_MAX} s")
        except (StopAsyncIteration, following.ConnectionCut):
            return NoAnswer(Cause.CONNECTION_LOST)
        except LogError:
            return NoAnswer(Cause.EXCHANGE_BROKEN)

    async def close(self) -> None:
        self._frames.close()


async def open_following(
    exchange: ExchangeService, *, after: int, epoch: str | None, timeout_seconds: float
) -> SimulatedFollowing | venue.OtherEpoch | venue.Compacted | NoAnswer:
    """A connection whose first frame has been read, as over the wire."""
    try:
        async with asyncio.timeout(timeout_seconds):
            opened = await exchange.follow(after, epoch)
            if isinstance(opened, results.OtherEpoch | results.Compacted):
                return refusal_of(opened)
            await anext(opened)
            return SimulatedFollowing(opened)
    except TimeoutError:
        return NoAnswer(Cause.TIMEOUT)
    except (StopAsyncIteration, following.ConnectionCut):
        return NoAnswer(Cause.CONNECTION_LOST)
    except LogError:
        return NoAnswer(Cause.EXCHANGE_BROKEN)


def refusal_of(refused: results.OtherEpoch | results.Compacted) -> venue.OtherEpoch | venue.Compacted:
    """Why a position cannot be followed, in our words."""
    if isinstance(refused, results.OtherEpoch):
        return venue.OtherEpoch(refused.epoch, refused.head)
    return venue.Compacted(refused.oldest)
