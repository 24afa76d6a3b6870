"""How the database fails, in our names: it said no, or the outcome is unknown."""

from ordertrail.domain.errors import OrdertrailError

# By SQLSTATE. A statement that is refused for its data would be refused again.
_DATA_CLASSES = ("22", "23")
# A transaction that was ended for others' sake, or is read-only on a standby; resources; locks and states.
_UNABLE_TO_SERVE_CLASSES = ("25", "40", "53", "55")
# No such table, column or type: the schema is not there yet, or is being changed.
_NOT_MIGRATED_CODES = ("42P01", "42703", "42704")


class StatementFailed(OrdertrailError):
    """The database answered with an error; nothing of the statement remains. `code` is its SQLSTATE."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code

    @property
    def is_about_the_data(self) -> bool:
        """Whether the same would be refused again.

        All else may pass: a deadlock, a server short of memory, one that is read-only until it is promoted.
        """
        return self.code[:2] in _DATA_CLASSES

    @property
    def is_unable_to_serve(self) -> bool:
        """Whether the database is there and cannot serve just now; of what is left, a statement of ours is wrong."""
        return self.code[:2] in _UNABLE_TO_SERVE_CLASSES or self.code in _NOT_MIGRATED_CODES


class StatementOutcomeUnknown(OrdertrailError):
    """The database gave no answer. `may_have_happened` is False where the statement was provably never sent."""

    def __init__(self, text: str, *, may_have_happened: bool) -> None:
        super().__init__(text)
        self.may_have_happened = may_have_happened
