"""What both protocols have in common: tables in, predictions out."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import orjson

from schemas.scoring import ASSET_ID, DEPLOYMENT_ID, REVISION, STATUS


class Table(NamedTuple):
    """Rows of one request. ``fields`` names the columns; None: they are in the schema's order.

    ``numeric``: there is no text, truth value or null in it. False: nobody has looked.
    """

    fields: tuple[str, ...] | None
    rows: list[list[Any]]
    numeric: bool = False


class Prediction(NamedTuple):
    """Results for the rows of one table, as JSON values; ``probabilities`` has a list per row."""

    predictions: list[Any]
    probabilities: list[list[float]] | None


@dataclass(slots=True)
class Served:
    """What gave an answer: the deployment, its asset and revision when the batch was scored.

    ``headers`` and ``members``, of its JSON body, are what every answer says of it.
    """

    deployment_id: str
    asset_id: str
    revision: int
    headers: tuple[tuple[str, bytes], ...] = field(init=False, repr=False, compare=False)
    members: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Put together what would be put together for each answer."""
        self.headers = (
            (DEPLOYMENT_ID, self.deployment_id.encode()),
            (ASSET_ID, self.asset_id.encode()),
            (REVISION, str(self.revision).encode()),
            (STATUS, b"ok"),
        )
        self.members = orjson.dumps(
            {
                "deployment_id": self.deployment_id,
                "asset_id": self.asset_id,
                "revision": self.revision,
            }
        )[1:-1]


class Codec(Protocol):
    """A protocol."""

    def decode(self, body: dict[str, Any]) -> list[Table]:
        """Return the request's tables, each with at least one row. Raises ScoringError."""
        ...

    def encode(
        self, served: Served, request_id: str, results: list[Prediction], place: tuple[int, int]
    ) -> bytes:
        """Return the answer's body; ``place`` is the request's partition and offset.

        Raises TypeError where a prediction is no JSON value.
        """
        ...
