"""Child processes: kept out of the terminal's Ctrl-C, ended politely, found again after a run was killed."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

# Signals to try in turn, each with the seconds to wait for it.
StopSequence = Sequence[tuple[signal.Signals, float]]

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


@dataclass(frozen=True)
class Account:
    """Whom a child runs as, where it must not run as root."""

    uid: int
    gid: int


def spawn(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str],
    output: IO[bytes] | int | None = None,
    account: Account | None = None,
    folder: Path | None = None,
    signal_at_our_death: signal.Signals = signal.SIGTERM,
    takes_input: bool = False,
) -> subprocess.Popen[bytes]:
    """Start a child in a session of its own, so that a Ctrl-C in the terminal reaches us and not it.

    Where the kernel can, it signals the child when we are killed: on Linux, and only from the main thread,
    for the kernel means the death of the *thread* that started the child. Elsewhere the next start finds what
    was left.
    """
    tie = None
    if _libc is not None and threading.current_thread() is threading.main_thread():
        tie = _tie_to(os.getpid(), signal_at_our_death)
    return subprocess.Popen(  # noqa: S603 - the callers' own command lines
        command,
        stdin=subprocess.PIPE if takes_input else subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT if output is not None else None,
        cwd=folder,
        env=environment,
        start_new_session=True,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
        preexec_fn=tie,  # noqa: PLW1509 - it only makes system calls, and takes no lock
    )


def _tie_to(parent: int, death_signal: signal.Signals) -> Callable[[], None]:
    """What runs in the child before its program, and after it gave up root, which would undo this."""
    assert _libc is not None
    prctl = _libc.prctl

    def tie() -> None:
        prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return tie


def end(process: subprocess.Popen[bytes], stop_sequence: StopSequence) -> None:
    """End a child of ours: each signal in turn, then SIGKILL; returns once it is reaped."""
    for number, seconds in stop_sequence:
        if process.poll() is not None:
            return
        process.send_signal(number)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            continue
    if process.poll() is None:
        process.kill()
        process.wait()


def find_stale_processes(is_ours: Callable[[psutil.Process], bool]) -> list[psutil.Process]:
    """Every live process that `is_ours` recognises; those we may not look into are not ours."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE and is_ours(process):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def end_stale_processes(processes: Sequence[psutil.Process], stop_sequence: StopSequence) -> None:
    """End processes that are not our children.

    psutil signals only the very process that was found, never a later one under the same number.
    """
    alive = list(processes)
    for number, seconds in [*stop_sequence, (signal.SIGKILL, 5.0)]:
        for process in alive:
            try:
                process.send_signal(number)
            except psutil.NoSuchProcess:
                continue
        _, alive = psutil.wait_procs(alive, timeout=seconds)
        # A dead process that nobody reaps (a container without an init) holds nothing any more.
        alive = [process for process in alive if not _is_zombie(process)]
        if not alive:
            return


def _is_zombie(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
