"""Programs of many kinds to a file, a pipe, a terminal and in a container: their output is that of the program alone.

Each program runs with a run and without, and what has arrived is looked at when it has ended.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import struct
import subprocess
import sys
import termios
import textwrap
import threading
from pathlib import Path
from typing import NamedTuple

import pytest

import naiad

BEGIN = """
import atexit, contextlib, ctypes, faulthandler, io, logging, multiprocessing, os, signal, subprocess, sys, threading
import time
EARLIER = logging.StreamHandler(sys.stdout)
class Tee:
    def __init__(self): self.terminal, self.log = sys.stdout, open(os.devnull, "w")
    def write(self, text): self.log.write(text); return self.terminal.write(text)
    def flush(self): self.terminal.flush()
RUNS = []
def begin(name="it"):
    if os.environ["WITH_RUN"] == "1":
        import naiad
        RUNS.append(naiad.init_run(custom_run_id=name, source_files=[], git_ref=False, capture_hardware_metrics=False,
                                   monitoring_namespace="m"))
def end():
    for run in RUNS: run.stop()
if __name__ == "__main__" and "late" not in os.environ.get("HOW", ""):
    begin()
"""


class Program(NamedTuple):
    """A program, how it is run, and the lines of standard output that its run has to hold."""

    body: str
    lines: list[str]
    """Those that Python prints."""
    others: list[str] = []
    """Those that C code and other programs print, which are kept where the output is a file."""
    options: tuple[str, ...] = ()
    how: str = ""
    is_ordered: bool = True
    is_exact: bool = True


PYTEST = """
import pytest
sys.modules["program"] = sys.modules["__main__"]
file = os.path.join(os.path.dirname(os.path.abspath(__file__)), "test_it.py")
with open(file, "w") as made:
    made.write("import program\\ndef test_it():\\n    program.begin(); print('printed')\\n")
options = "-q -p no:cacheprovider -p no:randomly -p no:xdist -p no:hypothesispytest".split()
code = pytest.main(["{}", *options, file, "--rootdir", os.path.dirname(file)])
sys.stdout.flush(); os._exit(code)
"""
MANY = [f"line {i}" for i in range(300)]
LOOP = "for i in range(300): print('line', i, flush=True)\n"
PROGRAMS = {
    "ends by itself": Program("for i in range(300): print('line', i)", MANY),
    "abort": Program(LOOP + "os.abort()", MANY),
    "segmentation fault": Program(LOOP + "ctypes.string_at(0)", MANY),
    "kill -9": Program(LOOP + "os.kill(os.getpid(), signal.SIGKILL)", MANY),
    "os._exit": Program(LOOP + "os._exit(3)", MANY),
    "unflushed os._exit": Program("sys.stdout.reconfigure(line_buffering=False); print('lost'); os._exit(3)", []),
    "exception": Program(LOOP + "raise ValueError('no')", MANY),
    "sys.exit": Program(LOOP + "sys.exit(4)", MANY),
    "part of a line": Program("print('whole'); print('part', end='', flush=True); os.abort()", ["whole", "part"]),
    "threads": Program(
        """
        def work(): print("thread\\n" * 50, end="", flush=True)
        threads = [threading.Thread(target=work) for _ in range(4)]
        for each in threads: each.start()
        for each in threads: each.join()
        """,
        ["thread"] * 200,
    ),
    "subprocess.run": Program(
        "print('a', flush=True); subprocess.run(['echo', 'child']); print('b')", ["a", "b"], ["child"]
    ),
    "os.system": Program("os.system('echo child; echo its error >&2'); print('b')", ["b"], ["child", "its error"]),
    "os.write": Program(
        "print('a', flush=True); os.write(1, b'below\\n'); print('b', flush=True)", ["a", "b"], ["below"]
    ),
    "printf": Program(
        "libc = ctypes.CDLL(None); libc.printf(b'from C\\n'); libc.fflush(None); print('b')", ["b"], ["from C"]
    ),
    "dup2": Program(
        "print('a', flush=True); os.dup2(os.open(os.devnull, os.O_WRONLY), 1); print('gone', flush=True)", ["a", "gone"]
    ),
    "closed descriptors": Program("print('a', flush=True); os.close(1); os.close(2); os._exit(0)", ["a"]),
    "sys.stdout.close": Program("print('a'); sys.stdout.close()", ["a"]),
    "reconfigure": Program("sys.stdout.reconfigure(encoding='utf-8', line_buffering=True); print('ä')", ["ä"]),
    "new TextIOWrapper": Program(
        "sys.stdout = io.TextIOWrapper(sys.stdout.buffer, encoding='utf-8'); print('ä')", ["ä"]
    ),
    "tell": Program("print('a')\nwith contextlib.suppress(OSError): sys.stdout.tell()\nprint('b')", ["a", "b"]),
    "writelines and bytes": Program(
        "sys.stdout.writelines(['a\\n', 'b\\n']); sys.stdout.flush(); sys.stdout.buffer.write(b'\\xff\\n')",
        ["a", "b", "\ufffd"],
    ),
    "Tee before": Program("sys.stdout = Tee(); begin(); print('a'); print('b')", ["a", "b"], how="late"),
    "Tee after": Program("sys.stdout = Tee(); print('a'); print('b')", ["a", "b"]),
    "redirect_stdout": Program(
        "with contextlib.redirect_stdout(io.StringIO()): print('not shown')\nprint('shown')", ["shown"]
    ),
    "tqdm": Program(
        "from tqdm import tqdm\nfor _ in tqdm(range(5), file=sys.stdout, mininterval=9, bar_format='{n_fmt}'): pass",
        ["5"],
    ),
    "rich": Program("from rich.console import Console; Console(width=40).print('bold'); print('b')", ["bold", "b"]),
    "earlier logging handler": Program(
        "log = logging.getLogger('x'); log.addHandler(EARLIER); log.error('told'); print('b')", ["told", "b"]
    ),
    "later logging handler": Program(
        "logging.basicConfig(stream=sys.stdout, format='%(message)s'); logging.error('told')", ["told"]
    ),
    "faulthandler": Program("faulthandler.enable()\n" + LOOP + "ctypes.string_at(0)", MANY, is_exact=False),
    "signal handler": Program(
        """
        def handle(*_): print("handled", flush=True)
        signal.signal(signal.SIGALRM, handle); signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
        end = time.monotonic() + 0.3
        while time.monotonic() < end: print("x", flush=True)
        signal.setitimer(signal.ITIMER_REAL, 0); os._exit(0)
        """,
        [],
        how="counts",
    ),
    "fork": Program(
        """
        print("before", flush=True)
        if not os.fork(): print("child", flush=True); os._exit(0)
        os.wait(); print("after")
        """,
        ["before", "child", "after"],
    ),
    "multiprocessing fork": Program(
        "with multiprocessing.get_context('fork').Pool(2) as pool:\n"
        "    pool.map(print, ['a', 'b']); pool.close(); pool.join()\nprint('c')",
        ["a", "b", "c"],
        is_ordered=False,
    ),
    "multiprocessing spawn": Program(
        """
        if __name__ == "__main__":
            child = multiprocessing.get_context("spawn").Process(target=print, args=("spawned",))
            child.start(); child.join(); print("c")
        """,
        ["c"],
        ["spawned"],
        is_ordered=False,
    ),
    "python -u": Program("print('a', 1); print('b')", ["a 1", "b"], options=("-u",)),
    "pdb": Program(
        "import pdb; pdb.Pdb(stdin=io.StringIO('p 40 + 2\\nc\\n'), stdout=sys.stdout).set_trace()\nprint('b')",
        [],
        how="contains 42",
    ),
    "buffered text beside errors": Program(
        "print('a'); print('error', file=sys.stderr); print('b'); sys.stderr.write('error\\n')", ["a", "b"]
    ),
    "buffered text before and at the end of a run": Program(
        """
        print("before"); begin(); print("error", file=sys.stderr); print("a")
        end()
        print("error", file=sys.stderr); print("after")
        """,
        ["a"],
        how="late",
    ),
    "more buffered text than a buffer holds": Program(
        """
        for i in range(3): print("x" * 3000)
        end()
        print("after")
        """,
        ["x" * 3000] * 3,
    ),
    "two runs": Program(
        """
        print("before"); begin(); print("a")
        end(); begin("other"); print("b")
        """,
        ["a"],
        how="late",
    ),
    "raw file": Program("sys.stdout.buffer.raw.write(b'raw\\n'); os._exit(0)", ["raw"]),
    "seek back": Program(
        """
        print("0123456789", flush=True)
        with contextlib.suppress(OSError): sys.stdout.seek(0)
        print("xy", flush=True); os._exit(0)
        """,
        ["0123456789", "xy"],
    ),
    "pytest -s": Program(PYTEST.format("-s"), [], how="late contains printed"),
    "pytest, sys capture": Program(PYTEST.format("--capture=sys"), [], how="late contains printed"),
    "pytest, fd capture": Program(PYTEST.format("--capture=fd"), [], how="late contains printed"),
    "pytest, tee-sys capture": Program(PYTEST.format("--capture=tee-sys"), [], how="late contains printed"),
    "long line": Program("print('x' * 3_000_000); print('end')", ["x" * 3_000_000, "end"]),
}
ALWAYS = ("abort", "kill -9", "os._exit", "exception", "subprocess.run", "fork", "Tee before", "python -u")
PLACES = ("file", "pipe", "terminal", "container")


class Ended(NamedTuple):
    output: bytes
    code: int


def run(program: Program, place: str, folder: Path, *, with_run: bool) -> Ended:
    """Run it, and return what had arrived when it ended."""
    file = folder / "program.py"
    file.write_text(BEGIN + textwrap.dedent(program.body) + "\n")
    environment = {
        **os.environ, "HOW": program.how, "NAIAD_CAPTURES": "on", "NAIAD_QUIET": "1",
        "NAIAD_STORE": str(folder / "store"), "PYTHONUNBUFFERED": "", "WITH_RUN": str(int(with_run)),
    }  # fmt: skip
    command = [sys.executable, *program.options, str(file)]
    if place == "container":
        command = ["unshare", "-pf", "--kill-child", *command]
    writer, read = _destination(place, folder)
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=writer, stderr=writer, cwd=folder, env=environment,
        start_new_session=place == "terminal",
    )  # fmt: skip
    os.close(writer)
    code = process.wait(60)
    return Ended(read(), code)


def _destination(place: str, folder: Path):  # type: ignore[no-untyped-def]  # a pair of a descriptor and a function
    if place in ("file", "container"):
        path = folder / "output"
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), path.read_bytes
    reader, writer = os.pipe() if place == "pipe" else os.openpty()
    if place == "terminal":
        fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    found: list[bytes] = []
    thread = threading.Thread(target=_drain, args=(reader, found))
    thread.start()

    def read() -> bytes:
        thread.join(20)
        os.close(reader)
        return b"".join(found)

    return writer, read


def _drain(reader: int, found: list[bytes]) -> None:
    while True:
        try:
            data = os.read(reader, 1 << 16)
        except OSError:  # EIO: nobody has the terminal open any more
            return
        if not data:
            return
        found.append(data)


def kept(folder: Path) -> list[str]:
    """The lines of standard output that the run holds."""
    for uid in os.listdir(folder / "store" / "runs"):
        with naiad.init_run(with_id=uid, mode="read-only", store=folder / "store") as found:
            if found["sys/custom_run_id"].fetch() == "it":
                return list(found["m/stdout"].fetch_values(progress_bar=False)["value"])
    raise AssertionError("no run was made")


def comparable(output: bytes) -> bytes:
    """The same without durations, which pytest prints."""
    return re.sub(rb"\d+\.\d+s", b"", output)


def cases() -> list[object]:
    return [
        pytest.param(name, place, marks=[] if name in ALWAYS else pytest.mark.slow)
        for name in PROGRAMS
        for place in PLACES
    ]


@pytest.mark.parametrize(("name", "place"), cases())
def test_output_is_that_of_the_program_alone_and_its_lines_are_kept(name: str, place: str, tmp_path: Path) -> None:
    if place == "container" and (os.geteuid() != 0 or shutil.which("unshare") is None):
        pytest.skip("a PID namespace of its own needs root and unshare")
    program = PROGRAMS[name]
    alone = run(program, place, tmp_path, with_run=False)
    watched = run(program, place, tmp_path, with_run=True)
    lines = kept(tmp_path)

    if program.how == "counts":
        printed = watched.output.decode().replace("\r\n", "\n")
        assert 0 == watched.code  # alone it may end with an error of the buffer, which a run keeps from the handler
        assert [printed.count(each) for each in ("x", "handled", "\n")] == [
            "\n".join([*lines, ""]).count(each) for each in ("x", "handled", "\n")
        ]
        return
    assert alone.code == watched.code
    if name == "faulthandler":  # it tells of all threads, and where they are
        assert alone.output.count(b"\nline") == watched.output.count(b"\nline")
    elif program.is_ordered:
        assert comparable(alone.output) == comparable(watched.output)
    else:
        assert sorted(alone.output.splitlines()) == sorted(watched.output.splitlines())
    if "contains" in program.how:
        assert any(program.how.partition("contains ")[2] in line for line in lines)
        return
    is_file = place in ("file", "container")
    expected = [*program.lines, *(program.others if is_file else [])]
    if is_file and not program.is_exact:  # what is read back may be of standard error, which goes to the same file
        lines = [line for line in lines if line in expected]
    assert sorted(expected) == sorted(lines)
    if not program.others:
        assert expected == lines or not program.is_ordered
