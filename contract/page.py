"""The document as one HTML page: no script, nothing from elsewhere."""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from contract.definitions import POINTER, Schema

TEMPLATE = "page.html.j2"
_LIMITS = {
    "pattern": "matches",
    "minLength": "characters ≥",
    "maxLength": "characters ≤",
    "minItems": "entries ≥",
    "maxItems": "entries ≤",
    "minimum": "≥",
    "maximum": "≤",
    "format": "format",
    "default": "default",
}


class Row(NamedTuple):
    """A member of an object. ``path`` is dotted; ``[]`` stands for each entry of a list."""

    path: str
    kind: str
    required: bool
    limits: str
    description: str


def page(document: dict[str, Any]) -> str:
    """Return the HTML of an AsyncAPI document."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    schemas = document["components"]["schemas"]
    return environment.get_template(TEMPLATE).render(
        document=document,
        messages=document["components"]["messages"],
        rows=lambda schema: rows(schema, schemas),
        kind=lambda schema: _kind(schema, schemas),
        limits=_limits,
        json=lambda value: json.dumps(value, indent=2, ensure_ascii=False),
        prose=_prose,
        paragraphs=lambda text: [_prose(part) for part in text.strip().split("\n\n")],
    )


def rows(schema: Schema, schemas: dict[str, Schema], path: str = "") -> list[Row]:
    """Return the members of ``schema`` and of the objects in it, in order."""
    schema = _resolved(schema, schemas)
    found = []
    for name, part in schema.get("properties", {}).items():
        where = f"{path}{name}"
        target = _resolved(part, schemas)
        found.append(
            Row(
                where,
                _kind(part, schemas),
                name in schema.get("required", ()),
                _limits(target),
                part.get("description", target.get("description", "")),
            )
        )
        while "items" in target:
            where, target = f"{where}[]", _resolved(target["items"], schemas)
        found += rows(target, schemas, f"{where}.")
    for part in schema.get("oneOf", ()):
        found += rows(part, schemas, path)
    return found


def _resolved(schema: Schema, schemas: dict[str, Schema]) -> Schema:
    """Follow references; of "this or null" return this."""
    if "$ref" in schema:
        return _resolved(schemas[schema["$ref"].removeprefix(POINTER)], schemas)
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    return _resolved(kinds[0], schemas) if len(kinds) == 1 else schema


def _kind(schema: Schema, schemas: dict[str, Schema]) -> str:
    if "$ref" in schema:
        return _kind(_resolved(schema, schemas), schemas)
    if "anyOf" in schema:
        kinds = dict.fromkeys(_kind(kind, schemas) for kind in schema["anyOf"])
        return " or ".join(kinds)
    if "const" in schema:
        return json.dumps(schema["const"])
    if "enum" in schema:
        return " | ".join(schema["enum"])
    if "items" in schema:
        return f"array of {_kind(schema['items'], schemas)}"
    kind = schema.get("type", "any")
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


def _prose(text: str) -> Markup:
    """Return one paragraph, what stands in backticks as code."""
    return Markup(re.sub(r"(`+)(.+?)\1", r"<code>\2</code>", str(escape(text))))  # noqa: S704 - escaped


def _limits(schema: Schema) -> str:
    # What is null, empty or an object by default is simply left out.
    return ", ".join(
        f"{word} {schema[name]}"
        for name, word in _LIMITS.items()
        if isinstance(schema.get(name), str | int) and schema[name] != ""
    )
