"""The command `naiad`: reading and repairing a store from the terminal. One file a command."""

from __future__ import annotations

from naiad.cli.artifact import artifact
from naiad.cli.compare import compare
from naiad.cli.docs import docs
from naiad.cli.doctor import doctor
from naiad.cli.download import download
from naiad.cli.files import files
from naiad.cli.gc import gc
from naiad.cli.ls import ls
from naiad.cli.neptune import neptune
from naiad.cli.path import path
from naiad.cli.plot import plot
from naiad.cli.plugins import plugins
from naiad.cli.program import program
from naiad.cli.projects import projects
from naiad.cli.purge import purge
from naiad.cli.query import query
from naiad.cli.repair import repair
from naiad.cli.restore import restore
from naiad.cli.show import show
from naiad.cli.tail import tail
from naiad.cli.trash import trash
from naiad.cli.verify import verify

__all__ = ["main"]

main = program
"""The program; `main(["ls"])` runs a command from Python too."""

COMMANDS = (
    *(ls, query, compare, projects, show, plot, tail, files, download, artifact),
    *(verify, repair, trash, restore, purge, gc, path, plugins, neptune, doctor, docs),
)
for command in COMMANDS:
    main.add_command(command)
