"""``python -m tests.fuzz [TARGET …] --seconds N``: coverage-guided fuzzing of the decoders.

Each target runs in a process of its own from its corpus. An input that breaks a promise is kept in
tests/fuzz/corpus/TARGET, where the unit tests replay it, and the exit status is 1.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

# A row of libFuzzer's progress: #4096 pulse cov: 300 ft: 900 corp: 50/2Kb exec/s: 2048 rss: 90Mb
PROGRESS = re.compile(r"#(\d+)\s.*?cov: (\d+) ft: (\d+) corp: (\d+)")
CORPUS = Path(__file__).parent / "corpus"
FOLDERS = ["schemas", "artifacts", "worker", "scoring", "client", "transport"]
# An input that takes so long (s) or so much memory (MiB) is a finding too.
SLOW_S = 10
LARGE_MB = 3072
LONGEST = 16_384


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--flag", action="append", default=[], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside:
        fuzz(given.targets[0], given.flag)
    else:
        sys.exit(run(given.targets, given.seconds))


def fuzz(name, flags):
    """Fuzz in this process; does not return."""
    import atheris

    atheris.enabled_hooks.add("str")
    with atheris.instrument_imports(include=FOLDERS, enable_loader_override=False):
        from tests.fuzz.targets import TARGETS
    atheris.Setup([sys.argv[0], *flags], TARGETS[name])
    atheris.Fuzz()


def run(names, seconds):
    """Fuzz the named targets one after the other and print a line each; the exit status."""
    known = sorted(path.name for path in CORPUS.iterdir())
    strangers = sorted(set(names) - set(known))
    if strangers:
        sys.stderr.write(f"no target {', '.join(strangers)}: there are {', '.join(known)}\n")
        return 2
    sys.stdout.write(f"{'target':12} {'executions':>12} {'coverage':>9} {'features':>9}  found\n")
    broken = [name for name in names or known if not campaign(name, seconds)]
    return 1 if broken else 0


def campaign(name, seconds):
    """Fuzz one target for ``seconds``; whether nothing broke."""
    kept = CORPUS / name
    before = set(kept.iterdir())
    with tempfile.TemporaryDirectory(prefix="baton-fuzz-") as grown:
        flags = [
            f"-max_total_time={seconds}",
            f"-timeout={SLOW_S}",
            f"-rss_limit_mb={LARGE_MB}",
            f"-max_len={LONGEST}",
            f"-artifact_prefix={kept}/found-",
            grown,
            str(kept),
        ]
        command = [sys.executable, "-m", "tests.fuzz", name, "--inside"]
        command += [f"--flag={flag}" for flag in flags]
        ran = subprocess.run(command, capture_output=True, check=False)
    log = ran.stderr.decode(errors="replace")
    progress = PROGRESS.findall(log)
    executions, coverage, features, _ = map(int, progress[-1]) if progress else (0, 0, 0, 0)
    found = sorted(str(path) for path in set(kept.iterdir()) - before)
    sys.stdout.write(f"{name:12} {executions:12,} {coverage:9,} {features:9,}  ")
    sys.stdout.write(", ".join(found) or "nothing" if ran.returncode == 0 else "")
    sys.stdout.write("\n")
    sys.stdout.flush()
    if ran.returncode:
        sys.stdout.write(f"\n{_finding(log, ran.stdout.decode(errors='replace'))}\n\n")
    return ran.returncode == 0 and not found


def _finding(log, out):
    """The traceback of a finding; where there is none, the end of the log."""
    text = f"{out}\n{log}"
    begin = text.find(" === Uncaught Python exception: ===")
    return text[begin:].partition("\n\n")[0] if begin >= 0 else text[-3000:]


if __name__ == "__main__":
    main()
