"""Every kind of bad input by its name, ready to be sent."""

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

import numpy as np
from sklearn.linear_model import LinearRegression

from artifacts.save import save_model
from artifacts.store import Store
from bench.hostile.inputs import FLOOD, MANY_ROWS, commands, requests, too_large
from bench.hostile.moods import AT_LOAD, MOODS, Moody, OfAnotherVersion, Spiteful
from bench.hostile.senders import Senders
from schemas.scoring import DEPLOYMENT_ID

# Bad records of a kind; of those that end or hang a model's process, fewer.
TIMES = 40
FEW = 6
FLOOD_TIMES = 3000
# So many of those at once: a timer a record would be what is measured.
FLOOD_BURST = 30

# Sends, waits, and returns what the senders were told.
Harm = Callable[[], Awaitable[str]]


async def every_kind(
    senders: Senders, space: str, deployment: str, spread_s: float
) -> AsyncIterator[tuple[str, Harm]]:
    """Yield all kinds. ``space`` and ``deployment`` exist; records are sent over ``spread_s``."""
    topics = senders.settings.topics
    yield "(nothing)", _nothing
    for name, (headers, value) in requests(deployment).items():
        # An answer to 100,000 rows has 5 MB, and every client reads it.
        times = FEW if name == MANY_ROWS else TIMES
        yield (
            f"request: {name}",
            partial(senders.send, topics.requests, headers, value, times, spread_s),
        )
    for name, (headers, value) in commands(space).items():
        times, burst = (FLOOD_TIMES, FLOOD_BURST) if name == FLOOD else (TIMES, 1)
        yield (
            f"command: {name}",
            partial(senders.send, topics.commands, headers, value, times, spread_s, burst),
        )
    reuse = partial(senders.reuse_id, space, TIMES, spread_s)
    yield "command: one id, another command each time", reuse
    for name, value in too_large().items():
        yield name, partial(senders.too_large, value)
    store = Store(senders.settings.store)
    rows = np.random.default_rng(0).normal(size=(50, 3))
    good = save_model(LinearRegression().fit(rows, rows[:, 0]), rows[:5], store=store, name="good")
    for name, mood in MOODS.items():
        bad = await senders.deploy(senders.with_file(good, Moody(mood)))
        headers = [(DEPLOYMENT_ID, bad.encode())]
        body = f'{{"input_data":[{{"values":[[{Moody.MOOD},0,0]]}}]}}'.encode()
        yield (
            f"predict {name}",
            partial(senders.send, topics.requests, headers, body, FEW, spread_s),
        )
    for name, code in AT_LOAD.items():
        spiteful = senders.with_file(good, Spiteful(code))
        yield f"load {name}", partial(senders.refused, spiteful)
    whole = store.read(good.uri, good.sha256)
    half = senders.with_file(good, whole[: len(whole) // 2])
    old = senders.with_file(good, OfAnotherVersion().fit(rows, rows[:, 0] > 0))
    yield "a file cut short", partial(senders.refused, half)
    wrong = half.model_copy(update={"sha256": good.sha256})
    yield "a file of another digest", partial(senders.refused, wrong)
    yield "a file of another scikit-learn", partial(senders.refused, old)


async def _nothing() -> str:
    return "-"
