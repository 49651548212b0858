"""Where a model file may lie: containment of URIs, decided on the text alone."""

from collections.abc import Callable
from urllib.parse import unquote


def is_inside(uri: str, root: str) -> bool:
    """Return whether ``uri`` lies below ``root``. Both are URLs or absolute paths.

    Some of those who open it take ``%2F`` for a slash and some do not: it has to lie inside either
    way. ``..`` is refused wherever it stands, escaped or not; so are queries and fragments.
    """
    return all(_below(_parts(uri, read), _parts(root, read)) for read in (str, unquote))


def _below(there: tuple[str, str, str] | None, here: tuple[str, str, str] | None) -> bool:
    if there is None or here is None or there[:2] != here[:2]:
        return False
    base = here[2].rstrip("/") + "/"
    rest = there[2].removeprefix(base)
    # fsspec chains addresses by "::".
    return there[2].startswith(base) and "::" not in rest and not set(rest.split("/")) <= {"", "."}


def _parts(uri: str, read: Callable[[str], str]) -> tuple[str, str, str] | None:
    """Return scheme, host and path; None for what no root and no file is called."""
    # By hand: urlsplit drops and folds characters that stay for whoever opens the file.
    scheme, netloc, path = "file", "", uri
    if "://" in uri:
        scheme, _, rest = uri.partition("://")
        netloc, slash, path = rest.partition("/")
        path = slash + path
        if "?" in uri or "#" in uri:
            return None
        # memory://a/b and s3://bucket/key: some file systems read the host as part of the path.
    path = read(path)
    if "\\" in path or "\0" in path or ".." in path.split("/"):
        return None
    if scheme == "file" and (netloc or not path.startswith("/")):
        return None
    return scheme, netloc, path
