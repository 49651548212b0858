"""What both scoring protocols share: a request's terms, and an agent's answer as HTTP's."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import orjson
from fastapi import Header, Request, Response

from console.answers import Answer
from console.openapi import Responses, answers, problems
from console.preferences import seen, trace, wait_s
from console.problems import SCORING_STATUS, Problem
from console.services import Services
from schemas.scoring import ASSET_ID, REVISION, STATUS

# Visible ASCII: it travels in headers both ways.
RequestId = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[!-~]{1,200}$",
        description="The request's id: asked again with it, the answer is the same.",
    ),
]

HEADERS = {
    "Baton-Asset-Id": "The asset that gave the answer.",
    "Baton-Revision": "The deployment's revision that gave the answer.",
    "Baton-Request-Id": "The request's id.",
}
RESPONSES: Responses = answers(
    200, "The answer, as the agent gave it.", headers=HEADERS
) | problems(400, 404, 409, 410, 413, 415, 422, 429, 502, 504)


@dataclass(frozen=True, slots=True)
class Terms:
    """How a request is to be answered."""

    request_id: str | None
    min_revision: int | None
    deadline_ms: int | None
    wait_s: float | None


def terms(
    idempotency_key: RequestId = None,
    min_revision: Annotated[
        int | None,
        Header(
            alias="Baton-Min-Revision",
            ge=0,
            lt=10**18,
            description="Wait, bounded, for at least this revision.",
        ),
    ] = None,
    deadline: Annotated[
        int | None,
        Header(
            alias="Baton-Deadline",
            ge=0,
            lt=10**18,
            description="Past it (milliseconds since 1970) nobody needs the answer.",
        ),
    ] = None,
    prefer: Annotated[
        str | None, Header(description="`wait=SECONDS`: how long to wait for the answer.")
    ] = None,
) -> Terms:
    """Read them from the headers."""
    return Terms(idempotency_key, min_revision, deadline, wait_s(prefer))


async def ask(
    here: Services, request: Request, deployment_id: str, body: bytes, given: Terms
) -> Answer:
    """Have ``body`` scored. Raises Problem where the agent's answer is an error."""
    least = max(given.min_revision or 0, seen(request).get(deployment_id, 0))
    answer = await here.gateway.ask(
        deployment_id,
        body,
        request_id=given.request_id,
        min_revision=least or None,
        deadline_ms=given.deadline_ms,
        timeout_s=here.settings.answer_timeout_s if given.wait_s is None else given.wait_s,
        more=trace(request),
    )
    if answer.header(STATUS) == "error":
        raise refused(answer)
    return answer


def answered(answer: Answer, value: bytes | None = None) -> Response:
    """Return an answer as it came, or with another ``value``."""
    return Response(
        answer.value if value is None else value,
        media_type="application/json",
        headers=_headers(answer),
    )


def refused(answer: Answer) -> Problem:
    """Return the problem that an agent's error answer tells of."""
    body = orjson.loads(answer.value)
    fault = body["error"]
    return Problem(
        SCORING_STATUS.get(fault["code"], 502),
        fault["code"],
        fault["message"],
        headers=_headers(answer),
        field=fault.get("field"),
        request_id=answer.request_id,
        asset_id=body.get("asset_id"),
        revision=body.get("revision"),
    )


def _headers(answer: Answer) -> Mapping[str, str]:
    given = {
        "Baton-Asset-Id": answer.header(ASSET_ID),
        "Baton-Revision": answer.header(REVISION),
        "Baton-Request-Id": answer.request_id,
    }
    return {name: text for name, text in given.items() if text is not None}
