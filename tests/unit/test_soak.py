"""The soak's judgement: what it takes for a leak, and what it does not."""

import json
import subprocess
import sys
from collections import Counter
from types import SimpleNamespace

import pytest

from bench.sampling import MIB, Sample, Sampler, slope_per_hour
from bench.soak import Run, show, verdict
from demo.traffic import Sent
from tests.support import until


def sampled(rss=lambda _: 300 * MIB, fds=lambda _: 40, threads=lambda _: 9):
    """Samples of 20 minutes, one each 5 s."""
    samples = [Sample(at, rss(at), fds(at), threads(at)) for at in range(0, 1200, 5)]
    return SimpleNamespace(samples={"agent-1": samples})


@pytest.mark.parametrize(
    ("sampler", "leaks"),
    [
        (sampled(), 0),
        (sampled(rss=lambda at: (300 + at % 20) * MIB), 0),
        (sampled(rss=lambda at: min(300 + at / 6, 380) * MIB, threads=lambda at: min(at, 32)), 0),
        (sampled(rss=lambda at: (300 + at / 60) * MIB), 1),
        (sampled(fds=lambda at: 40 + at // 120), 1),
        (sampled(threads=lambda at: 9 + at // 60, fds=lambda at: at), 2),
    ],
)
def test_what_rises_through_the_second_half_is_a_leak_and_what_settles_is_none(sampler, leaks):
    assert len(show(sampler)) == leaks


def test_the_slope_is_a_least_squares_line_an_hour():
    samples = [Sample(at, 7 * at, 1, 1) for at in range(10)]
    assert slope_per_hour(samples, "rss") == pytest.approx(7 * 3600)
    assert slope_per_hour(samples[:1], "rss") == 0


def test_lost_repeated_stale_and_failed_requests_are_told():
    traffic = SimpleNamespace(
        ledger={name: Sent(0.0, 2) for name in "abc"}, answered=2, stale=lambda: 1
    )
    traffic.ledger["c"].error = "no"
    run = Run(traffic)
    assert verdict(run, Counter("aabb")) == [
        "1 lost", "2 twice", "1 stale", "1 errors", "e.g. no",
    ]  # fmt: skip


def test_a_process_and_its_children_are_sampled_until_it_dies(tmp_path):
    nested = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"
    process = subprocess.Popen(
        [sys.executable, "-c", nested], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    out = tmp_path / "samples" / "s.jsonl"
    with Sampler({"p": process.pid}, 0.05, out) as sampler:
        until(lambda: "p's children" in sampler.samples, "a sample of the child")
        process.kill()
        until(lambda: sampler.died == {"p"}, "its death is noticed")
    process.communicate()
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert {line["process"] for line in lines} == {"p", "p's children"}
    assert all(line["rss"] > 0 and line["fds"] > 0 for line in lines[:1])
