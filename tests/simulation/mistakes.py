"""The mistake of a canary while it is in place, and the proof that runs came to it.

A canary can go stale in silence: what it replaces is still there and nothing calls it any more, the branch in which it
is wrong is never taken, or its own code fails on a name that has changed, and is found out for that. So `patch`, in
other respects unittest.mock's, counts each passage of what it puts in place and notes where that does not fit the
service; and the broken code says `made` where it does what the service would not have done.
"""

import inspect
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import wraps
from typing import Any
from unittest import mock

# What Python raises where a name or a signature has changed.
MISFITS = (AttributeError, NameError, TypeError)


@dataclass
class Mistake:
    """`passages` of each place where something was replaced: 0 for one that no run has come to."""

    passages: Counter[str] = field(default_factory=Counter)
    times_made: int = 0
    misfits: list[str] = field(default_factory=list)

    @property
    def stale(self) -> list[str]:
        """Why the canary proves nothing, in words; none: it was reached, and did what it is there for."""
        places = [place for place, count in self.passages.items() if not count]
        unmade = [] if self.times_made else ["the mistake itself"]
        return [*(f"never reached: {place}" for place in [*places, *unmade]), *dict.fromkeys(self.misfits)]

    def counted(self, place: str, broken: Callable[..., Any]) -> Callable[..., Any]:
        """The broken code, with its passages counted under this name."""
        self.passages[place] += 0

        @wraps(broken)
        def passed(*arguments: Any, **named: Any) -> Any:
            self.passages[place] += 1
            with self._fitting(place):
                result = broken(*arguments, **named)
            return self._awaited(place, result) if inspect.iscoroutine(result) else result

        return passed

    async def _awaited(self, place: str, coroutine: Coroutine[Any, Any, Any]) -> Any:
        with self._fitting(place):
            return await coroutine

    @contextmanager
    def _fitting(self, place: str) -> Iterator[None]:
        try:
            yield
        except MISFITS as error:
            self.misfits.append(f"does not fit the service: {place}: {error!r}")
            raise


_present: list[Mistake] = []


@contextmanager
def in_place(make: Callable[[], Iterator[None]]) -> Iterator[Mistake]:
    """The context in which a canary's generator has put its broken code in place."""
    mistake = Mistake()
    _present.append(mistake)
    try:
        with contextmanager(make)():
            yield mistake
    finally:
        _present.remove(mistake)


def made(result: Any = None) -> Any:
    """Say that here the broken code does what the service would not have done; gives back what it is given."""
    _present[-1].times_made += 1
    return result


class _Patch:
    """Replaces what is there, and only that, until the end of a context; passages are counted."""

    def object(self, owner: Any, name: str, broken: Callable[..., Any]) -> AbstractContextManager[Any]:
        """AttributeError where the owner has no such name."""
        counted = _present[-1].counted(f"{owner.__name__}.{name}", broken)
        return mock.patch.object(owner, name, counted)

    def dict(
        self, statements: Any, changes: Mapping[str, tuple[str, Callable[..., Any]]]
    ) -> AbstractContextManager[Any]:
        """KeyError where there is no such statement."""
        counted = {}
        for sql, (name, broken) in changes.items():
            assert statements[sql][0] == name
            counted[sql] = (name, _present[-1].counted(name, broken))
        return mock.patch.dict(statements, counted)

    def instance(self, owner: Any, name: str, broken: Callable[..., Any]) -> None:
        """For the life of this one object; AttributeError where it has no such name."""
        getattr(owner, name)
        setattr(owner, name, _present[-1].counted(f"{type(owner).__name__}.{name}", broken))


patch = _Patch()
