"""What crosses a topic: commands, events, state records, scoring messages and the topic table.

Imports pydantic and the standard library only, so that any program can depend on it.
"""
