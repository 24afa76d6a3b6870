"""How many calls are under way at once."""


class Slots:
    """At most `number` are taken."""

    __slots__ = ("number", "taken")

    def __init__(self, number: int) -> None:
        assert number >= 1
        self.number = number
        self.taken = 0

    def take(self) -> bool:
        """Take a slot if one is free."""
        if self.taken >= self.number:
            return False
        self.taken += 1
        return True

    def give_back(self) -> None:
        """Give back a slot that was taken."""
        assert self.taken > 0
        self.taken -= 1
