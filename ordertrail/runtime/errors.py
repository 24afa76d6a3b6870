"""What ends a process before it has begun."""

from ordertrail.domain.errors import OrdertrailError


class CannotStart(OrdertrailError):
    """The process cannot start; the text says why and what to do."""
