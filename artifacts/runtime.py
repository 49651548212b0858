"""What this runtime can load."""

from importlib.metadata import version


def runtime_frameworks() -> dict[str, str]:
    """Return the frameworks that models can be loaded with here, by name, with their versions.

    By what is installed: a worker loads no model itself, and to import scikit-learn takes longer
    than everything else of its start.
    """
    return {"scikit-learn": version("scikit-learn")}
