"""What this runtime can load."""

import sklearn


def runtime_frameworks() -> dict[str, str]:
    """Return the frameworks that this process can load, by name, with their versions."""
    return {"scikit-learn": sklearn.__version__}
