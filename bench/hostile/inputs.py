"""Bad requests and commands, by what is bad about them."""

import json

from schemas.scoring import DEADLINE, DEPLOYMENT_ID, MIN_REVISION

Pairs = list[tuple[str, bytes]]
MANY_ROWS = "100,000 rows"
FLOOD = "3,000 to unknown spaces"
FLOOR = b'{"input_data":[{"values":[[1.0,0.0,0.0]]}]}'


def requests(deployment: str) -> dict[str, tuple[Pairs, bytes | None]]:
    """Return bad (and odd) requests by name: headers beside the request id, and value."""
    named = [(DEPLOYMENT_ID, deployment.encode())]

    def rows(text: str) -> bytes:
        return f'{{"input_data":[{{"values":[{text}]}}]}}'.encode()

    return {
        "not JSON": (named, b"\xff{"),
        "no value": (named, None),
        "JSON 100,000 deep": (named, b"[" * 100_000 + b"]" * 100_000),
        "wrong types": (named, rows('["a",[],{}]')),
        "NaN and Infinity": (named, rows("[NaN,Infinity,0]")),
        "a number beyond a double": (named, rows(f"[1e400,0,{10**400}]")),
        "no rows": (named, rows("")),
        MANY_ROWS: (named, rows(",".join(["[0,0,0]"] * 100_000))),
        "unknown fields": (named, b'{"input_data":[{"fields":["a"],"values":[[1]]}]}'),
        "a string of 900 KB": (named, rows(f'["{"x" * 900_000}",0,0]')),
        "an unknown deployment": ([(DEPLOYMENT_ID, b"nobody")], FLOOR),
        "a deadline in 1970": ([*named, (DEADLINE, b"1")], FLOOR),
        "a deadline of 400 digits": ([*named, (DEADLINE, b"9" * 400)], FLOOR),
        "a revision that never comes": ([*named, (MIN_REVISION, b"999999")], FLOOR),
    }


def commands(space: str) -> dict[str, tuple[Pairs, bytes]]:
    """Return bad commands by name: headers beside the id, and value."""
    create = [("ce_type", b"baton.command.create-space.v1")]
    replace = [("ce_type", b"baton.command.replace-asset.v1")]
    nobody = {"space_id": "nobody", "deployment_id": "d", "asset_id": "a"}
    return {
        "not JSON": (create, b"\xff"),
        "no CloudEvent": ([("ce_specversion", b"0.3")], b"{}"),
        "JSON 100,000 deep": (create, b"[" * 100_000 + b"]" * 100_000),
        "wrong types": (create, b'{"space_id":7,"name":[]}'),
        "900 KB of unknown field": (
            create,
            json.dumps({"space_id": space, "x": "y" * 900_000}).encode(),
        ),
        "an unknown space": (replace, json.dumps(nobody).encode()),
        FLOOD: (replace, json.dumps(nobody).encode()),
        # They come without a key on every partition: the space's own and others.
        "a space that exists, on any partition": (
            create,
            json.dumps({"space_id": space, "name": "n"}).encode(),
        ),
    }


def too_large() -> dict[str, bytes]:
    """Return what no broker takes, by name; compressed, most of it would fit."""
    rows = b"[0,0,0]," * 999_999
    return {
        "1,000,000 rows, also compressed": b'{"input_data":[{"values":[%s[0,0,0]]}]}' % rows,
        "10 MB, also compressed": b"x" * 10 * 1024**2,
    }
