"""What is wrong with a document, in a few words."""

from pydantic import ValidationError


def first_fault(error: ValidationError, whole: str = "the document") -> str:
    """Return the first fault as "where: what"; where it is of no field, it is of the ``whole``."""
    fault = error.errors(include_url=False)[0]
    where = ".".join(map(str, fault["loc"])) or whole
    return f"{where}: {fault['msg']}"
