"""The load generator: one process, raw sockets and epoll, so that it takes little of the cores that it measures."""
