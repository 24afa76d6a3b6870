"""Sentences for the person who starts a process, on standard error; one that cannot be written is let go."""

import contextlib
import sys


def say(sentence: str) -> None:
    """Write `ordertrail: SENTENCE` as one line."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(f"ordertrail: {sentence}\n")
            sys.stderr.flush()
