"""Make `.venv` fit a lock file: quick when it fits already, begun again when it was interrupted.

Runs on any Python from 3.11 with its standard library alone, so that make needs nothing else.
"""

import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
COMMAND = VENV / "bin" / "ordertrail"
STAMP = VENV / "installed.json"
# Holds a word while a virtual environment is being made; one that was interrupted may look whole.
LOCK = ROOT / ".venv.lock"
RUNTIME = "requirements.txt"


def main(lock_file: str) -> int:
    """Install what `lock_file` pins, unless a stamp says that exactly that was installed here."""
    # A lock beside the virtual environment, for two makes at once; the kernel lets go of it however we end.
    with LOCK.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _wanted(lock_file).items() <= _stamp().items():
            return 0
        try:
            _install(lock_file)
        except subprocess.CalledProcessError:
            print(
                "\nThe packages could not be installed; the reason stands above. Run make again to go on.",
                file=sys.stderr,
            )
            return 1
        STAMP.write_text(json.dumps(_wanted(lock_file)))
    return 0


def _wanted(lock_file: str) -> dict[str, str]:
    """What the stamp should say: the pins, the Python, and the place, for a virtual environment cannot be moved.

    Every other lock file holds the runtime's pins too (a test compares them), so it stands for both.
    """
    where = f"{ROOT} {_evaluate('import sys; print(sys.version)')}".encode()
    return {name: hashlib.sha256((ROOT / name).read_bytes() + where).hexdigest() for name in (RUNTIME, lock_file)}


def _stamp() -> dict[str, str]:
    try:
        stamp = json.loads(STAMP.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def _evaluate(code: str) -> str | None:
    """What the virtual environment's Python answers; None if it is not there, or not whole."""
    try:
        answer = subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def _install(lock_file: str) -> None:
    STAMP.unlink(missing_ok=True)
    # One that is there and fits stays, whichever Python make found today.
    fits = _evaluate("import sys, pip; print((3, 11) <= sys.version_info[:2] < (3, 15))") == "True"
    if not fits or LOCK.read_text():
        print("Making a virtual environment in .venv ...", flush=True)
        LOCK.write_text("unfinished")
        _call([sys.executable, "-m", "venv", "--clear", VENV])
        LOCK.write_text("")
    count = sum("==" in line for line in (ROOT / lock_file).read_text().splitlines())
    print(f"Installing up to {count} packages of {lock_file} into .venv; this happens once ...", flush=True)
    options = ["--quiet", "--disable-pip-version-check", "--no-input", "--no-deps"]
    checked = ["--require-hashes", "--only-binary", ":all:", "-r", str(ROOT / lock_file)]
    _call([PYTHON, "-m", "pip", "install", *options, *checked])
    _link_the_checkout()


def _call(command: list[str | Path]) -> None:
    """Run to its end; a Ctrl-C reaches us alone, so that the terminal shows no trace of a program cut off."""
    with subprocess.Popen(command, start_new_session=True) as process:
        try:
            code = process.wait()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    if code != 0:
        raise subprocess.CalledProcessError(code, command)


def _link_the_checkout() -> None:
    """What an editable install would do, without a build back end to download and trust."""
    packages = _evaluate("import sysconfig; print(sysconfig.get_path('purelib'))")
    assert packages is not None, "pip has just run there"
    (Path(packages) / "ordertrail-checkout.pth").write_text(f"{ROOT}\n")
    COMMAND.write_text(f"#!/bin/sh\nexec '{PYTHON}' -m ordertrail \"$@\"\n")
    COMMAND.chmod(0o755)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1]))
    except KeyboardInterrupt:
        print("\nInterrupted; make begins again where it stopped.", file=sys.stderr)
        sys.exit(130)
