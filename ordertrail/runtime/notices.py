"""Sentences for the person at a terminal, on standard error; one that cannot be written is let go."""

import contextlib
import os
import sys
from typing import TextIO


def say(sentence: str) -> None:
    """Write `ordertrail: SENTENCE` as one line."""
    if sys.stderr is not None:
        try:
            # What an answer has in it need not be text.
            sentence = sentence.encode("utf-8", "backslashreplace").decode()
            sys.stderr.write(f"ordertrail: {sentence}\n")
            sys.stderr.flush()
        except (OSError, ValueError):
            lead_nowhere(sys.stderr)


def lead_nowhere(stream: TextIO) -> None:
    """Let a stream whose reader is gone lead to nowhere, or the interpreter's last flush would change the exit code."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        stream.flush()
