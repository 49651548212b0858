"""Examples in docstrings and documents, run as they stand: top-level await is allowed."""

import ast
import asyncio
import contextlib
import doctest
import inspect
import io
import re
from typing import NamedTuple

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
INDENTED = re.compile(r"^    (.+)$", re.MULTILINE)
PYTHON = "python"
COMMANDS = ("", "console")
# What is to be read, not to be run.
DATA = ("json", "mermaid", "text")
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


class Example(NamedTuple):
    """A command of a document, or Python, and the lines that it prints there."""

    source: str
    shown: list[str]
    is_python: bool = False


def examples(markdown):
    """Give all that a document has its readers run, in order.

    Commands are indented lines and what is behind ``$`` in a fenced block without a language.
    """
    at = 0
    for fence in FENCE.finditer(markdown):
        yield from indented(markdown[at : fence.start()])
        yield from fenced(*fence.groups())
        at = fence.end()
    yield from indented(markdown[at:])


def indented(text):
    return (Example(line, []) for line in INDENTED.findall(text))


def fenced(language, text):
    if language == PYTHON:
        yield Example(text, [], is_python=True)
    elif language not in DATA:
        assert language in COMMANDS, f"not run and not known as data: {language}"
        before, *parts = re.split(r"^\$ ", text, flags=re.MULTILINE)
        assert not before, f"no command above what is printed: call it text\n{before}"
        for part in parts:
            command, *lines = part.rstrip().splitlines()
            while command.endswith("\\"):
                command += f"\n{lines.pop(0)}"
            yield Example(command, lines)


def python_blocks(markdown):
    """Return the Python in a document's fenced blocks, in order."""
    return [example.source for example in examples(markdown) if example.is_python]
