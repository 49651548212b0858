"""Where a model file may lie: containment of URIs, decided on the text alone."""

import posixpath
from urllib.parse import unquote, urlsplit


def is_inside(uri: str, root: str) -> bool:
    """Return whether ``uri`` lies below ``root``. Both are URLs or absolute paths.

    ``..`` is refused wherever it stands, escaped or not; so are queries and fragments.
    """
    there, here = _parts(uri), _parts(root)
    if there is None or here is None or there[:2] != here[:2]:
        return False
    base = here[2].rstrip("/")
    return there[2].startswith(f"{base}/") and there[2] != f"{base}/"


def _parts(uri: str) -> tuple[str, str, str] | None:
    if "\\" in uri or "\0" in uri:
        return None
    if "://" not in uri:
        scheme, netloc, path = "file", "", uri
    else:
        split = urlsplit(uri)
        if split.query or split.fragment:
            return None
        scheme, netloc, path = split.scheme.lower(), split.netloc.lower(), split.path
        # memory://a/b and s3://bucket/key: some file systems read the host as part of the path.
    path = unquote(path)
    if ".." in path.split("/") or (scheme == "file" and not path.startswith("/")):
        return None
    return scheme, netloc, posixpath.normpath(f"/{path.lstrip('/')}")
