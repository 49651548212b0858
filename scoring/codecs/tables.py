"""What both protocols have in common: tables in, predictions out."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol


class Table(NamedTuple):
    """Rows of one request. ``fields`` names the columns; None: they are in the schema's order."""

    fields: tuple[str, ...] | None
    rows: list[list[Any]]


class Prediction(NamedTuple):
    """Results for the rows of one table, as JSON values; ``probabilities`` has a list per row."""

    predictions: list[Any]
    probabilities: list[list[float]] | None


@dataclass(frozen=True, slots=True)
class Served:
    """What gave an answer: the deployment, its asset and revision when the batch was scored."""

    deployment_id: str
    asset_id: str
    revision: int


class Codec(Protocol):
    """A protocol."""

    def decode(self, body: dict[str, Any]) -> list[Table]:
        """Return the request's tables, each with at least one row. Raises ScoringError."""
        ...

    def encode(
        self,
        served: Served,
        request_id: str,
        results: list[Prediction],
        request: dict[str, int],
    ) -> dict[str, Any]:
        """Return the answer's body; ``request`` is the request's partition and offset."""
        ...
