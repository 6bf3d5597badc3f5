"""Exit codes and SIGTERM: how a run ends whose program ends without `stop()`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

import naiad
from naiad.errors import MissingField

BEGIN = 'import naiad, os, signal, sys, time\nrun = naiad.init_run(project="ex")\nrun["x"].append(1.0)\n'


def program(folder: Path, code: str, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code behind an open run, as a script."""
    (folder / "train.py").write_text(BEGIN + textwrap.dedent(code), encoding="utf-8")
    return subprocess.run(
        [*(command or (sys.executable,)), "train.py"],
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"NAIAD_CAPTURES": "on"} | environment,
    )


def ended(number: int = 1) -> tuple[Any, Any]:
    """Return state and exit code of the run of the program."""
    with naiad.init_run(with_id=f"EX-{number}", mode="read-only") as run:
        assert 1.0 == run["x"].fetch_last()
        [place] = run.get_structure()["monitoring"]
        try:
            code = run[f"monitoring/{place}/exit_code"].fetch()
        except MissingField:
            code = None
        return run["sys/state"].fetch(), code


@pytest.mark.parametrize(
    ("code", "state", "exit_code"),
    [
        ("sys.exit(3)", "failed", 3),
        ("sys.exit('no data')", "failed", 1),
        ("exit(4)", "failed", 4),
        ("raise SystemExit(5)", "failed", 5),
        ("def main():\n    return 6\nsys.exit(main())", "failed", 6),
        ("def main():\n    sys.exit(7)\ntry:\n    main()\nfinally:\n    print('end')", "failed", 7),
        (
            "from sys import exit as leave\nimport argparse\nargparse.ArgumentParser().parse_args(['--what'])",
            "failed",
            2,
        ),
        ("with open('a', 'w'):\n    sys.exit(3)", "failed", 3),
        ("raise ValueError", "failed", 1),
        ("pass", "finished", 0),
        ("sys.exit()", "finished", 0),
        ("sys.exit(0)", "finished", 0),
        ("raise SystemExit", "finished", None),
        ("try:\n    sys.exit(3)\nexcept SystemExit:\n    pass", "finished", 0),
        ("def main():\n    try:\n        sys.exit(3)\n    except SystemExit:\n        return\nmain()", "finished", 0),
        ("import threading\nt = threading.Thread(target=sys.exit, args=(3,))\nt.start()\nt.join()", "finished", 0),
        ("import os\nif os.fork() == 0:\n    sys.exit(3)\nos.wait()", "finished", 0),
    ],
)
@pytest.mark.usefixtures("store")
def test_way_out_decides_state_and_exit_code(tmp_path: Path, code: str, state: str, exit_code: int | None) -> None:
    done = program(tmp_path, code)

    assert (state, exit_code) == ended(), done.stderr
    assert done.returncode == (exit_code or 0)


@pytest.mark.parametrize("command", [(sys.executable, "-m"), (sys.executable, "-c")])
@pytest.mark.usefixtures("store")
def test_modules_and_commands_too(tmp_path: Path, command: tuple[str, ...]) -> None:
    (tmp_path / "train.py").write_text(BEGIN + "sys.exit(3)")
    what = "train" if command[-1] == "-m" else BEGIN + "sys.exit(3)"
    subprocess.run([*command, what], cwd=tmp_path, check=False, timeout=60, env=os.environ | {"NAIAD_CAPTURES": "on"})

    assert ("failed", 3) == ended()


@pytest.mark.usefixtures("store")
def test_exit_may_be_no_failure(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(
        BEGIN.replace('"ex"', '"ex", fail_on_exception=False') + "sys.exit(3)", encoding="utf-8"
    )
    subprocess.run(
        [sys.executable, "train.py"], cwd=tmp_path, check=False, timeout=60, env=os.environ | {"NAIAD_CAPTURES": "on"}
    )

    assert ("finished", 3) == ended()


# SIGTERM


def terminated(folder: Path, code: str, after: float = 0.0, **environment: str) -> int:
    """Start a program, send it SIGTERM when it is ready, and return its exit status."""
    (folder / "train.py").write_text(BEGIN + textwrap.dedent(code), encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, "train.py"],
        cwd=folder,
        stdout=subprocess.PIPE,
        env=os.environ | {"NAIAD_CAPTURES": "on"} | environment,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(after)
        process.send_signal(signal.SIGTERM)
        return process.wait(60)


READY = "print('ready', flush=True)\n"


@pytest.mark.parametrize(
    "code",
    [
        "time.sleep(30)",
        "while True: run['x'].append(1.0)",
        "while True: run['x'].append(1.0, step=0, wait=True)",
        "while True: run['p'] = {str(i): 1 for i in range(100)}",
        "import threading\nlock = run._session.writer.journal.directory.lock\n"
        "threading.Thread(target=lambda: (lock.acquire(), time.sleep(30)), daemon=True).start()\ntime.sleep(30)",
    ],
)
@pytest.mark.usefixtures("store")
def test_terminated_program_leaves_a_terminated_run(tmp_path: Path, code: str) -> None:
    status = terminated(tmp_path, READY + code, after=0.3)

    assert -signal.SIGTERM == status
    assert "terminated" == ended()[0]


@pytest.mark.usefixtures("store")
def test_end_is_kept_by_whoever_goes_on_with_the_run(tmp_path: Path) -> None:
    terminated(tmp_path, READY + "run['x'].extend([1.0] * 10000)\ntime.sleep(30)", after=0.3)
    assert "terminated" == ended()[0]
    naiad_program = Path(sys.executable).parent / "naiad"
    assert 0 == subprocess.run([naiad_program, "verify"], cwd=tmp_path, timeout=60, check=False).returncode
    with naiad.init_run(with_id="EX-1") as run:
        run["y"] = 1

    assert "finished" == ended()[0]


@pytest.mark.usefixtures("store")
def test_signal_during_stop(tmp_path: Path) -> None:
    for number in range(1, 5):
        terminated(
            tmp_path, READY + "run['x'].extend([1.0] * 400_000)\nrun.stop()\ntime.sleep(30)", after=0.01 * 4**number
        )

        assert ended(number)[0] in ("terminated", "finished")


@pytest.mark.usefixtures("store")
def test_stopped_run_is_left_alone(tmp_path: Path) -> None:
    status = terminated(tmp_path, "run.stop()\n" + READY + "time.sleep(30)", after=0.3)

    assert (-signal.SIGTERM, "finished") == (status, ended()[0])


@pytest.mark.usefixtures("store")
def test_handler_of_the_program_is_left_alone(tmp_path: Path) -> None:
    # In short parts: a signal that arrives just before a sleep is handled after it.
    code = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))\n" + READY + "for _ in range(300): time.sleep(0.1)"

    assert 9 == terminated(tmp_path, code)
    assert ("failed", 9) == ended()


@pytest.mark.usefixtures("store")
def test_framework_that_chains_the_handler_goes_on(tmp_path: Path) -> None:
    code = """
        earlier = signal.getsignal(signal.SIGTERM)
        told = []
        signal.signal(signal.SIGTERM, lambda *given: (told.append(1), earlier(*given)))
        print("ready", flush=True)
        while not told: time.sleep(0.01)
        run["after"] = "kept"
        run["x"].append(1.0)
    """

    assert 0 == terminated(tmp_path, code)
    assert ("terminated", 0) == ended()
    with naiad.init_run(with_id="EX-1", mode="read-only") as run:
        assert "kept" == run["after"].fetch()
        assert not list(Path(run.get_url().removeprefix("file://")).glob("journal/*.999999.ops"))


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.usefixtures("store")
def test_pools_of_workers_are_terminated_as_ever(tmp_path: Path, method: str) -> None:
    code = f"""
        import multiprocessing
        if __name__ == "__main__":
            with multiprocessing.get_context("{method}").Pool(2) as pool:
                assert pool.map(abs, range(4)) == [0, 1, 2, 3]
            process = multiprocessing.get_context("{method}").Process(target=time.sleep, args=(30,))
            process.start()
            time.sleep(1)
            process.terminate()
            process.join(20)
            assert process.exitcode == -signal.SIGTERM, process.exitcode
    """
    done = program(tmp_path, code)

    assert 0 == done.returncode, done.stderr
    assert ("finished", 0) == ended()


@pytest.mark.usefixtures("store")
def test_child_that_is_terminated_at_once_ends(tmp_path: Path) -> None:
    code = """
        for _ in range(20):
            child = os.fork()
            if child == 0:
                signal.alarm(60)  # should it miss the signal
                while True:
                    time.sleep(60)
            os.kill(child, signal.SIGTERM)
            ended = os.waitpid(child, 0)[1]
            assert ended == signal.SIGTERM, ended
        assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())
        os.kill(os.getpid(), signal.SIGTERM)
    """
    done = program(tmp_path, code)

    assert -signal.SIGTERM == done.returncode, done.stderr
    assert ("terminated", None) == ended()


@pytest.mark.usefixtures("store")
def test_first_process_of_a_container_keeps_its_default(tmp_path: Path) -> None:
    code = "os.getpid = lambda: 1\nnaiad.init_run(project='two')\n"
    code += "assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL\n"
    (tmp_path / "train.py").write_text("import naiad, os, signal\n" + code)

    assert 0 == subprocess.run([sys.executable, "train.py"], cwd=tmp_path, check=False, timeout=60).returncode


@pytest.mark.usefixtures("store")
def test_other_threads_and_readers_install_nothing(tmp_path: Path) -> None:
    code = """
        run.stop()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        import threading
        thread = threading.Thread(target=lambda: naiad.init_run(project="ex").stop())
        thread.start()
        thread.join()
        naiad.init_run(with_id="EX-1", mode="read-only")
        naiad.init_project("ex")
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    """
    done = program(tmp_path, code)

    assert 0 == done.returncode, done.stderr
