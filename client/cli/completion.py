"""``baton completion``: what a shell needs to complete commands, options, names and IDs."""

import click
from click.shell_completion import get_completion_class

from client.cli.common import Command, Options, print_document

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_BATON_COMPLETE"


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script that makes SHELL complete baton's commands, spaces, deployments and assets.

    What lives in Kafka is asked for with the settings of the shell, for at most two seconds.

    Examples:
      baton completion bash > ~/.local/share/bash-completion/completions/baton
      baton completion zsh > "${fpath[1]}/_baton"
      baton completion fish > ~/.config/fish/completions/baton.fish
    """
    kind = get_completion_class(shell)
    if kind is None:  # what SHELLS names, click has
        raise click.BadParameter(f"click completes no {shell}", param_hint="SHELL")
    found = kind(context.find_root().command, {}, "baton", VARIABLE)
    # Not source(): it runs that very shell to ask for its version.
    script = found.source_template % found.source_vars()
    options: Options = context.obj
    if options.as_json:
        print_document({"shell": shell, "script": script})
    else:
        click.echo(script)
