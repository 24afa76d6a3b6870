"""Which lines are left out, and what is said of them."""

from ordertrail.runtime.telemetry.repeats import LINES_MAX, SENTENCES_MAX, WINDOW_SECONDS, Repeats


class Window:
    def __init__(self) -> None:
        self.reported: list[tuple[str, str, int]] = []
        self.repeats = Repeats(lambda *what: self.reported.append(what))

    def say(self, sentence: str, times: int, now: float, level: str = "error") -> int:
        """How many of these are lines of their own."""
        return [self.repeats.is_too_many(level, sentence, now) for _ in range(times)].count(False)


def test_thousandth_line_is_counted_and_the_count_is_reported_once() -> None:
    window = Window()

    said = window.say("the same", 1000, now=100)
    window.repeats.close_window_if_over(100 + WINDOW_SECONDS / 2)
    before = list(window.reported)
    window.repeats.close_window_if_over(100 + WINDOW_SECONDS)
    window.repeats.close_window_if_over(100 + 2 * WINDOW_SECONDS)

    assert (said, before) == (LINES_MAX, [])
    assert window.reported == [("error", "the same", 1000 - LINES_MAX)]


def test_next_window_says_it_again() -> None:
    window = Window()
    window.say("the same", LINES_MAX + 1, now=100)

    assert window.say("the same", 1, now=100 + WINDOW_SECONDS) == 1
    assert window.reported == [("error", "the same", 1)]


def test_other_sentences_and_levels_are_counted_by_themselves() -> None:
    window = Window()
    window.say("the same", 1000, now=100)

    assert window.say("another", 1, now=100) == 1
    assert window.say("the same", 1, now=100, level="info") == 1


def test_sentences_without_number_take_a_bounded_memory() -> None:
    window = Window()

    for number in range(2 * SENTENCES_MAX):
        assert window.say(f"sentence {number}", 1, now=100) == 1

    assert len(window.repeats._counts) == SENTENCES_MAX
