"""The command `naiad`: reading and repairing a store from the terminal. One file a command, loaded by its call."""

from __future__ import annotations

import gc

# Modules stay, and looking through their objects for cycles while more of them come takes a tenth of the start.
_is_collecting = gc.isenabled()
gc.disable()
from naiad.cli.program import program  # noqa: E402 (after what makes it quicker)

if not gc.get_freeze_count():
    gc.freeze()
    gc.unfreeze()  # counted as old, they are not looked through by the next collection either
if _is_collecting:
    gc.enable()

__all__ = ["main"]

main = program
"""The program; `main(["ls"])` runs a command from Python too."""
