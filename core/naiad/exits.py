"""The way out of a program: which `SystemExit` ended it, and whether it ran to its last line.

Python reports no `SystemExit` that leaves the main program. So `sys.exit` and the shell's `exit` note the one
that they raise, and at the end the last instruction of the main program shows whether it left it or was caught.
"""

from __future__ import annotations

import functools
import sys
import threading
from types import FrameType
from typing import Any, NoReturn

_raised: SystemExit | None = None
_raised_at = -1  # the instruction at which the main program was then
_main: FrameType | None = None


def watch() -> None:
    """Note from now on each `SystemExit` that is raised by calling `sys.exit`, `exit` or `quit`."""
    global _main
    # The outermost frame of the main thread is the main program, whichever thread opens the run.
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    while frame is not None and frame.f_back is not None:
        frame = frame.f_back
    _main = frame
    earlier = sys.exit

    @functools.wraps(earlier)
    def exit(status: Any = None, /) -> NoReturn:
        _note(status)
        earlier(status)

    sys.exit = exit
    names = vars(sys.modules["__main__"])
    if names.get("exit") is earlier:  # from sys import exit
        names["exit"] = exit
    quitter = sys.modules.get("_sitebuiltins")
    if quitter is not None:
        _chain_quitter(quitter.Quitter)


def _chain_quitter(quitter: Any) -> None:
    earlier = quitter.__call__

    @functools.wraps(earlier)
    def call(self: object, code: Any = None) -> None:
        _note(code)
        earlier(self, code)

    quitter.__call__ = call


def _note(status: object) -> None:
    """Remember an exception that is about to be raised; a copy, since it would keep alive all it goes through."""
    global _raised, _raised_at
    if _main is not None and threading.current_thread() is threading.main_thread():
        _raised, _raised_at = SystemExit(status), _main.f_lasti
        if isinstance(sys.exc_info()[1], KeyboardInterrupt):
            _raised.__context__ = KeyboardInterrupt()


def reason() -> SystemExit | None:
    """Return the `SystemExit` by which the main program was left; None if it was not, or that is not known.

    One that was caught has let the main program go on to another instruction.
    """
    if _main is None or is_orderly():
        return None
    is_raised_again = _instruction(_main) == "RERAISE"  # by the end of a `finally` or `with` block
    return _raised if is_raised_again or _raised_at == _main.f_lasti else _raise_of_main()


def is_orderly() -> bool:
    """Whether the main program ran to its end."""
    return _main is not None and _instruction(_main).startswith("RETURN")


def code_of(error: SystemExit) -> int:
    """Return the exit code that a `SystemExit` gives the process.

    >>> code_of(SystemExit()), code_of(SystemExit(3)), code_of(SystemExit("no data"))
    (0, 3, 1)
    """
    if error.code is None:
        return 0
    return int(error.code) if isinstance(error.code, int) else 1


def _instruction(frame: FrameType) -> str:
    import opcode  # only at the end of a program

    return opcode.opname[frame.f_code.co_code[frame.f_lasti]]


def _raise_of_main() -> SystemExit | None:
    """Return the exception of a statement `raise SystemExit(3)` at which the main program ended."""
    if _main is None or _main.f_lasti < 0 or _instruction(_main) != "RAISE_VARARGS":
        return None
    import dis

    # The bytecode shows the argument, because the exception itself is gone when `atexit` runs. Only a literal can be
    # told.
    before = [each for each in dis.get_instructions(_main.f_code) if each.offset < _main.f_lasti][-6:]
    names = [place for place, each in enumerate(before) if each.argval == "SystemExit" and "NAME" in each.opname]
    given = [each.argval for each in before[names[-1] + 1 :] if each.opname.startswith("LOAD")] if names else []
    return SystemExit(given[0]) if len(given) == 1 and isinstance(given[0], int | str) else None
