"""Examples in docstrings and documents, run as they stand: top-level await is allowed."""

import ast
import asyncio
import contextlib
import doctest
import inspect
import io
import re

ELLIPSIS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


async def run(source, names, *, mode="exec"):
    """Run Python; what it prints. Code without an await runs in a thread: it may block."""
    code = compile(source, "<example>", mode, flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        if code.co_flags & inspect.CO_COROUTINE:
            await eval(code, names)  # noqa: S307 - our own examples
        else:
            await asyncio.to_thread(eval, code, names)
    return printed.getvalue()


async def run_docstring(docstring, names):
    """Run the ``>>>`` examples of a docstring in order, each against what it shows."""
    for example in doctest.DocTestParser().get_examples(docstring):
        got = await run(example.source, names, mode="single")
        right = doctest.OutputChecker().check_output(example.want, got, ELLIPSIS)
        assert right, f"{example.source}expected {example.want}got {got}"


def python_blocks(markdown):
    """Return the Python in a document's fenced blocks, in order."""
    return re.findall(r"^```python\n(.*?)^```", markdown, re.DOTALL | re.MULTILINE)
