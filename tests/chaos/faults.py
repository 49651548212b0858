"""How each fault of a schedule is made, and mended."""

import itertools
import random
import signal
import subprocess
import sys
import time

from client.supervisor import child_environment
from tests.chaos.cluster import MEND_S, POLL_S, Cluster
from tests.chaos.schedule import Fault

# How long a variant that is to die in a transaction is waited for: it may own no partition.
DEATH_S = 15.0
STAY_S = 4.0


def strike(cluster: Cluster, fault: Fault) -> None:
    """Make ``fault``, and return once every service serves again."""
    cluster.watch(fault.after_s)
    _FAULTS[fault.kind](cluster, fault)
    cluster.mend()


def _kill(cluster: Cluster, fault: Fault) -> None:
    cluster.members[fault.victim].kill()


def _kill_twice(cluster: Cluster, fault: Fault) -> None:
    """The second time while it comes up: in its imports, its fence or its first batch."""
    for _ in range(2):
        cluster.members[fault.victim].kill()
        cluster.watch(random.Random(fault.after_s).uniform(0.5, 4))


def _zombie(cluster: Cluster, fault: Fault) -> None:
    member = cluster.members[fault.victim]
    member.signal(signal.SIGSTOP)
    cluster.watch(fault.seconds)
    member.signal(signal.SIGCONT)
    cluster.watch(1.0)


def _kill_broker(cluster: Cluster, fault: Fault) -> None:
    cluster.kafka.kill(fault.victim)
    cluster.watch(fault.seconds)
    cluster.kafka.start(fault.victim)


def _pause_broker(cluster: Cluster, fault: Fault) -> None:
    cluster.kafka.signal(fault.victim, signal.SIGSTOP)
    cluster.watch(fault.seconds)
    cluster.kafka.signal(fault.victim, signal.SIGCONT)
    cluster.watch(2.0)


def _storm(cluster: Cluster, fault: Fault) -> None:
    """Others join and leave, by turns a worker and an agent, by SIGTERM and by SIGKILL."""
    end = time.monotonic() + fault.seconds
    for turn in itertools.count():
        if time.monotonic() > end:
            return
        name = ("worker-9", "scoring-9")[turn % 2]
        cluster.start(name)
        cluster.watch(STAY_S)
        if turn % 4 < 2:
            member = cluster.members.pop(name)
            # SIGTERM may come before it has learnt to stop by it.
            assert member.stop() in {0, 70, -signal.SIGTERM}, member.tail()
        else:
            cluster.members.pop(name).kill()


def _die_in_transaction(cluster: Cluster, fault: Fault) -> None:
    cluster.members[fault.victim].kill()
    member = cluster.start(fault.victim, "dies-in-transaction")
    last = time.monotonic() + MEND_S
    end = last
    while member.status is None and time.monotonic() < min(end, last):
        # Counted from when it serves: on a busy machine that may take long.
        end = end if member.ready else time.monotonic() + DEATH_S
        time.sleep(POLL_S)
    if member.status is None:
        print("      it had no transaction to die in")
        member.kill()


def _impostor(cluster: Cluster, fault: Fault) -> None:
    """Another process takes the transactional ids of every partition and dies with them."""
    module = fault.victim.split("-")[0]
    for partition in range(cluster.settings.control_partitions):
        command = [sys.executable, "-m", "tests.chaos.impostor", module, str(partition)]
        done = subprocess.run(
            command,
            env=child_environment(cluster.settings),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == -signal.SIGKILL, done.stderr
    cluster.watch(2.0)


_FAULTS = {
    "kill": _kill,
    "kill-twice": _kill_twice,
    "zombie": _zombie,
    "kill-broker": _kill_broker,
    "pause-broker": _pause_broker,
    "storm": _storm,
    "die-in-transaction": _die_in_transaction,
    "impostor": _impostor,
}
