"""Workers and agents are killed, paused and stopped under load; then everything is counted.

``make chaos SEED=7 MINUTES=5``. The seed gives the order of the faults, not their exact moments.
"""

import asyncio
import random
import signal
import time

import pytest

from client import BatonClient, CommandRejected, ScoringClient
from demo.traffic import Traffic
from schemas.events import FINAL
from tests.checker import (
    assert_each_answered_once,
    assert_gapless,
    assert_revisions_rise_by_one,
    assert_state_is_what_the_log_says,
    log_of,
)
from tests.support import Process, Stack, new_settings, until

pytestmark = [pytest.mark.chaos, pytest.mark.broker]

RATE = 300
DEPLOYMENTS = 3
# Longer than the groups wait for a member: what wakes must find itself fenced.
PAUSE_S = (11.0, 15.0)
PATIENCE_S = 90.0


async def replace(baton, traffic, commands, space, assets, stop):
    """Replace, roll back and be refused, one after the other."""
    turn, deployment = 0, traffic.deployment_id
    while not stop.is_set():
        turn += 1
        command_id = f"{deployment}-{turn}"
        serving = (await baton.deployment(deployment)).asset.asset_id
        other = assets[1] if serving == assets[0] else assets[0]
        try:
            if turn % 5 == 0:
                outcome = await baton.rollback_deployment(space, deployment, command_id=command_id)
            else:
                wanted = serving if turn % 7 == 0 else other
                outcome = await baton.replace_asset(
                    space, deployment, wanted, command_id=command_id
                )
        except CommandRejected as refusal:
            commands[command_id] = refusal.rejection
        else:
            commands[command_id] = outcome.name
            traffic.floor = outcome.revision
        await asyncio.sleep(0.05)


class Faults:
    """Two workers and two agents; one at a time has a bad moment."""

    def __init__(self, settings, folder, seed):
        self.settings, self.folder = settings, folder
        self.random = random.Random(seed)
        self.members = {
            (module, n): self.start(module) for module in ("worker", "scoring") for n in (1, 2)
        }
        self.done = []
        self.ended_itself = 0

    def start(self, module):
        return Process(module, self.settings, self.folder)

    def strike(self):
        """Make one fault and mend it."""
        victim = self.random.choice(sorted(self.members))
        fault = self.random.choice(["kill", "kill", "pause", "stop"])
        away = self.random.uniform(0, 3)
        process = self.members[victim]
        print(f"  {fault:5} {victim[0]} {victim[1]}", flush=True)
        self.done.append(fault)
        if fault == "pause":
            process.popen.send_signal(signal.SIGSTOP)
            time.sleep(self.random.uniform(*PAUSE_S))
            process.popen.send_signal(signal.SIGCONT)
        elif fault == "stop":
            assert process.stop() == 0, process.tail()
        else:
            process.kill()
        time.sleep(away)
        self.mend()

    def mend(self):
        """Start again what has ended, as `baton up` does, until all are ready."""

        def all_ready():
            for member, process in self.members.items():
                status = process.popen.poll()
                # Killed, stopped, or ended by itself because it could not go on safely.
                assert status in {None, -signal.SIGKILL, 0, 70}, process.tail()
                if status is not None:
                    self.ended_itself += status == 70
                    self.members[member] = self.start(member[0])
            return all(process.ready_file.exists() for process in self.members.values())

        until(all_ready, "every member is ready")

    def end(self):
        for process in self.members.values():
            assert process.stop() == 0, process.tail()

    def kill(self):
        for process in self.members.values():
            if process.popen.poll() is None:
                process.kill()


async def test_nothing_is_lost_repeated_or_stale(bootstrap_servers, tmp_path, request):
    seed = request.config.getoption("--seed")
    minutes = request.config.getoption("--minutes")
    print(f"\nseed {seed}, {minutes:g} min: make chaos SEED={seed} MINUTES={minutes:g}", flush=True)
    settings = new_settings(bootstrap_servers, tmp_path)
    faults = await asyncio.to_thread(Faults, settings, tmp_path, seed)
    try:
        await asyncio.to_thread(faults.mend)
        async with (
            BatonClient(settings, source="/chaos", timeout_s=PATIENCE_S) as baton,
            ScoringClient(settings, timeout_s=PATIENCE_S) as scoring,
        ):
            stack = Stack(settings, tmp_path, baton, scoring)
            streams, commands = await under_load(faults, stack, minutes)
        await asyncio.to_thread(faults.mend)
        await asyncio.to_thread(faults.end)
    finally:
        faults.kill()
    log = await log_of(settings)
    ledger = [entry for stream in streams for entry in stream.ledger.values()]
    errors = [entry.error for entry in ledger if entry.error is not None]
    answered = sum(stream.answered for stream in streams)
    stale = sum(stream.stale() for stream in streams)
    print(
        f"  {len(faults.done)} faults, {faults.ended_itself} ended by themselves; "
        f"{len(ledger)} requests, {answered} answered, {stale} stale, {len(errors)} errors; "
        f"{len(commands)} commands; revisions {sorted(stream.floor for stream in streams)}",
        flush=True,
    )
    assert errors == []
    assert stale == 0
    assert answered == len(ledger)
    await assert_each_answered_once(settings, len(ledger))
    assert_gapless(log)
    assert_revisions_rise_by_one(log)
    await assert_state_is_what_the_log_says(settings, log)
    ended = [event.command_id for event in log if event.name in FINAL]
    assert len(ended) == len(set(ended))
    assert set(commands) <= set(ended)


async def under_load(faults, stack, minutes):
    """Return the streams of requests and what became of each command."""
    stop, commands, streams, changes = asyncio.Event(), {}, [], []
    for _ in range(DEPLOYMENTS):
        space, deployment, assets = await stack.deployed("binary", "binary")
        fields, rows = ["x0", "x1", "x2"], [[float(x), 0.0, 0.0] for x in range(7)]
        rate = RATE // DEPLOYMENTS
        streams.append(Traffic(stack.scoring, deployment, fields, rows, rate, floor=1))
        changes.append(replace(stack.baton, streams[-1], commands, space, assets, stop))
    for stream in streams:
        stream.start()
    load = asyncio.gather(*changes)
    end = time.monotonic() + 60 * minutes
    while time.monotonic() < end and not load.done():
        await asyncio.to_thread(faults.strike)
    stop.set()
    await load
    for stream in streams:
        await stream.stop()
    return streams, commands
