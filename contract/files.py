"""The files of docs/contract/."""

import json
from pathlib import Path

import yaml

from contract.document import document, json_schemas
from contract.page import page


def files() -> dict[str, str]:
    """Return the text of each file, by its path below docs/contract/."""
    told = document()
    found = {
        "asyncapi.yaml": yaml.dump(
            # Through JSON: a StrEnum's member is a plain text there.
            json.loads(json.dumps(told)),
            Dumper=_NoAliases,
            sort_keys=False,
            allow_unicode=True,
            width=100,
        ),
        "index.html": page(told),
    }
    for name, schema in json_schemas().items():
        found[f"schemas/{name}"] = json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
    return found


def stale(root: Path) -> list[str]:
    """Return which files below ``root`` are not what the code says: other, missing or too many."""
    made = files()
    there = {
        str(path.relative_to(root)): path.read_text()
        for kind in ("*.yaml", "*.html", "*.json")
        for path in root.rglob(kind)
    }
    return sorted(name for name in made.keys() | there.keys() if made.get(name) != there.get(name))


class _NoAliases(yaml.SafeDumper):
    """Parts that are the same are written out: a reader of YAML's anchors is rare."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - yaml's
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        style = "|" if "\n" in data else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style)


_NoAliases.add_representer(str, _NoAliases.represent_str)
