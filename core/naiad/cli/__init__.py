"""The command `naiad`: reading and repairing a store from the terminal. One file a command, loaded by its call."""

from __future__ import annotations

from naiad.cli.program import program

__all__ = ["main"]

main = program
"""The program; `main(["ls"])` runs a command from Python too."""
