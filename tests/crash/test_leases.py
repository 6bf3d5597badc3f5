"""Who may touch a run: readers, second writers and take-overs beside a writer that lives, is silent or comes back."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import naiad
from naiad.storage.local import presence
from naiad.storage.local.journal.leases import read_leases
from naiad.storage.local.layout import RunDirectory
from naiad.storage.local.reader import Reader
from naiad.storage.local.store import Store

ELSEWHERE = """
import fcntl
from naiad import clock, ids
from naiad.storage.local.journal import leases

def be_another_machine(name, boot=None, skew=0.0):
    fcntl.flock = lambda fd, op: None
    ids.host_name = leases.host_name = lambda: name
    ids.boot_id = leases.boot_id = lambda: boot or name
    clock.now = lambda: time.time() + skew
"""
OPTIONS = (
    "capture_stdout=False, capture_stderr=False, capture_hardware_metrics=False, capture_traceback=False,"
    " source_files=[], git_ref=False"
)
WRITES = f"""
run = naiad.init_run(project="who", custom_run_id="shared", {OPTIONS})
name, count, pause = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
tell(id=run["sys/id"].fetch())
for i in range(count):
    run[name].append(i, step=i)
    run["both"].append(i, step=i)
    if i % 100 == 0:
        run[name + "-text"].append(f"line {{i}}", step=i)
        tell(acknowledged=i + 1)
    time.sleep(pause)
"""
READS = """
states, least = set(), 0
until = time.monotonic() + float(sys.argv[-1])
while time.monotonic() < until:
    with naiad.init_run(with_id="WHO-1", mode="read-only") as run:
        states.add(run["sys/state"].fetch())
        count = len(run["a"].fetch_values(progress_bar=False)) if run.exists("a") else 0
        assert count >= least, (count, least)
        least = count
    naiad.init_project("who", mode="read-only").fetch_runs_table(progress_bar=False).to_pandas()
    time.sleep(0.2)
tell(states=sorted(states), least=least)
"""


def heard(child: subprocess.Popen[str], fact: str) -> Any:
    """The next fact of this name that a child tells."""
    assert child.stdout is not None
    for line in child.stdout:
        said = json.loads(line)
        if fact in said:
            return said[fact]
    assert child.stderr is not None
    raise AssertionError(f"the child ended without telling {fact}: {child.stderr.read()}")


def ended(child: subprocess.Popen[str]) -> tuple[list[Any], str]:
    """What a child acknowledged until its end, and its errors."""
    output, errors = child.communicate(timeout=60)
    return [json.loads(line)["acknowledged"] for line in output.splitlines() if "acknowledged" in line], errors


def the_run(store: Path) -> Reader:
    return Reader(Store(store).find_directory("WHO-1"))


def make_silent(folder: RunDirectory) -> None:
    """As if nothing had been heard of its writers for some minutes."""
    for path in [*folder.journal.iterdir(), folder.journal]:
        os.utime(path, (time.time() - 300, time.time() - 300))


def suspend(child: subprocess.Popen[str]) -> None:
    """Stop a child with all of its threads, of which one might still write its lease for a moment."""
    os.kill(child.pid, signal.SIGSTOP)
    wait_until_suspended(child)


def wait_until_suspended(child: subprocess.Popen[str]) -> None:
    tasks = Path(f"/proc/{child.pid}/task")
    while not all("T (stopped)" in (task / "status").read_text() for task in tasks.iterdir()):
        time.sleep(0.01)


def steps_of(reader: Reader, path: str) -> list[int]:
    return sorted(int(step) for step in reader.points(path).steps)


def texts_of(reader: Reader, path: str) -> list[str]:
    return reader.texts(path).texts


def content(folder: Path) -> dict[str, tuple[int, int, int]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_ino, path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
    }


def damages(store: Path) -> str:
    """The words of `naiad verify` where it ends with an error, "" where it finds nothing."""
    program = Path(sys.executable).with_name("naiad")
    environment = os.environ | {"NAIAD_STORE": str(store)}
    done = subprocess.run([program, "verify"], capture_output=True, text=True, check=False, env=environment, timeout=60)
    return done.stdout + done.stderr if done.returncode else ""


SETTINGS = {"JOURNAL": "write", "FOLD_RECORDS": 300, "SMALL_RUN_RECORDS": 10}
MACHINES = {
    "same host name": 'be_another_machine("one", boot="two", skew=120.0)',
    "another name, clock ahead": 'be_another_machine("two", skew=120.0)',
    "another name, clock behind": 'be_another_machine("two", skew=-120.0)',
}


@pytest.mark.parametrize("killed", ["none", "first", "second"])
@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
def test_folder_shared_without_working_locks_loses_nothing(
    machine: str, killed: str, store: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """Two machines write one run and fold it, one of them reads it all the time, and one may be killed."""
    one = ELSEWHERE + 'be_another_machine("one")' + WRITES
    first = start(one + "run.stop()", "a", 9000 if killed == "first" else 2400, 0.001, **SETTINGS)
    heard(first, "acknowledged")
    second = start(ELSEWHERE + machine + WRITES + "run.stop()", "b", 1800, 0.001, **SETTINGS)
    reader = start(ELSEWHERE + machine + READS, 3, **SETTINGS)
    victim = {"first": first, "second": second}.get(killed)
    if victim:
        heard(second, "acknowledged")
        time.sleep(0.8)
        victim.kill()
    told = {name: ended(child) for name, child in (("a", first), ("b", second))}
    seen = heard(reader, "states")
    run = the_run(store)

    assert "killed" not in seen
    assert not any("Traceback" in errors for _counts, errors in told.values()), told
    both = steps_of(run, "both")
    for name, (counts, _errors), most in (("a", told["a"], 2400), ("b", told["b"], 1800)):
        steps = steps_of(run, name)
        least = max(counts) if victim is (first if name == "a" else second) else most
        assert list(range(len(steps))) == steps
        assert len(steps) >= least
        lines = [f"line {i}" for i in range(0, least, 100)]
        assert lines == texts_of(run, f"{name}-text")[: len(lines)]
        assert set(range(least)) <= set(both)
    assert abs(len(both) - sum(len(steps_of(run, name)) for name in "ab")) <= (victim is not None)
    assert "" == damages(store)


def test_reading_changes_nothing_in_the_folder_of_a_run(
    store: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """A killed run, a long one too, is read from its journal; only its next writer or a command folds it."""
    child = start(WRITES + "tell(done=True); time.sleep(60)", "a", 9000, 0, SMALL_RUN_RECORDS=10)
    heard(child, "done")
    child.kill()
    child.wait()
    folder = the_run(store).folder
    before = content(folder.path)
    assert ["killed"] == heard(start(READS, 1), "states")
    damages(store)
    subprocess.run([Path(sys.executable).with_name("naiad"), "ls"], env=os.environ, check=True, capture_output=True)

    assert before == content(folder.path)
    assert list(range(9000)) == steps_of(the_run(store), "a")


TAKES_OVER = """
from click.testing import CliRunner
from naiad.cli import main
done = CliRunner().invoke(main, ["repair", "WHO-1", *sys.argv[1:]])
tell(code=done.exit_code, said=done.output)
"""


@pytest.mark.parametrize("does_resume", [True, False])
def test_suspended_writer_comes_back_after_a_take_over_and_nothing_is_lost(
    does_resume: bool, store: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    first = start(WRITES + "await_parent(); run.stop()", "a", 3000, 0.001, **SETTINGS)
    for _ in range(12):
        heard(first, "acknowledged")
    suspend(first)
    folder = the_run(store).folder
    make_silent(folder)
    before = {path.name: path.stat().st_ino for path in folder.journal.iterdir() if path.suffix != ".lease"}
    elsewhere = ELSEWHERE + 'be_another_machine("two", skew=120.0)\n'
    tells = "run = naiad.init_run(with_id='WHO-1', mode='read-only'); tell(state=run['sys/state'].fetch())"
    assert "unknown" == heard(start(elsewhere + tells), "state")
    assert 1 == heard(start(elsewhere + TAKES_OVER), "code")
    taking = start(elsewhere + TAKES_OVER, "--take-over", **SETTINGS)
    assert "Silent writers of WHO-1 that were declared dead: 1." in heard(taking, "said")
    assert "killed" == heard(start(elsewhere + tells), "state")
    assert before == {name: ino for name, ino in before.items() if (folder.journal / name).stat().st_ino == ino}
    if does_resume:
        assert ([1, 101], "") == ended(start(elsewhere + WRITES + "run.stop()", "b", 200, 0.0, **SETTINGS))
        assert "finished" == heard(start(elsewhere + tells), "state")
    os.kill(first.pid, signal.SIGCONT)
    until = time.monotonic() + 60
    while "running" != heard(start(elsewhere + tells), "state"):  # at its next sync it finds out
        assert time.monotonic() < until
    errors = ended(first)[1]
    run = the_run(store)

    assert "Traceback" not in errors
    assert list(range(3000)) == steps_of(run, "a")
    assert [f"line {i}" for i in range(0, 3000, 100)] == texts_of(run, "a-text")
    assert sorted([*range(3000), *range(200 * does_resume)]) == steps_of(run, "both")
    assert "finished" == run.state()
    assert folder.seal.exists()
    assert "" == damages(store)


STOPS_IN_A_FOLD = """
from naiad.storage.local.index import fold
from naiad.storage.sql import database
moment, folds = sys.argv[4], []
commit, opened = fold.Index.commit, fold.open_for_writing

def suspend():
    if len(folds) == 5:
        tell(suspended=True)
        os.kill(os.getpid(), signal.SIGSTOP)

def committing(self, *arguments):
    commit(self, *arguments)
    folds.append(1)
    if moment == "before the commit":
        suspend()

class Suspending(database._Connection):
    def close(self):
        if moment == "before closing":
            suspend()
        super().close()

def opening(path):
    database._Connection = Suspending
    return opened(path)

fold.Index.commit, fold.open_for_writing = committing, opening
"""


SHORTLY = """
from naiad.storage.sql import database
database.BUSY_SECONDS = 0.2
"""
"""An index that a suspended process has locked is waited for no longer."""
VERIFIES = """
done = CliRunner().invoke(main, ["verify"])
tell(damages=done.output if done.exit_code else "")
"""


@pytest.mark.parametrize("part", [0, 1, 4, 8, 11, None])
@pytest.mark.parametrize("moment", ["before the commit", "before closing"])
def test_index_that_is_damaged_beside_its_log_is_repaired_while_its_writer_is_suspended_in_a_fold(
    moment: str, part: int | None, store: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """Any page of it may be damaged, or all of it be gone, and the writer has it and its log open all the time.

    The first part is the page that counts its folds. The sums of the writer, which stay, know how many there were.
    """
    first = start(STOPS_IN_A_FOLD + WRITES + "run.stop()", "a", 100_000, 0.0002, moment, **SETTINGS)
    heard(first, "suspended")
    wait_until_suspended(first)
    [folder] = Store(store).folders()  # without the seconds that reading a locked index takes
    if part is None:
        folder.index.unlink()
    else:
        at = folder.index.stat().st_size * part // 12
        with folder.index.open("r+b") as stream:
            stream.seek(at)
            stream.write(bytes(b ^ 0x55 for b in os.pread(stream.fileno(), 40, at)))
    make_silent(folder)
    elsewhere = ELSEWHERE + 'be_another_machine("two", skew=120.0)\n' + SHORTLY
    child = start(elsewhere + TAKES_OVER + VERIFIES, "--take-over", **SETTINGS)

    assert "declared dead: 1." in heard(child, "said")
    assert "" == heard(child, "damages")


@pytest.mark.parametrize("damaged", ["seg", "ops", "run.db", "head of seg", "head of ops"])
def test_writer_that_comes_back_after_a_repair_of_its_damaged_files_loses_and_doubles_nothing_more(
    damaged: str, store: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    fold = 300 if damaged == "run.db" else 1_000_000
    settings = {**SETTINGS, "FOLD_RECORDS": fold}
    first = start(WRITES + "run.stop()", "a", 4000, 0.001, **settings)
    for _ in range(20):
        heard(first, "acknowledged")
    time.sleep(1)
    suspend(first)
    folder = the_run(store).folder
    suffix = damaged.rpartition(" ")[2]
    path = folder.index if damaged == "run.db" else min(folder.journal.glob(f"*.{suffix}"))  # full since long
    at = 0 if damaged.startswith("head") else path.stat().st_size // 3
    with path.open("r+b") as stream:
        stream.seek(at)
        stream.write(bytes(b ^ 0x55 for b in os.pread(stream.fileno(), 40, at)))
    make_silent(folder)
    before = {path.name: path.stat().st_ino for path in folder.journal.iterdir() if path.suffix in (".seg", ".ops")}
    elsewhere = ELSEWHERE + 'be_another_machine("two", skew=120.0)\n'
    said = heard(start(elsewhere + TAKES_OVER, "--take-over", **settings), "said")
    assert "declared dead: 1." in said
    assert before.items() <= {path.name: path.stat().st_ino for path in folder.journal.iterdir()}.items()
    assert "" == damages(store)
    os.kill(first.pid, signal.SIGCONT)
    errors = ended(first)[1]
    run = the_run(store)
    found = {path: steps_of(run, path) for path in ("a", "both")}
    texts = texts_of(run, "a-text")

    assert "Traceback" not in errors
    assert "" == damages(store)
    for steps in (*found.values(), texts):
        assert len(set(steps)) == len(steps)
    lost = 8000 - sum(map(len, found.values()))
    assert f"lost: {lost} points" in said or damaged == "run.db", said
    assert lost < 600 or damaged == "run.db"
    assert len(texts) >= 36 or damaged == "run.db"
    assert set(range(3000, 4000)) <= set(found["a"])


FOLDS_AS_DEAD = """
from naiad.storage.local.index.fold import Fold
from naiad.storage.local.journal.files import Source
from naiad.storage.local.store import Store
from naiad.storage.local.journal.files import list_journal
folder = Store.locate().find_directory("WHO-1")
for lease in folder.journal.glob("*.lease"):
    lease.unlink()
for file in Fold(folder).fold([Source(file, is_final=True) for file in list_journal(folder.journal)]):
    file.path.unlink(missing_ok=True)
tell(done=True)
"""


@pytest.mark.parametrize("journal", ["mmap", "write"])
def test_writer_whose_journal_was_folded_and_removed_goes_on_in_a_new_one(
    journal: str, store: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """As an earlier release did with a run on a shared folder: all points are kept, none is there twice."""
    first = start(
        WRITES + "await_parent(); run.stop()",
        "a",
        4500,
        0.001,
        **{**SETTINGS, "JOURNAL": journal, "FOLD_RECORDS": 3000},
    )
    for _ in range(3):
        for _ in range(12):
            heard(first, "acknowledged")
        heard(start(FOLDS_AS_DEAD), "done")
    errors = ended(first)[1]
    run = the_run(store)

    assert "Traceback" not in errors
    assert list(range(4500)) == steps_of(run, "a")
    assert list(range(4500)) == steps_of(run, "both")
    assert [f"line {i}" for i in range(0, 4500, 100)] == texts_of(run, "a-text")
    assert "finished" == run.state()
    assert "" == damages(store)


def test_writer_takes_another_lease_when_its_own_was_deleted(
    store: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    child = start(WRITES + "tell(done=True); time.sleep(60)", "a", 100, 0)
    heard(child, "done")
    folder = the_run(store).folder
    (lease,) = folder.journal.glob("*.lease")
    lease.unlink()
    assert "running" == the_run(store).state()
    until = time.monotonic() + 60
    while not lease.exists() and time.monotonic() < until:
        time.sleep(0.02)
    assert lease.exists()
    assert "running" == the_run(store).state()
    child.kill()
    child.wait()

    assert "killed" == the_run(store).state()
    assert list(range(100)) == steps_of(the_run(store), "a")


def test_thread_that_stop_could_not_wait_for_ends_quietly_and_finishes_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It joins the run again, since its lease was deleted, and finds the journal closed."""
    monkeypatch.setattr(presence, "RETURN_SECONDS", 60.0)  # time only: it waits until the lock below is free
    run = naiad.init_run(
        store=tmp_path, project="who", source_files=[], git_ref=False, capture_stdout=False, capture_stderr=False,
        capture_hardware_metrics=False, capture_traceback=False,
    )  # fmt: skip
    run["a"].append(0.5, step=0)
    folder = the_run(tmp_path).folder
    with folder.lock():
        (lease,) = folder.journal.glob("*.lease")
        lease.unlink()
        until = time.monotonic() + 60
        while not lease.exists() and time.monotonic() < until:  # the thread takes another, then waits for the lock
            time.sleep(0.02)
        run.stop(seconds=0.3)
        assert not folder.seal.exists()
    while not folder.seal.exists() and time.monotonic() < until:
        time.sleep(0.02)

    assert folder.seal.exists()
    assert "finished" == the_run(tmp_path).state()
    assert [0] == steps_of(the_run(tmp_path), "a")


def test_suspended_writer_without_a_lease_is_not_taken_for_dead(
    store: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    child = start(WRITES + "tell(done=True); time.sleep(60)", "a", 100, 0)
    heard(child, "done")
    suspend(child)
    folder = the_run(store).folder
    for lease in folder.journal.glob("*.lease"):
        lease.unlink()
    assert "running" == the_run(store).state()
    make_silent(folder)
    assert "unknown" == the_run(store).state()
    child.kill()
    child.wait()

    assert "killed" == the_run(store).state()


def test_copy_of_a_run_that_is_being_written_is_not_running_and_leaves_the_run_alone(
    store: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    child = start(WRITES + "run.stop()", "a", 3000, 0.001, **SETTINGS)
    for _ in range(5):
        heard(child, "acknowledged")
    folder = the_run(store).folder
    subprocess.run(["cp", "-r", folder.path, folder.path.with_name("copied")], check=False)  # a file may vanish
    copy = Reader(RunDirectory(folder.path.with_name("copied")))
    assert "killed" == copy.state()
    assert "running" == the_run(store).state()
    resumes = f"run = naiad.init_run(with_id='copied', {OPTIONS}); run['more'] = 1; run.stop()"
    assert ([], "") == ended(start(resumes, **SETTINGS))
    assert "finished" == copy.state()
    _counts, errors = ended(child)
    run = Reader(folder)

    assert "" == errors
    assert list(range(3000)) == steps_of(run, "a")
    assert "finished" == run.state()
    assert "" == damages(store)


def test_pid_that_was_given_to_another_process_keeps_no_run_running(
    store: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    child = start(WRITES + "tell(done=True); time.sleep(60)", "a", 100, 0)
    heard(child, "done")
    child.kill()
    child.wait()
    (lease,) = the_run(store).folder.journal.glob("*.lease")
    lease.write_text(json.dumps({**json.loads(lease.read_text()), "pid": os.getpid()}))

    assert "killed" == the_run(store).state()


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="PID namespaces are made by root only")
def test_run_killed_in_a_container_is_unknown_outside_and_can_be_taken_over(
    store: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """It has the boot id and here the host name of its machine, and pids of its own."""
    program = WRITES + "tell(done=True); os.kill(os.getpid(), 0); os._exit(0)"
    environment = os.environ | {"NAIAD_STORE": str(store)}
    prelude = "import json, os, sys, time\ntell = lambda **facts: print(json.dumps(facts), flush=True)\nimport naiad\n"
    command = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", prelude + program, "a", "100", "0"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=60)
    if "unshare failed" in done.stderr:
        pytest.skip(f"PID namespaces cannot be made here: {done.stderr.strip()}")
    folder = the_run(store).folder
    assert ["alive"] == [each.state for each in read_leases(folder.journal).values()]
    make_silent(folder)
    assert "unknown" == the_run(store).state()
    assert 0 == heard(start(TAKES_OVER, "--take-over"), "code")

    assert "killed" == the_run(store).state()
    assert list(range(100)) == steps_of(the_run(store), "a")
