"""The environment variables of every Baton process: one table, which docs/settings.md is made of.

``python -m schemas.variables`` writes the page anew.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import SettingsError

PREFIX = "BATON_"
PAGE = Path("docs/settings.md")

EVERY = "every process"
ANY_SERVICE = "worker, scoring, console"
WORKER = "worker"
TRYING = "worker, console"
SCORING = "scoring"
CONSOLE = "console"
LAPTOP = "embedded Kafka"


@dataclass(frozen=True, slots=True)
class Variable:
    """One environment variable: ``default`` as one would write it, "" where there is none."""

    name: str
    readers: str
    default: str
    meaning: str

    def text(self, environ: Mapping[str, str]) -> str:
        """Return the value, or the default."""
        return environ.get(self.name, self.default)

    def whole(self, environ: Mapping[str, str], least: int = 1, most: int | None = None) -> int:
        """Return the value as a whole number. Raises SettingsError, naming the variable."""
        text = self.text(environ)
        if text.isascii() and text.isdigit():
            number = int(text)
            if number >= least and (most is None or number <= most):
                return number
        to = "" if most is None else f" to {most}"
        raise SettingsError(f"{self.name} must be a whole number from {least}{to}, not {text!r}")

    def positive(self, environ: Mapping[str, str]) -> float:
        """Return the value as a number above 0. Raises SettingsError, naming the variable."""
        text = self.text(environ)
        try:
            number = float(text)
        except ValueError:
            number = 0.0
        if not 0 < number < float("inf"):
            raise SettingsError(f"{self.name} must be a positive number, not {text!r}")
        return number

    def choice(self, environ: Mapping[str, str], *among: str) -> str:
        """Return the value, one of ``among``. Raises SettingsError, naming the variable."""
        text = self.text(environ)
        if text not in among:
            raise SettingsError(f"{self.name} is {' or '.join(among)}, not {text!r}")
        return text

    def path(self, environ: Mapping[str, str]) -> Path | None:
        """Return the value as a path, or None where it is not set."""
        text = self.text(environ)
        return Path(text) if text else None


BOOTSTRAP_SERVERS = Variable(
    "BATON_BOOTSTRAP_SERVERS", EVERY, "", "Kafka, as `host:port,…`; `baton up` brings its own"
)
TOPIC_PREFIX = Variable("BATON_TOPIC_PREFIX", EVERY, "baton.", "before the topics' names")
STORE = Variable(
    "BATON_STORE",
    EVERY,
    ".baton/store",
    "where model files live: folders or fsspec URLs, comma-separated; new ones go to the first, "
    "files elsewhere are refused",
)
APP = Variable(
    "BATON_APP",
    EVERY,
    "baton",
    "prefix of consumer groups and transactional ids: one for each installation",
)
CONTROL_PARTITIONS = Variable(
    "BATON_CONTROL_PARTITIONS", EVERY, "4", "partitions of commands, events and state"
)
DATA_PARTITIONS = Variable(
    "BATON_DATA_PARTITIONS", EVERY, "4", "partitions of requests and responses"
)
READY_FILE = Variable(
    "BATON_READY_FILE",
    ANY_SERVICE,
    "",
    "a file that is made once the process serves: for worker and scoring, their partitions are "
    "assigned and the state table is read",
)
LOG_LEVEL = Variable(
    "BATON_LOG_LEVEL", ANY_SERVICE, "INFO", "DEBUG, INFO, WARNING, ERROR or CRITICAL"
)
LOG_FORMAT = Variable(
    "BATON_LOG_FORMAT",
    ANY_SERVICE,
    "text",
    "`text`, or `json`: one object a line, with the ids that it speaks of",
)
METRICS_PORT = Variable(
    "BATON_METRICS_PORT",
    ANY_SERVICE,
    "",
    "where /metrics, /health/live and /health/ready are served; not set: nowhere; 0: a free port, "
    "which the log names. Each process of a machine needs its own: `baton up` gives its worker "
    "this one, and the others those that follow",
)
METRICS_HOST = Variable(
    "BATON_METRICS_HOST", ANY_SERVICE, "127.0.0.1", "the address that port is bound to"
)
METRICS_DEPLOYMENTS = Variable(
    "BATON_METRICS_DEPLOYMENTS",
    SCORING,
    "100",
    "deployments that have metrics of their own: those answered last",
)
VERIFY_TIME_LIMIT = Variable(
    "BATON_VERIFY_TIME_LIMIT_S",
    TRYING,
    "60",
    "of a candidate's verification, in seconds; where the console compares predictions, of loading "
    "a model and of its answer",
)
VERIFY_MEMORY_LIMIT = Variable(
    "BATON_VERIFY_MEMORY_LIMIT_MB",
    TRYING,
    "2048",
    "of a candidate's verification or comparison, in MiB beyond the libraries",
)
UPDATE_DEADLINE = Variable(
    "BATON_UPDATE_DEADLINE_S",
    WORKER,
    "600",
    "a change that waited longer for a worker (seconds) fails",
)
ALLOWED_VERSIONS = Variable(
    "BATON_ALLOWED_VERSIONS",
    WORKER,
    "",
    "scikit-learn versions accepted beside the runtime's minor, comma-separated",
)
DELIVERY = Variable(
    "BATON_DELIVERY",
    SCORING,
    "exactly_once",
    "or `at_least_once`: half the latency, repeats only after a crash",
)
MAX_BATCH = Variable("BATON_MAX_BATCH", SCORING, "8000", "requests in one transaction, at most")
CACHE_MODELS = Variable(
    "BATON_CACHE_MODELS",
    SCORING,
    "64",
    "loaded models kept, at most; the least recently used goes first",
)
CACHE_MB = Variable(
    "BATON_CACHE_MB", SCORING, "4096", "loaded models kept, by the size of their files in MiB"
)
PREDICT_TIME_LIMIT = Variable(
    "BATON_PREDICT_TIME_LIMIT_MS",
    SCORING,
    "10000",
    "one call of a model (milliseconds), of at most 2,000 rows or one request; past it "
    "`model_error` and quarantine",
)
LOAD_TIME_LIMIT = Variable("BATON_LOAD_TIME_LIMIT_S", SCORING, "60", "loading a model, in seconds")
MODEL_MEMORY = Variable(
    "BATON_MODEL_MEMORY_MB", SCORING, "4096", "a model's process, in MiB beyond the libraries"
)
REVISION_WAIT = Variable(
    "BATON_REVISION_WAIT_MS",
    SCORING,
    "2000",
    "how long a request with `min-revision` is waited for, in milliseconds",
)
CONSOLE_HOST = Variable("BATON_CONSOLE_HOST", CONSOLE, "127.0.0.1", "the address it listens on")
CONSOLE_PORT = Variable("BATON_CONSOLE_PORT", CONSOLE, "8470", "its port; 0: a free one")
CONSOLE_TOKEN = Variable(
    "BATON_CONSOLE_TOKEN",
    CONSOLE,
    "",
    "what every caller has to show; not set: nothing on an address of this machine alone, else one "
    "that is made up at each start and told in the log",
)
CONSOLE_HOSTS = Variable(
    "BATON_CONSOLE_HOSTS", CONSOLE, "", "names it answers to beside its address, comma-separated"
)
CONSOLE_IN_FLIGHT = Variable(
    "BATON_CONSOLE_IN_FLIGHT", CONSOLE, "512", "requests that wait for their answer, at most"
)
CONSOLE_TIMEOUT = Variable(
    "BATON_CONSOLE_TIMEOUT_MS", CONSOLE, "30000", "how long one waits, in milliseconds"
)
CONSOLE_UPLOAD = Variable(
    "BATON_CONSOLE_UPLOAD_MB", CONSOLE, "512", "a model file that is uploaded, in MiB at most"
)
CONSOLE_STREAMS = Variable(
    "BATON_CONSOLE_STREAMS",
    CONSOLE,
    "200",
    "event streams that are open at once, at most: each page that somebody looks at has one",
)
CONSOLE_HOME = Variable(
    "BATON_CONSOLE_HOME",
    CONSOLE,
    ".baton",
    "the folder whose experiments and saved models it shows: that of `baton experiment` and "
    "`baton model`",
)
CACHE = Variable(
    "BATON_CACHE", LAPTOP, "", "where its files are kept; not set: `baton` in the user's cache"
)

VARIABLES = tuple(found for found in list(globals().values()) if isinstance(found, Variable))


def unknown(environ: Mapping[str, str]) -> list[str]:
    """Return a warning for each ``BATON_*`` variable in ``environ`` that Baton does not have."""
    known = [variable.name.removeprefix(PREFIX) for variable in VARIABLES]
    found = []
    for name in sorted(environ):
        rest = name.removeprefix(PREFIX)
        if rest != name and rest not in known:
            near = difflib.get_close_matches(rest, known, n=1)
            hint = (
                f": did you mean {PREFIX}{near[0]}?"
                if near
                else "; docs/settings.md lists them all"
            )
            found.append(f"{name} is no setting of Baton{hint}")
    return found


def page() -> str:
    """Return docs/settings.md."""
    rows = [
        f"| `{v.name}` | {f'`{v.default}`' if v.default else ''} | {v.readers} | {v.meaning} |"
        for v in VARIABLES
    ]
    return "\n".join([_HEAD, *rows, _FOOT])


_HEAD = """# Settings

Made from the code (`python -m schemas.variables`): do not edit it by hand.

Every setting is an environment variable, and the same for every process that reads it. A value that
cannot be ends the process at its start, with status 78 and a line that names the variable. A
`BATON_*` variable that is none of these gives a warning that names the nearest one.

| variable | default | read by | |
|---|---|---|---|"""

_FOOT = """
Traces are configured by OpenTelemetry's own variables (`OTEL_EXPORTER_OTLP_ENDPOINT`,
`OTEL_SERVICE_NAME`, `OTEL_TRACES_SAMPLER`, …): see [operations.md](operations.md).
"""


if __name__ == "__main__":
    PAGE.write_text(page())
