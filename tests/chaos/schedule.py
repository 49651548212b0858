"""Which faults strike, in which order: a pure function of the seed and the minutes."""

import random
from dataclasses import dataclass

SERVICES = ("worker-1", "worker-2", "scoring-1", "scoring-2")
CLIENTS = ("commands-1", "commands-2", "requests-1", "requests-2", "audit-1", "audit-2")
BROKERS = ("broker-1",)

# What may be struck, and about how long it takes until everything runs again, in seconds.
KINDS: tuple[tuple[str, tuple[str, ...], float], ...] = (
    ("kill", SERVICES, 6),
    ("kill", SERVICES, 6),
    ("kill", CLIENTS, 3),
    ("kill-twice", SERVICES, 8),
    ("zombie", SERVICES[:2], 18),
    ("zombie", SERVICES[2:], 18),
    ("kill-broker", BROKERS, 12),
    ("pause-broker", BROKERS, 28),
    ("storm", ("everyone",), 26),
    ("die-in-transaction", SERVICES[:2], 14),
    ("die-in-transaction", SERVICES[2:], 14),
    ("impostor", SERVICES[:2], 10),
    ("impostor", SERVICES[2:], 10),
)
# Who answers at least once has no transaction, and nothing that could be stolen.
PLAIN_KINDS = tuple(
    (kind, victims, cost)
    for kind, victims, cost in KINDS
    if victims != SERVICES[2:] or kind not in {"die-in-transaction", "impostor"}
)
# What several brokers add: one is away, the others lead, and it comes back.
REPLICA_KINDS: tuple[tuple[str, tuple[str, ...], float], ...] = (
    ("kill", SERVICES, 6),
    ("zombie", SERVICES, 18),
    *2 * (("kill-broker", BROKERS, 20), ("pause-broker", BROKERS, 28)),
)
# Longer than the groups wait for a member: what wakes must find itself fenced.
ZOMBIE_S = (11.0, 14.0)
# Longer than a transaction may last.
PAUSE_S = 20.0
# Long enough for the others to elect leaders in place of one of several brokers.
AWAY_S = 8.0
STORM_S = 20.0


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. ``seconds`` is how long it lasts, ``after_s`` how long it is quiet before it."""

    kind: str
    victim: str
    after_s: float
    seconds: float
    cost_s: float

    def __str__(self) -> str:
        lasts = f" for {self.seconds:.1f} s" if self.seconds else ""
        return f"after {self.after_s:.1f} s {self.kind} {self.victim}{lasts}"


def schedule(seed: int, minutes: float, *, once: bool = True, brokers: int = 1) -> list[Fault]:
    """Return the faults of ``seed`` that fit into ``minutes``, at least one; each kind in turn.

    Without ``once``, those that agents who answer at least once can meet.
    """
    kinds = KINDS if once else PLAIN_KINDS
    if brokers > 1:
        names = tuple(f"broker-{node}" for node in range(1, brokers + 1))
        kinds = tuple((k, names if v == BROKERS else v, cost) for k, v, cost in REPLICA_KINDS)
    rng = random.Random(seed)
    left = 60 * minutes
    faults: list[Fault] = []
    deck: list[tuple[str, tuple[str, ...], float]] = []
    while True:
        deck = deck or rng.sample(kinds, len(kinds))
        kind, victims, cost = deck.pop()
        quiet = rng.uniform(0, 2)
        fault = Fault(kind, rng.choice(victims), quiet, _seconds(kind, rng, brokers), cost + quiet)
        if fault.cost_s <= left or not faults:
            faults.append(fault)
            left -= fault.cost_s
        elif left < min(cost for *_, cost in kinds) + 2:
            # An agent whose ids were stolen notices after 15 s, or when the group changes: by then
            # another fault has changed it.
            return sorted(faults, key=lambda fault: fault.kind != "impostor")


def _seconds(kind: str, rng: random.Random, brokers: int) -> float:
    match kind:
        case "zombie":
            return rng.uniform(*ZOMBIE_S)
        case "pause-broker":
            return PAUSE_S
        case "kill-broker" if brokers > 1:
            return AWAY_S
        case "storm":
            return STORM_S
    return 0.0
