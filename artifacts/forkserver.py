"""``python -m artifacts.forkserver FD``: fork processes for models.

It has imported scikit-learn once, so a process for a model costs 10 ms and 2 MB (measured) instead
of 2 s and 130 MB. Orders come on the socket FD, one at a time, each answered by a line; it ends
with the other side, and its processes with it.
"""

import gc
import os
import socket
import sys

import pandas as pd  # noqa: F401 - imported before the fork, for the models
import sklearn.compose
import sklearn.ensemble
import sklearn.linear_model
import sklearn.pipeline  # noqa: F401 - same

from artifacts.confinement import adopt_orphans, confine, kill_group, kill_strays
from artifacts.host import serve
from artifacts.wire import FORK, LINE


def main() -> None:
    """Serve until the other side is gone."""
    adopt_orphans()
    orders = socket.socket(fileno=int(sys.argv[1]))
    running: set[int] = set()
    # What is imported stays shared: the collector would touch, and so copy, all of it.
    gc.collect()
    gc.freeze()
    while True:
        line, descriptors, *_ = socket.recv_fds(orders, LINE, 1)
        if not line:
            return
        order, number = line.split()
        if order == FORK:
            pid = _fork(descriptors[0], int(number))
            running.add(pid)
            orders.sendall(b"%d\n" % pid)
        else:
            pid = int(number)
            kill_group(pid)
            _, status = os.waitpid(pid, 0)
            running.remove(pid)
            kill_strays(running)
            orders.sendall(b"%d\n" % status)


def _fork(descriptor: int, memory_bytes: int) -> int:
    pid = os.fork()
    if pid:
        os.close(descriptor)
        return pid
    try:
        confine(descriptor, memory_bytes)
        serve(socket.socket(fileno=descriptor))
    finally:
        # Whatever happened: the loop above is the parent's alone.
        os._exit(1)


if __name__ == "__main__":
    main()
