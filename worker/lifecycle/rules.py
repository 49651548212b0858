"""What this worker can load and where from: settings that the rules take as data."""

from dataclasses import dataclass

from schemas.checks import Check
from schemas.manifest import Framework
from schemas.uris import is_inside


@dataclass(frozen=True, slots=True)
class Rules:
    """``frameworks`` maps a name to the runtime's version, e.g. ``{"scikit-learn": "1.9.1"}``.

    ``allowed_versions`` are loaded although their minor version differs; ``roots`` are the stores
    a model may lie in.
    """

    frameworks: dict[str, str]
    allowed_versions: frozenset[str] = frozenset()
    roots: tuple[str, ...] = ()
    update_deadline_ms: int = 600_000

    def framework_check(self, framework: Framework) -> Check:
        """Check that this runtime can load a model of ``framework``.

        A pickle of another minor version may load and answer differently, so it is refused
        (scikit-learn, "Model persistence": no support across versions).
        """
        runtime = self.frameworks.get(framework.name)
        passed = runtime is not None and (
            _minor(runtime) == _minor(framework.version)
            or framework.version in self.allowed_versions
        )
        return Check(
            name="framework",
            passed=passed,
            expected=f"{framework.name} {'.'.join(_minor(runtime))}.x"
            if runtime is not None
            else ", ".join(f"{name} {version}" for name, version in self.frameworks.items()),
            actual=f"{framework.name} {framework.version}",
            hint=""
            if passed
            else "train the model again with the runtime's version, or allow this one by "
            "BATON_ALLOWED_VERSIONS",
        )

    def store_check(self, uri: str) -> Check:
        """Check that ``uri`` lies inside one of the roots."""
        passed = any(is_inside(uri, root) for root in self.roots)
        return Check(
            name="store",
            passed=passed,
            expected=list(self.roots),
            actual=uri,
            hint="" if passed else "save the model into one of these stores (BATON_STORE)",
        )


def _minor(version: str) -> tuple[str, ...]:
    return tuple(version.split(".")[:2])
