"""``python -m client.cli`` is ``baton``."""

from client.cli import main

main(prog_name="baton")
