"""What a program prints: the terminal gets it unchanged, and the run keeps it, whoever prints."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any

import pytest

import naiad

BOTH = """
import logging
logging.basicConfig(format="%(message)s")
for i in range(200):
    print("out", i)
    sys.stdout.flush()
    logging.warning("log %d", i)
    print("err", i, file=sys.stderr)
sys.stdout.buffer.write(b"bytes \\xff\\n")
sys.stdout.buffer.flush()
print("no end", end="")
"""


@pytest.mark.parametrize("where", ["piped", "on_terminal"])
def test_output_of_both_streams_is_unchanged_and_in_order(programs: Any, where: str) -> None:
    expected, found = (getattr(programs, where)(BOTH, plain=plain) for plain in (True, False))

    assert expected.output.splitlines() == found.output.splitlines()
    assert expected == found
    assert [f"out {i}" for i in range(200)] + ["bytes \ufffd", "no end"] == programs.lines("stdout")
    assert [f"{kind} {i}" for i in range(200) for kind in ("log", "err")] == programs.lines("stderr")


@pytest.mark.parametrize("where", ["piped", "on_terminal"])
def test_what_c_and_other_programs_print_is_kept(relayed: Any, where: str) -> None:
    body = """
    libc = ctypes.CDLL(None)
    libc.printf(b"from C\\n")
    libc.fflush(None)
    os.write(1, b"to the descriptor\\n")
    subprocess.run(["sh", "-c", "echo from a child; echo its error >&2"])
    """
    printed = getattr(relayed, where)(body)

    assert ["from C", "to the descriptor", "from a child"] == relayed.lines("stdout")
    assert ["its error"] == relayed.lines("stderr")
    assert 4 == len(printed.output.splitlines())


def test_what_c_has_not_written_yet_at_the_end_is_kept(relayed: Any) -> None:
    relayed.piped('ctypes.CDLL(None).printf(b"in a buffer of C\\n")')

    assert ["in a buffer of C"] == relayed.lines("stdout")


def test_a_terminal_is_still_one(relayed: Any) -> None:
    body = """
    import shutil, termios
    print(os.isatty(1), os.isatty(2), sys.stdout.isatty(), shutil.get_terminal_size((1, 1)))
    subprocess.run([sys.executable, "-c", "import sys; print(sys.stdout.isatty(), sys.stderr.isatty())"])
    """
    expected = relayed.on_terminal(body, plain=True)

    assert expected == relayed.on_terminal(body)
    assert relayed.piped(body, plain=True) == relayed.piped(body)


def test_a_progress_bar_is_kept_in_its_last_state(programs: Any) -> None:
    body = """
    from tqdm import tqdm
    for _ in tqdm(range(500), mininterval=0, desc="epoch", ncols=60):
        pass
    print("done")
    """
    printed = programs.on_terminal(body)
    (bar,) = programs.lines("stderr")

    assert printed.output.count(b"\r") > 100
    assert bar.startswith("epoch: 100%")
    assert ["done"] == programs.lines("stdout")


@pytest.mark.parametrize("where", ["piped", "on_terminal"])
def test_a_killed_program_has_printed_all_it_wrote(programs: Any, where: str) -> None:
    body = """
    for i in range(500):
        os.write(1, b"line %d\\n" % i)
    os.kill(os.getpid(), signal.SIGKILL)
    """
    printed = getattr(programs, where)(body)

    assert -signal.SIGKILL == printed.code
    assert [b"line %d" % i for i in range(500)] == printed.output.replace(b"\r", b"").splitlines()


def test_c_code_that_holds_pythons_lock_can_fill_the_pipe(relayed: Any) -> None:
    """PyDLL keeps the lock during the call; a thread could not empty the pipe meanwhile."""
    body = """
    libc = ctypes.PyDLL(None)
    text = b"x" * 999 + b"\\n"
    for _ in range(2000):
        libc.write(1, text, 1000)
    """
    printed = relayed.piped(body)

    assert (2_000_000, 0) == (len(printed.output), printed.code)
    assert 2000 == len(relayed.lines("stdout"))


def test_nothing_is_printed_or_kept_twice_after_a_fork(relayed: Any) -> None:
    body = """
    print("before", flush=True)
    pid = os.fork()
    if not pid:
        print("in the child")
        print("error of the child", file=sys.stderr)
        raise SystemExit(0)
    os.waitpid(pid, 0)
    print("after")
    """
    printed = relayed.piped(body)

    assert {b"before": 1, b"in the child": 1, b"error of the child": 1, b"after": 1} == {
        line: printed.output.count(line) for line in printed.output.splitlines()
    }
    assert ["before", "in the child", "after"] == relayed.lines("stdout")
    assert ["error of the child"] == relayed.lines("stderr")


def test_a_child_of_a_fork_can_have_a_run_of_its_own(programs: Any) -> None:
    body = """
    print("parent")
    sys.stdout.flush()
    pid = os.fork()
    if not pid:
        with naiad.init_run(custom_run_id="child", source_files=[], git_ref=False):
            print("child", flush=True)
        os._exit(0)
    os.waitpid(pid, 0)
    """
    printed = programs.piped(body)

    assert [b"parent", b"child"] == printed.output.splitlines()
    assert ["parent", "child"] == programs.lines("stdout")


def test_a_child_that_outlives_the_program_goes_on_printing(relayed: Any) -> None:
    body = """
    code = "import time\\nfor i in range(5): time.sleep(0.2); print(i, flush=True)\\nprint('alive', flush=True)"
    subprocess.Popen([sys.executable, "-c", code])
    print("gone")
    """
    printed = relayed.piped(body)

    assert [b"gone", b"0", b"1", b"2", b"3", b"4", b"alive"] == printed.output.splitlines()


def test_a_program_whose_output_nobody_reads_learns_it_as_always(relayed: Any) -> None:
    body = """
    try:
        for _ in range(100_000):
            print("more", flush=True)
    except BrokenPipeError:
        print("nobody reads", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    """
    program = relayed.start(body, subprocess.PIPE, subprocess.PIPE)
    program.stdout.read(100)
    program.stdout.close()
    errors = program.stderr.read()
    program.stderr.close()

    assert 0 == program.wait(60)
    assert b"nobody reads\n" == errors


def test_descriptors_are_put_back_and_a_second_run_begins_anew(relayed: Any) -> None:
    body = """
    def places(): return [(s.st_ino, s.st_dev) for s in map(os.fstat, (1, 2))]
    run.stop()
    before = places()
    for name in ("one", "two"):
        with naiad.init_run(custom_run_id=name, source_files=[], git_ref=False, capture_stdout="fd") as other:
            print(name)
            assert places() != before
            assert "write" not in vars(sys.stdout)
        assert places() == before
        assert "write" not in vars(sys.stdout.buffer)
        print("between")
    """
    printed = relayed.piped(body)

    assert [b"one", b"between", b"two", b"between"] == printed.output.splitlines()
    assert 0 == printed.code


def test_two_runs_of_one_process_both_keep_what_is_printed(programs: Any) -> None:
    body = """
    print("one")
    other = naiad.init_run(custom_run_id="other", source_files=[], git_ref=False, monitoring_namespace="m")
    print("both")
    other.stop()
    print("one again")
    again = naiad.init_run(custom_run_id="other", capture_stdout=False, source_files=[], git_ref=False)
    assert list(again["m/stdout"].fetch_values()["value"]) == ["both"]
    """
    printed = programs.piped(body)

    assert [b"one", b"both", b"one again"] == printed.output.splitlines()
    assert ["one", "both", "one again"] == programs.lines("stdout")


def test_output_that_the_program_redirects_itself_stays_redirected(programs: Any) -> None:
    body = """
    file = os.open("own.txt", os.O_WRONLY | os.O_CREAT)
    print("captured", flush=True)
    os.dup2(file, 1)
    print("for the file", flush=True)
    run.stop()
    print("still for the file", flush=True)
    """
    printed = programs.piped(body)

    assert b"captured\n" == printed.output
    assert "for the file\nstill for the file\n" == (programs.folder / "own.txt").read_text()


def test_a_program_may_wait_for_all_its_children(relayed: Any) -> None:
    body = """
    pid = os.fork()
    if not pid:
        os._exit(0)
    try:
        while True:
            os.wait()
    except ChildProcessError:
        print("all gone")
    """

    assert b"all gone\n" == relayed.piped(body).output


def test_a_program_that_waits_for_any_child_gets_its_own(relayed: Any) -> None:
    body = """
    pid = os.fork()
    if not pid:
        time.sleep(0.2)
        os._exit(7)
    print(os.wait() == (pid, 7 << 8))
    """

    assert b"True\n" == relayed.piped(body).output


@pytest.mark.parametrize("where", ["piped", "on_terminal"])
def test_a_program_goes_on_printing_when_the_relay_is_killed(relayed: Any, where: str) -> None:
    body = """
    import contextlib
    from naiad.capture.console import console
    time.sleep(0.3)
    for process in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{process}/cmdline", "rb") as file:  # another one may have ended
            if console()._diversion._nonce.encode() in file.read():
                os.kill(int(process), signal.SIGKILL)
    for i in range(20):  # the first ones may be lost with the relay
        print("line", i, flush=True)
        time.sleep(0.02)
    code = subprocess.run(["sh", "-c", "echo child; echo child"]).returncode
    print("code", code)
    run.stop()
    with naiad.init_run(custom_run_id="other", source_files=[], git_ref=False, monitoring_namespace="m",
                        capture_stdout="fd") as other:
        name = other["sys/id"].fetch()
        print("kept again")
    other = naiad.init_run(with_id=name, mode="read-only")
    print(list(other["m/stdout"].fetch_values()["value"]))
    """
    printed = getattr(relayed, where)(body)
    lines = printed.output.decode().splitlines()

    assert 0 == printed.code
    assert {"line 19", "child", "code 0", "kept again", "['kept again']"} <= set(lines)
    assert (2, 1) == (lines.count("child"), printed.output.count(b"The helper"))


def test_without_an_interpreter_python_itself_is_still_captured(programs: Any) -> None:
    body = """
    run.stop()
    sys.executable = ""
    import warnings; warnings.simplefilter("ignore")
    with naiad.init_run(custom_run_id="other", source_files=[], git_ref=False, monitoring_namespace="m",
                        capture_stdout="fd") as other:
        print("only Python")
        os.write(1, b"not this\\n")
    other = naiad.init_run(custom_run_id="other", source_files=[], git_ref=False, capture_stdout=False)
    print(list(other["m/stdout"].fetch_values()["value"]))
    """

    assert {b"only Python", b"not this", b"['only Python']"} == set(programs.piped(body).output.splitlines())


@pytest.mark.usefixtures("store")
def test_under_pytests_capture_both_see_it(capfd: pytest.CaptureFixture[str]) -> None:
    with naiad.init_run(capture_stdout=True, capture_stderr=True, monitoring_namespace="m", custom_run_id="a"):
        print("from Python")
        os.write(1, b"from below\n")
        print("error", file=sys.stderr)
    seen = capfd.readouterr()

    again = naiad.init_run(custom_run_id="a")
    assert {"from Python", "from below"} == set(again["m/stdout"].fetch_values()["value"])
    assert ["error"] == list(again["m/stderr"].fetch_values()["value"])
    assert {"from Python", "from below"} == set(seen.out.splitlines())
    assert "error\n" == seen.err
    again.stop()


@pytest.mark.usefixtures("store")
def test_each_stream_can_be_left_alone(capfd: pytest.CaptureFixture[str]) -> None:
    with naiad.init_run(capture_stdout=False, capture_stderr=True, monitoring_namespace="m") as run:
        print("out")

        assert not run.exists("m/stdout")
        assert run.exists("m/stderr")


def test_streams_have_their_own_methods_back_when_the_last_run_has_stopped(programs: Any) -> None:
    body = """
    objects = [sys.stdout, sys.stdout.buffer, sys.stdout.buffer.raw]
    other = naiad.init_run(custom_run_id="other", source_files=[], git_ref=False)
    run.stop()
    before = ["write" in vars(each) for each in objects]
    other.stop()
    print(before, ["write" in vars(each) for each in objects])
    """

    assert b"[False, True, True] [False, False, False]\n" == programs.piped(body).output


def test_what_others_write_to_the_same_file_is_not_kept(programs: Any) -> None:
    """A log that two jobs share: what the other one writes belongs to the other one."""
    log = programs.folder / "log"
    with log.open("ab") as file:
        other = subprocess.Popen(
            [sys.executable, "-c", "import time\nfor i in range(200): print('other', flush=True); time.sleep(0.02)"],
            stdout=file,
            start_new_session=True,
        )
    with log.open("ab") as file:
        program = programs.start("for i in range(20): print('mine', flush=True); time.sleep(0.03)", file, file)
        assert 0 == program.wait(60)
    other.kill()
    other.wait()

    assert ["mine"] * 20 == programs.lines("stdout")


def test_a_full_disk_of_the_store_never_raises_into_print(programs: Any) -> None:
    body = """
    import errno, warnings; warnings.simplefilter("ignore")
    from naiad.storage.local.journal import op_log
    def refuse(*_): raise OSError(errno.ENOSPC, "full")
    op_log.OpsFile.append = refuse
    for i in range(100): print("line", i, flush=True)
    os._exit(0)
    """

    assert ([b"line %d" % i for i in range(100)], 0) == (
        (printed := programs.piped(body)).output.splitlines(),
        printed.code,
    )


def test_each_line_has_its_number_and_a_resumed_run_goes_on_with_them(programs: Any) -> None:
    body = """
    with naiad.init_run(custom_run_id="x", monitoring_namespace="m", source_files=[], git_ref=False): print("a\\nb")
    with naiad.init_run(custom_run_id="x", monitoring_namespace="m", source_files=[], git_ref=False): print("c")
    again = naiad.init_run(custom_run_id="x", capture_stdout=False, source_files=[], git_ref=False)
    found = again["m/stdout"].fetch_values(progress_bar=False)
    print([*zip(found["step"], found["value"])])
    """

    assert b"[(0.0, 'a'), (1.0, 'b'), (2.0, 'c')]" == programs.piped(body).output.splitlines()[-1]


@pytest.mark.parametrize("way", ["", "fd"])
def test_no_thread_of_a_run_lives_after_its_end(programs: Any, way: str) -> None:
    body = """
    import threading
    print("printed")
    run.stop()
    until = time.monotonic() + 30
    while threading.active_count() > 1 and time.monotonic() < until:  # one waits for the first second of all runs
        time.sleep(0.01)
    print([each.name for each in threading.enumerate()])
    """
    programs.way = way

    assert b"['MainThread']" == programs.piped(body).output.splitlines()[-1]


def test_nothing_is_read_back_from_a_file_that_is_open_for_reading_only(programs: Any) -> None:
    log = programs.folder / "log"
    log.touch()
    body = "open('log', 'a').write('not printed\\n'); time.sleep(0.6); print('error', file=sys.stderr)"
    with log.open("rb") as file:
        program = programs.start(body, file.fileno(), subprocess.PIPE)
        assert b"error" in program.communicate(timeout=60)[1]

    assert [] == programs.lines("stdout")


def test_a_log_that_is_cut_while_it_is_written_is_kept_whole(programs: Any) -> None:
    """As `logrotate` does it with copytruncate."""
    log = programs.folder / "log"
    body = """
    for i in range(50):
        print("line", i, flush=True)
        if i in (10, 30): os.truncate("log", 0)
        if i == 20: time.sleep(0.6)
    """
    with log.open("ab") as file:
        assert 0 == programs.start(body, file.fileno(), file.fileno()).wait(60)

    assert [f"line {i}" for i in range(50)] == programs.lines("stdout")
