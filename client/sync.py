"""The clients for programs without asyncio: the same ones, on an event loop in a thread.

Each ``with`` block runs a loop of its own; its methods may be called from several threads.
"""

import queue
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack
from functools import partial, wraps
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Self, TypeVar

from anyio.from_thread import start_blocking_portal

from client import audit, commands, scoring
from client.audit import AuditEvent
from client.commands import OUTCOME_TIMEOUT_S, OnProgress
from client.errors import ScoringError
from client.revisions import Revisions
from client.scoring import ANSWER_TIMEOUT_S, IN_FLIGHT, ScoreRequest, ScoreResult
from transport.settings import Settings

if TYPE_CHECKING:
    from concurrent.futures import Future

C = TypeVar("C", bound=AbstractAsyncContextManager[Any, bool | None])
P = ParamSpec("P")
R = TypeVar("R")


class _Blocking(Generic[C]):
    """An async client behind a ``with`` block."""

    def __init__(self, client: C) -> None:
        self._client = client

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            self._portal = opened.enter_context(start_blocking_portal())
            opened.enter_context(self._portal.wrap_async_context_manager(self._client))
            self._opened = opened.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._opened.__exit__(kind, error, traceback)


def _blocking(
    method: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[_Blocking[Any], P], R]:
    """Return ``method`` of an async client as one that waits: the same arguments and docstring."""

    @wraps(method)
    def call(self: _Blocking[Any], /, *args: P.args, **kwargs: P.kwargs) -> R:
        result: R = self._portal.call(partial(method, self._client, *args, **kwargs))
        return result

    return call


class BatonClient(_Blocking[commands.BatonClient]):
    """client.BatonClient behind a ``with`` block: the same arguments, methods and errors.

    ``on_progress`` is called in the loop's thread.

    >>> from client import sync
    >>> with sync.BatonClient(settings, source="/pipelines/nightly") as baton:
    ...     outcome = baton.replace_asset("fraud", deployment, "fraud-8", reason="accuracy")
    >>> outcome.name, outcome.revision
    ('deployment-updated', 2)
    """

    def __init__(  # noqa: PLR0913 - as the async one
        self,
        settings: Settings | None = None,
        *,
        source: str = "/baton/client",
        actor: str | None = None,
        timeout_s: float = OUTCOME_TIMEOUT_S,
        retries: int = 0,
        max_in_flight: int = IN_FLIGHT,
        on_progress: OnProgress | None = None,
    ) -> None:
        super().__init__(
            commands.BatonClient(
                settings,
                source=source,
                actor=actor,
                timeout_s=timeout_s,
                retries=retries,
                max_in_flight=max_in_flight,
                on_progress=on_progress,
            )
        )

    @property
    def revisions(self) -> Revisions:
        """What this client knows of revisions: to be given to a ScoringClient."""
        return self._client.revisions

    create_space = _blocking(commands.BatonClient.create_space)
    promote_asset = _blocking(commands.BatonClient.promote_asset)
    create_deployment = _blocking(commands.BatonClient.create_deployment)
    replace_asset = _blocking(commands.BatonClient.replace_asset)
    rollback_deployment = _blocking(commands.BatonClient.rollback_deployment)
    delete_deployment = _blocking(commands.BatonClient.delete_deployment)
    delete_asset = _blocking(commands.BatonClient.delete_asset)
    send = _blocking(commands.BatonClient.send)
    deployment = _blocking(commands.BatonClient.deployment)
    deployments = _blocking(commands.BatonClient.deployments)
    assets = _blocking(commands.BatonClient.assets)
    spaces = _blocking(commands.BatonClient.spaces)


class ScoringClient(_Blocking[scoring.ScoringClient]):
    """client.ScoringClient behind a ``with`` block: the same arguments, methods and errors.

    >>> from client import ScoreRequest, sync
    >>> with sync.ScoringClient(settings) as scoring:
    ...     answer = scoring.score(deployment, [[1.2, 0.3]], fields=["amount", "age"])
    ...     requests = [ScoreRequest(deployment, [[n, 0.3]]) for n in range(100)]
    ...     revisions = {answer.revision for answer in scoring.stream(requests)}
    >>> answer.revision, revisions
    (1, {1})
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        timeout_s: float = ANSWER_TIMEOUT_S,
        retries: int = 0,
        max_in_flight: int = IN_FLIGHT,
        revisions: Revisions | None = None,
    ) -> None:
        super().__init__(
            scoring.ScoringClient(
                settings,
                timeout_s=timeout_s,
                retries=retries,
                max_in_flight=max_in_flight,
                revisions=revisions,
            )
        )

    @property
    def revisions(self) -> Revisions:
        """What this client knows of revisions; tell it more with ``see``."""
        return self._client.revisions

    score = _blocking(scoring.ScoringClient.score)
    ask = _blocking(scoring.ScoringClient.ask)

    def stream(
        self, requests: Iterable[ScoreRequest], *, max_in_flight: int = IN_FLIGHT
    ) -> Iterator[ScoreResult | ScoringError]:
        """Score ``requests``, giving each answer or error as it comes; a bounded number at once.

        ``requests`` is read in the caller's thread, so it may wait for its source; meanwhile no
        answer is given. A request that nobody answers in time ends the stream with TimeoutError.
        """
        done: queue.SimpleQueue[Future[ScoreResult]] = queue.SimpleQueue()
        running: set[Future[ScoreResult]] = set()

        def next_answer() -> ScoreResult | ScoringError:
            future = done.get()
            running.remove(future)
            return scoring.settled(future)

        try:
            for request in requests:
                future = self._portal.start_task_soon(self._client.ask, request)
                running.add(future)
                future.add_done_callback(done.put)
                while len(running) >= max_in_flight or not done.empty():
                    yield next_answer()
            while running:
                yield next_answer()
        finally:
            for future in running:
                future.cancel()


def events(
    settings: Settings, *, follow: bool = False, from_beginning: bool = True
) -> Iterator[AuditEvent]:
    """Iterate over the audit log as client.events does.

    >>> from client import sync
    >>> [e.name for e in sync.events(settings) if e.data.space_id == "fraud"][:2]
    ['space-created', 'asset-promoted']
    """
    with start_blocking_portal() as portal:
        found = audit.events(settings, follow=follow, from_beginning=from_beginning)
        # Left early, the loop ends and closes what it has opened.
        while (event := portal.call(anext, found, None)) is not None:
            yield event
