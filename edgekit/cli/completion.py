"""`edgekit completion SHELL`: prints the shell's completion script, and changes no file of the user's."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from edgekit.cli.main import group

SHELLS = ("bash", "zsh", "fish", "powershell")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def command(shell: str) -> None:
    """Print a completion script for SHELL.

    \b
    Examples:
      edgekit completion bash > ~/.local/share/bash-completion/completions/edgekit
      edgekit completion zsh > ~/.zfunc/_edgekit
      edgekit completion fish > ~/.config/fish/completions/edgekit.fish
      edgekit completion powershell >> $PROFILE
    """
    completion_class = get_completion_class(shell)
    assert completion_class is not None
    click.echo(completion_class(group, {}, "edgekit", "_EDGEKIT_COMPLETE").source())
