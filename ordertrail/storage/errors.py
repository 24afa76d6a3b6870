"""How the database fails, in our names: it said no, or nobody knows."""

from ordertrail.domain.errors import OrdertrailError


class StatementFailed(OrdertrailError):
    """The database answered with an error; nothing of the statement remains. `code` is its SQLSTATE."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code

    @property
    def is_about_the_data(self) -> bool:
        """Whether the same would be refused again: SQLSTATE classes 22 (data exception) and 23 (integrity).

        All else may pass: a deadlock, a server short of memory, one that is read-only until it is promoted.
        """
        return self.code[:2] in {"22", "23"}


class StatementOutcomeUnknown(OrdertrailError):
    """The database gave no answer. `may_have_happened` is False where the statement was provably never sent."""

    def __init__(self, text: str, *, may_have_happened: bool) -> None:
        super().__init__(text)
        self.may_have_happened = may_have_happened
