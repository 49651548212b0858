"""The settings every Baton process shares: one frozen object, built once in main."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from schemas import variables
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
        return cls(
            bootstrap_servers=overrides.get("bootstrap_servers")
            or variables.BOOTSTRAP_SERVERS.text(environ),
            topic_prefix=variables.TOPIC_PREFIX.text(environ),
            store=roots(variables.STORE.text(environ)),
            app=variables.APP.text(environ),
            control_partitions=variables.CONTROL_PARTITIONS.whole(environ),
            data_partitions=variables.DATA_PARTITIONS.whole(environ),
        )

    def environment(self) -> dict[str, str]:
        """Return the variables that give a child process these settings."""
        return {
            variables.BOOTSTRAP_SERVERS.name: self.bootstrap_servers,
            variables.TOPIC_PREFIX.name: self.topic_prefix,
            variables.STORE.name: ",".join(self.store),
            variables.APP.name: self.app,
            variables.CONTROL_PARTITIONS.name: str(self.control_partitions),
            variables.DATA_PARTITIONS.name: str(self.data_partitions),
        }


def roots(text: str) -> tuple[str, ...]:
    """Return the roots in a comma-separated list; folders as absolute paths."""
    given = [root.strip() for root in text.split(",") if root.strip()]
    return tuple(root if "://" in root else str(Path(root).absolute()) for root in given)
