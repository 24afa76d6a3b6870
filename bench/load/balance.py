"""Opens connections so that every worker of a server has the same number of them.

Workers that share a listening socket take what they get hold of first; one worker with 229 of 256 connections
was seen, and then chance is measured. Everybody gets the same even share.
"""

import socket
import time
from collections import Counter

import psutil

_TURNS_MAX = 60
_BATCH_MIN = 32
_ACCEPTED_AFTER_SECONDS = 0.02


def open_balanced(port: int, count: int, *, server_pid: int, workers: int) -> list[socket.socket]:
    """Open `count` connections; after too many turns, the rest falls as it may."""
    share = -(-count // workers)
    kept: list[socket.socket] = []
    held: Counter[int] = Counter()
    for _ in range(_TURNS_MAX):
        if len(kept) == count:
            return kept
        missing = count - len(kept)
        batch = [_connect(port) for _ in range(min(missing, max(_BATCH_MIN, count // 8)))]
        time.sleep(_ACCEPTED_AFTER_SECONDS)
        owners = _owners(server_pid, port)
        for opened in batch:
            owner = owners.get(opened.getsockname()[1])
            if owner is not None and held[owner] < share:
                held[owner] += 1
                kept.append(opened)
            else:
                opened.close()
    return kept + [_connect(port) for _ in range(count - len(kept))]


def _connect(port: int) -> socket.socket:
    """Blocking, one after the other: the server accepts each before its backlog overflows."""
    opened = socket.create_connection(("127.0.0.1", port), timeout=10)
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return opened


def _owners(server_pid: int, port: int) -> dict[int, int]:
    """Which process holds the other end, by our end's port."""
    server = psutil.Process(server_pid)
    return {
        connection.raddr.port: process.pid
        for process in [server, *server.children(recursive=True)]
        for connection in process.net_connections("tcp")
        if connection.laddr.port == port and connection.status == psutil.CONN_ESTABLISHED
    }
