"""The bodies of scoring requests and answers, in both protocols.

The agent's codecs read and write them by hand, for speed; a test holds both to each other.
"""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.manifest import Cell
from schemas.scoring import ScoringCode

Rows = Annotated[list[list[Cell]], Field(min_length=1)]
# Beyond it an id is refused: it travels in the headers of the answer.
RequestId = Annotated[str, Field(min_length=1, max_length=1024)]
Whole = Annotated[int, Field(ge=0)]
Size = Annotated[int, Field(ge=1)]


class _Body(BaseModel):
    # Of a request what nobody knows is ignored; to an answer fields are added.
    model_config = ConfigDict(extra="allow")


class Place(_Body):
    """Where the request lies in its topic."""

    partition: Whole
    offset: Whole


class InputTable(_Body):
    """Rows. ``fields`` names the columns; without it they are in the order of the input schema."""

    fields: list[str] | None = None
    values: Rows


class WmlRequest(_Body):
    """Watson Machine Learning v4. The ids may stand in the headers instead of the body."""

    id: RequestId | None = None
    deployment_id: RequestId | None = None
    min_revision: Whole | None = None
    deadline: Whole | None = None
    input_data: Annotated[list[InputTable], Field(min_length=1)]


class Datatype(StrEnum):
    """The data type of a tensor."""

    BOOL = "BOOL"
    INT8 = "INT8"
    INT16 = "INT16"
    INT32 = "INT32"
    INT64 = "INT64"
    UINT8 = "UINT8"
    UINT16 = "UINT16"
    UINT32 = "UINT32"
    UINT64 = "UINT64"
    FP16 = "FP16"
    FP32 = "FP32"
    FP64 = "FP64"
    BYTES = "BYTES"


class InputTensor(_Body):
    """A column of shape [n] or [n, 1], or the whole table of shape [n, k]; flat or row by row."""

    name: Annotated[str, Field(min_length=1)]
    shape: Annotated[list[Size], Field(min_length=1, max_length=2)]
    datatype: Datatype
    data: list[Cell] | list[list[Cell]]


class Options(_Body):
    """Baton's own members; each may stand in the headers instead."""

    deployment_id: RequestId | None = None
    min_revision: Whole | None = None
    deadline: Whole | None = None


class V2Request(_Body):
    """Open Inference Protocol V2."""

    id: RequestId | None = None
    inputs: Annotated[list[InputTensor], Field(min_length=1)]
    parameters: Options | None = None


class Predictions(_Body):
    """What the model says of each row of a table: a prediction, and its probabilities if any."""

    fields: list[Literal["prediction", "probability"]]
    values: list[list[Any]]


class WmlAnswer(_Body):
    """The answer to a WML request: an entry of ``predictions`` for each of ``input_data``."""

    id: str
    deployment_id: str
    asset_id: str
    revision: Size
    predictions: list[Predictions]
    request: Place


class OutputTensor(_Body):
    """The ``prediction`` [n], or the ``probability`` [n, k] of each class."""

    name: Literal["prediction", "probability"]
    shape: list[Size]
    datatype: Literal["BOOL", "INT64", "FP64", "BYTES"]
    data: list[Any]


class Origin(_Body):
    """Which asset answered, and where the request lies."""

    asset_id: str
    request: Place


class V2Answer(_Body):
    """The answer to a V2 request. ``model_version`` is the revision."""

    id: str
    model_name: str
    model_version: Annotated[str, Field(pattern="^[0-9]+$")]
    outputs: list[OutputTensor]
    parameters: Origin


class Fault(_Body):
    """Why a request was not scored. ``field`` is the header, member or input field at fault."""

    code: ScoringCode
    message: str
    field: str | None = None


class ErrorAnswer(_Body):
    """The answer to a request, of either protocol, that was not scored."""

    id: str
    deployment_id: str | None
    asset_id: str | None = None
    revision: Whole | None = None
    error: Fault
    request: Place
