"""`naiad completion`: the script with which a shell completes words."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_NAIAD_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that completes run ids, paths and options.

    For bash add this line to ~/.bashrc, for zsh with zsh to ~/.zshrc (after compinit): eval "$(naiad completion bash)"

    Example: naiad completion zsh > ~/.zfunc/_naiad
    """
    found = get_completion_class(shell)
    assert found is not None, shell
    click.echo(found(ctx.find_root().command, {}, "naiad", VARIABLE).source())
