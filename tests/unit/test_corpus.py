"""Every input that fuzzing keeps, and structured ones of hypothesis, through the fuzz targets.

What a target promises stands in tests/fuzz/targets.py; ``make fuzz`` looks for more.
"""

import json
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given
from pydantic import ValidationError

from schemas.manifest import Manifest
from schemas.uris import is_inside
from tests.fuzz.targets import (
    SPACE,
    TARGETS,
    command,
    command_letter,
    manifest_of,
    write_letter,
)
from tests.fuzz.targets import manifest as read_manifest

CORPUS = Path(__file__).parents[1] / "fuzz" / "corpus"
KEPT = sorted(path for path in CORPUS.glob("*/*") if path.is_file())
LARGEST = 16 * 1024


@pytest.mark.parametrize("path", KEPT, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_fuzzing_found_breaks_nothing_any_more(path):
    assert path.stat().st_size <= LARGEST, "the corpus holds small files: reduce it"
    TARGETS[path.parent.name](path.read_bytes())


def test_every_target_has_a_corpus():
    assert {path.parent.name for path in KEPT} == set(TARGETS)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
NESTED = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=2), max_leaves=4)
DEEP = st.integers(1, 900).map(lambda depth: json.loads("[" * depth + "]" * depth))
ANYTHING = NESTED | DEEP | st.sampled_from(["nan", "inf", "-inf", 10**300, 1e308])


@given(st.data())
def test_no_accepted_manifest_is_one_that_the_next_owner_cannot_read(data):
    whole = manifest_of("c")
    where = data.draw(st.sampled_from(["metrics", "sample", "classes", "size", "tags", "uri"]))
    odd = data.draw(ANYTHING)
    whole |= {
        "metrics": {"metrics": {"auc": odd}},
        "sample": {"sample": {"fields": ["x"], "values": [[odd]]}},
        "classes": {"output_schema": {"task": "t", "classes": [odd]}},
    }.get(where, {where: odd})
    value = json.dumps(whole).encode(errors="surrogatepass")
    read_manifest(value)
    headers, _ = command_letter("promote-asset", {})
    body = json.dumps({"space_id": SPACE, "asset_id": "c", "manifest": whole})
    command(write_letter(headers, body.encode(errors="surrogatepass")))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"metrics": {"auc": "nan"}}, "finite"),
        ({"metrics": {"auc": "-inf"}}, "finite"),
        ({"sample": {"fields": ["x"], "values": [[[1.0]]]}}, "not list"),
        ({"sample": {"fields": ["x"], "values": [[float("inf")]]}}, "finite"),
        ({"output_schema": {"task": "t", "classes": [float("nan")]}}, "finite"),
    ],
)
def test_a_manifest_that_json_cannot_keep_is_refused(change, told):
    with pytest.raises(ValidationError, match=told):
        Manifest.model_validate(manifest_of("c") | change)


SEGMENTS = st.sampled_from(["s", "t", ".", "..", "", "%2e%2e", "%2F", "s%2Ft", "%73", "a\tb", "::"])
SCHEMES = st.sampled_from(["/", "//", "file:///", "FILE:///", " file:///", "s3://b/", "s3://["])
ADDRESSES = st.builds(
    lambda scheme, segments: scheme + "/".join(segments), SCHEMES, st.lists(SEGMENTS, max_size=4)
)


@given(ADDRESSES, ADDRESSES)
def test_what_is_inside_by_its_text_is_inside_when_it_is_opened(there, root):
    TARGETS["uri"](f"{there}\n{root}".encode())


@pytest.mark.parametrize(
    ("there", "root", "inside"),
    [
        ("/s/a", "/s", True),
        ("/s/a", "/s/", True),
        ("file:///s/a", "/s", True),
        ("s3://b/s/a", "s3://b/s", True),
        ("memory://m/a", "memory://m", True),
        ("/data/50%/a", "/data/50%", True),
        ("/s", "/s", False),
        ("/s/.", "/s", False),
        ("/st/a", "/s", False),
        ("/s%2Fa", "/s", False),
        ("/s/%2e%2e/a", "/s", False),
        ("file:///s\t/a", "file:///s", False),
        ("FILE:///s/a", "file:///s", False),
        ("file://host/s/a", "/s", False),
        ("s3://B/s/a", "s3://b/s", False),
        ("s3://[/a", "s3://b", False),
        ("s3://b/s/a?versionId=1", "s3://b/s", False),
        ("memory://m/a::file:///etc/passwd", "memory://m", False),
    ],
)
def test_the_address_decides_where_a_file_may_lie(there, root, inside):
    assert is_inside(there, root) is inside
