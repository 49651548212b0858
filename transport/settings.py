"""The settings every Baton process shares: one frozen object, built once in main."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from schemas.errors import SettingsError
from schemas.topics import Topics

DEFAULT_STORE = Path(".baton/store")


@dataclass(frozen=True, slots=True)
class Settings:
    """Where Kafka is, what the topics are called, and where model files live.

    ``store`` holds the roots (fsspec URLs or absolute folders) models may be read from; new ones
    are written to the first. ``app`` prefixes consumer groups and transactional ids.
    """

    bootstrap_servers: str
    topic_prefix: str = "baton."
    store: tuple[str, ...] = ()
    app: str = "baton"
    control_partitions: int = 4
    data_partitions: int = 4

    def __post_init__(self) -> None:
        if not self.bootstrap_servers:
            raise SettingsError(
                "no Kafka given: set BATON_BOOTSTRAP_SERVERS to host:port, or run `baton up`"
            )
        if not self.store:
            object.__setattr__(self, "store", (str(DEFAULT_STORE.absolute()),))
        for name in ("control_partitions", "data_partitions"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} must be at least 1, not {getattr(self, name)}")

    @property
    def topics(self) -> Topics:
        """The topic table under these settings."""
        return Topics(self.topic_prefix, self.control_partitions, self.data_partitions)

    @classmethod
    def from_env(cls, environ: Mapping[str, str], **overrides: str) -> "Settings":
        """Build the settings from ``BATON_*`` variables; ``overrides`` win where not empty.

        Raises SettingsError, naming the variable.
        """
        settings = cls(
            bootstrap_servers=overrides.get("bootstrap_servers")
            or environ.get("BATON_BOOTSTRAP_SERVERS", ""),
            topic_prefix=environ.get("BATON_TOPIC_PREFIX", "baton."),
            store=roots(environ.get("BATON_STORE", "")),
            app=environ.get("BATON_APP", "baton"),
        )
        return replace(
            settings,
            control_partitions=_count(environ, "BATON_CONTROL_PARTITIONS"),
            data_partitions=_count(environ, "BATON_DATA_PARTITIONS"),
        )

    def environment(self) -> dict[str, str]:
        """Return the variables that give a child process these settings."""
        return {
            "BATON_BOOTSTRAP_SERVERS": self.bootstrap_servers,
            "BATON_TOPIC_PREFIX": self.topic_prefix,
            "BATON_STORE": ",".join(self.store),
            "BATON_APP": self.app,
            "BATON_CONTROL_PARTITIONS": str(self.control_partitions),
            "BATON_DATA_PARTITIONS": str(self.data_partitions),
        }


def roots(text: str) -> tuple[str, ...]:
    """Return the roots in a comma-separated list; folders as absolute paths."""
    given = [root.strip() for root in text.split(",") if root.strip()]
    return tuple(root if "://" in root else str(Path(root).absolute()) for root in given)


def _count(environ: Mapping[str, str], name: str) -> int:
    text = environ.get(name, "4")
    if not text.isascii() or not text.isdigit():
        raise SettingsError(f"{name} must be a whole number, not {text!r}")
    return int(text)
