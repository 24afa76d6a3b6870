"""Make `.venv` fit a lock file: quick when it fits already, begun again when it was interrupted.

Runs on any Python from 3.11 with its standard library alone, so that make needs nothing else.
"""

import fcntl
import hashlib
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
COMMAND = VENV / "bin" / "ordertrail"
STAMP = VENV / "installed.json"
RUNTIME = "requirements.txt"


def main(lock_file: str) -> int:
    """Install what `lock_file` pins, unless a stamp says that exactly that was installed here."""
    # A lock beside the virtual environment, for two makes at once; the kernel lets go of it however we end.
    with (ROOT / ".venv.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Every other lock file holds the runtime's pins too (a test compares them).
        wanted = {name: _fingerprint(name) for name in (RUNTIME, lock_file)}
        installed = _stamp()
        if wanted.items() <= installed.items() and _runs():
            return 0
        try:
            _install(lock_file)
        except subprocess.CalledProcessError:
            print(
                "\nThe packages could not be installed; the reason stands above. Run make again to go on.",
                file=sys.stderr,
            )
            return 1
        STAMP.write_text(json.dumps(wanted))
    return 0


def _fingerprint(lock_file: str) -> str:
    """What an installation depends on: the pins, this Python, and the place, for a venv cannot be moved."""
    pins = (ROOT / lock_file).read_bytes()
    place = f"{ROOT} {sys.base_prefix} {sys.version}".encode()
    return hashlib.sha256(pins + place).hexdigest()


def _stamp() -> dict[str, str]:
    try:
        stamp = json.loads(STAMP.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def _runs(*arguments: str) -> bool:
    """Whether the virtual environment's Python runs; the one it was made from may be gone."""
    try:
        return subprocess.run([PYTHON, *arguments, "--version"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _install(lock_file: str) -> None:
    STAMP.unlink(missing_ok=True)
    if not (_runs("-m", "pip") and _is_made_from_this_python()):
        print("Making a virtual environment in .venv ...", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], check=True)
    count = sum("==" in line for line in (ROOT / lock_file).read_text().splitlines())
    print(f"Installing up to {count} packages of {lock_file} into .venv; this happens once ...", flush=True)
    options = ["--quiet", "--disable-pip-version-check", "--no-input", "--no-deps"]
    checked = ["--require-hashes", "--only-binary", ":all:", "-r", str(ROOT / lock_file)]
    subprocess.run([PYTHON, "-m", "pip", "install", *options, *checked], check=True)
    _link_the_checkout()


def _is_made_from_this_python() -> bool:
    ask = [PYTHON, "-c", "import sys; print(sys.base_prefix, sys.version)"]
    return subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip() == (
        f"{sys.base_prefix} {sys.version}"
    )


def _link_the_checkout() -> None:
    """What an editable install would do, without a build back end to download and trust."""
    ask = [PYTHON, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    packages = Path(subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip())
    (packages / "ordertrail-checkout.pth").write_text(f"{ROOT}\n")
    COMMAND.write_text(f"#!/bin/sh\nexec '{PYTHON}' -m ordertrail \"$@\"\n")
    COMMAND.chmod(0o755)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1]))
    except KeyboardInterrupt:
        sys.exit(130)
