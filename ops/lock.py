"""Compile the lock files from pyproject.toml, or with `--check` say whether they still fit it.

Locks hold versions and hashes and never an address: where packages come from is the installer's business.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = {
    "requirements.txt": [],
    "requirements-dev.txt": ["--group", "dev"],
    "requirements-bench.txt": ["--group", "bench"],
}
OPTIONS = [
    "--universal",
    "--python-version=3.11",
    "--generate-hashes",
    "--no-emit-index-url",
    "--no-annotate",
    "--no-header",
    "--quiet",
]


def main(arguments: list[str]) -> int:
    """`--check` compares; any other argument goes to the compiler, `--upgrade` for one."""
    if arguments == ["--check"]:
        return _check()
    for name in LOCKS:
        _compile(name, ROOT / name, arguments)
    return 0


def _check() -> int:
    outdated = []
    with tempfile.TemporaryDirectory() as folder:
        for name in LOCKS:
            # The compiler keeps the pins of the file it writes over, as long as they still fit.
            copy = Path(folder) / name
            shutil.copyfile(ROOT / name, copy)
            _compile(name, copy, [])
            text = (ROOT / name).read_text()
            if copy.read_text() != text:
                outdated.append(f"{name} does not fit pyproject.toml any more; run `make lock`.")
            if "://" in text:
                outdated.append(f"{name} holds an address.")
    print("\n".join(outdated) or "The lock files fit pyproject.toml.")
    return 1 if outdated else 0


def _compile(name: str, output: Path, options: list[str]) -> None:
    compiler = [sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml", *OPTIONS]
    # The first lock binds the others, so that each of them holds the runtime's own versions.
    bound = [] if name == "requirements.txt" else ["--constraints", str(output.parent / "requirements.txt")]
    subprocess.run([*compiler, *LOCKS[name], *bound, *options, "-o", str(output)], cwd=ROOT, check=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
