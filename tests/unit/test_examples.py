"""The examples in other languages say what the contract says.

What Node's writes is checked where it runs: tests/integration/test_clients_contract.py.
"""

import json
import re
from pathlib import Path

import pytest

from tests.unit.records import catalogue, faults

FOLDER = Path(__file__).parents[2] / "examples"
PROGRAMS = ["go/main.go", "java/Replace.java", "kcat/replace.sh", "node/replace.mjs"]
# What stands for a value, in printf of three languages.
PLACEHOLDERS = {"%q": '"x1"', "%s": "x1"}
COMMAND, REQUEST = "command.replace-asset", "request.wml"


def bodies(program):
    """The JSON texts in a program: each on a line of its own."""
    for text in re.findall(r'\{"(?:space_id|input_data)".*\}', (FOLDER / program).read_text()):
        for placeholder, value in PLACEHOLDERS.items():
            text = text.replace(placeholder, value)  # noqa: PLW2901 - the same text, filled in
        yield json.loads(text)


@pytest.mark.parametrize("program", [name for name in PROGRAMS if not name.endswith(".mjs")])
def test_the_messages_of_an_example_fit_their_schemas(program):
    command, request = bodies(program)
    given = catalogue()[COMMAND].example.headers
    assert faults(COMMAND, "x1", given, command) == []
    assert faults(REQUEST, "", {}, request) == []


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_headers_of_an_example_are_the_contract_s(program):
    text = (FOLDER / program).read_text()
    known = {
        name: schema
        for message in (COMMAND, REQUEST, "event.deployment-updated", "response.wml")
        for name, schema in catalogue()[message].headers["properties"].items()
    }
    written = set(re.findall(r"\b(?:ce_[a-z]+|(?:deployment|request)-id|content-type)\b", text))
    assert written <= set(known)
    required = {*catalogue()[COMMAND].headers["required"], "deployment-id", "request-id"}
    assert required <= written
    for name in catalogue()[COMMAND].headers["required"]:
        assert catalogue()[COMMAND].headers["properties"][name].get("const", "") in text


def test_the_lock_of_the_node_example_names_no_registry():
    lock = json.loads((FOLDER / "node" / "package-lock.json").read_text())
    packages = [package for name, package in lock["packages"].items() if name]
    assert packages
    assert all("integrity" in package and "resolved" not in package for package in packages)
