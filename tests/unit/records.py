"""Records held against the contract: which message one is, and where it does not fit."""

from functools import cache

import jsonschema
from jsonschema.validators import validator_for

from contract.definitions import definitions
from contract.document import json_schemas
from contract.messages import messages


@cache
def catalogue():
    return {message.name: message for message in messages(definitions())}


@cache
def validators(name):
    """Of payload, headers and key."""
    schemas = json_schemas()
    payload, headers = schemas[f"{name}.json"], schemas[f"headers/{name}.json"]
    validator_for(payload).check_schema(payload)
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    return [
        jsonschema.Draft202012Validator(schema, format_checker=checker)
        for schema in (payload, headers, catalogue()[name].key)
    ]


def faults(name, key, headers, payload):
    """What of a record is not as the message ``name`` says; ``payload`` is its JSON, read."""
    parts = zip(validators(name), (payload, headers, key), strict=True)
    return [
        f"{name}: {'.'.join(map(str, fault.path))}: {fault.message}"
        for validator, part in parts
        for fault in validator.iter_errors(part)
    ]


def kind_of(topic, key, headers, payload):
    """The one message of ``topic`` that a record is. None or several: an AssertionError says so."""
    names = [name for name, message in catalogue().items() if topic.endswith(f".{message.topic}")]
    wrong = {name: faults(name, key, headers, payload) for name in names}
    fits = [name for name, found in wrong.items() if not found]
    assert len(fits) == 1, (topic, key, headers, payload, fits, wrong)
    return fits[0]
