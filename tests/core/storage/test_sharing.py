"""A store shared by a group, and what of it one user may not read or change. Real users, so it needs root."""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import naiad
from naiad.errors import NotPermitted
from naiad.storage.local.store import Store

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None, reason="being several users takes root and setpriv"
)

GROUP = 54300
ANN, BOB, EVE = 50001, 50002, 50003  # Eve is in no group of theirs
PRELUDE = """
import os, sys
os.umask(int(sys.argv[1], 8))
import naiad
from naiad.types import File
store = sys.argv[2]
big = File.from_content(b"x" * 100_000)
"""

As = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def shared(store: Path) -> Iterator[Path]:
    """A setgid folder of the group, reachable by every user."""
    place = Path(tempfile.mkdtemp(prefix="naiad-shared-"))
    place.chmod(0o755)
    folder = place / "lab"
    folder.mkdir()
    os.chown(folder, 0, GROUP)
    folder.chmod(0o2775)
    yield folder
    shutil.rmtree(place)


INTERPRETER = """
import json, os, socket, sys
import naiad, naiad.cli

requests = socket.socket(fileno=int(sys.argv[1]))
while True:
    text, files, _flags, _address = socket.recv_fds(requests, 1 << 20, 2)
    if not text:
        sys.exit()
    child = os.fork()
    if not child:
        break
    for file in files:
        os.close(file)
    requests.send(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode())
requests.close()
folder, environment, program, arguments = json.loads(text)
for number, file in enumerate(files, 1):
    os.dup2(file, number)
    os.close(file)
os.environ.clear()
os.environ.update(environment)
os.chdir(folder)
sys.argv = ["-c", *arguments]
exec(program)
"""
"""A program that forks for each request: the child runs the text that it is sent, to the end of an interpreter."""


def line_as(user: int, *words: str) -> list[str]:
    """The line that starts a program as a user of the group; Eve is in none."""
    group = EVE if user == EVE else GROUP
    return ["setpriv", "--reuid", str(user), "--regid", str(group), "--clear-groups", sys.executable, *words]


STARTED: dict[int, tuple[socket.socket, subprocess.Popen[bytes]]] = {}
"""The interpreter of each user."""


@pytest.fixture(scope="module", autouse=True)
def interpreters() -> Iterator[None]:
    """End what was started."""
    yield
    for requests, process in STARTED.values():
        requests.close()
        process.wait(60)
    STARTED.clear()


def interpreter_of(user: int) -> socket.socket:
    """Start INTERPRETER once for a user, since the tests run about 150 programs."""
    if user not in STARTED:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(60)
        line = line_as(user, "-c", INTERPRETER, str(theirs.fileno()))
        STARTED[user] = ours, subprocess.Popen(line, pass_fds=[theirs.fileno()])
        theirs.close()
    return STARTED[user][0]


def environment_of(home: Path) -> dict[str, str]:
    """The environment of a program; of a store only what is named, or lies in the folder, counts."""
    known = {name: value for name, value in os.environ.items() if name != "NAIAD_STORE"}
    return {**known, "HOME": str(home), "NAIAD_SMALL_RUN_RECORDS": "4096"}  # so that LONG makes an index


def run_as(user: int, program: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a text of Python as a user of the group; Eve is in none."""
    request = json.dumps([str(cwd), environment_of(cwd), program, arguments]).encode()
    with tempfile.TemporaryFile() as printed, tempfile.TemporaryFile() as errors:
        files = [printed.fileno(), errors.fileno()]
        socket.send_fds(interpreter_of(user), [request], files)
        status = int(interpreter_of(user).recv(100))
        texts = [os.pread(file, 1 << 24, 0).decode() for file in files]
    return subprocess.CompletedProcess([program, *arguments], status, *texts)


@pytest.fixture
def as_user(shared: Path) -> As:
    """Run a program text after PRELUDE as a user of the group (Eve: of none) with umask 002."""
    line = line_as(EVE, "-c", "import naiad")
    if subprocess.run(line, env=environment_of(shared), cwd=shared, capture_output=True, check=False).returncode:
        pytest.skip("other users may not read this interpreter")

    def run(user: int, program: str, *, umask: str = "002") -> subprocess.CompletedProcess[str]:
        return run_as(user, PRELUDE + program, umask, str(shared / "st"), cwd=shared)

    return run


def succeed(done: subprocess.CompletedProcess[str]) -> str:
    assert 0 == done.returncode, done.stderr
    return done.stdout


def command(user: int, shared: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the `naiad` command with the umask of the group."""
    program = "import os; os.umask(0o002); from naiad.cli import main; main()"
    return run_as(user, program, "--store", str(shared / "st"), *words, cwd=shared)


BEGINS = """
with naiad.init_run(store=store, project="p") as run:
    run["loss"].extend([1.0, 2.0])
    run["text"].append("a")
    run["file"].upload(big)
"""
LONG = """
with naiad.init_run(store=store, project="p") as run:
    run["loss"].extend([float(n) for n in range(10_000)])
    run["file"].upload(big)
"""


KILLED = """
run = naiad.init_run(store=store, project="p")
run["loss"].extend([float(n) for n in range(10_000)])
run["file"].upload(big)
run.wait()
os.kill(os.getpid(), 9)
"""
EVERY = 'sys/id:string CONTAINS "P"'
LISTS = """
project = naiad.init_project("p", store=store, mode="read-only")
print(sorted((row.get_attribute_value("sys/id"), *row.get_attribute_value("sys/tags")) for row in
             project.fetch_runs_table(progress_bar=False)))
"""


def test_everything_in_a_shared_store_may_be_written_by_the_group(shared: Path, as_user: As) -> None:
    """Content alone is read-only for all: it never changes."""
    succeed(as_user(ANN, BEGINS + LONG + LISTS))
    assert -9 == as_user(ANN, KILLED).returncode

    for path in (shared / "st").rglob("*"):
        mode = path.stat().st_mode
        is_content = path.relative_to(shared / "st").parts[0] == "blobs" and path.is_file() and path.name != ".lock"
        assert GROUP == path.stat().st_gid
        assert mode & stat.S_IRGRP, f"{path} is {mode:o}"
        assert is_content or mode & stat.S_IWGRP, f"{path} is {mode:o}"
    assert (shared / "st" / "catalog.db").exists()
    assert list((shared / "st").glob("runs/*/run.db"))


def test_umask_of_a_careful_user_is_kept(shared: Path, as_user: As) -> None:
    succeed(as_user(ANN, BEGINS + LONG + LISTS, umask="027"))

    for path in (shared / "st").rglob("*"):
        assert 0 == path.stat().st_mode & (stat.S_IWGRP | stat.S_IRWXO), path


@pytest.mark.parametrize("program", [BEGINS, LONG, KILLED], ids=["short", "long", "killed"])
def test_colleague_goes_on_with_a_run(shared: Path, as_user: As, program: str) -> None:
    as_user(ANN, program)
    goes_on = """
with naiad.init_run(with_id="P-1", store=store) as run:
    run["loss"].append(-1.0)
    run["again"].upload(big)
    run["sys/tags"].add("seen")
    run.wait()
    print(run["loss"].fetch_last(), len(run["loss"].fetch_values(progress_bar=False)))
"""
    count = 2 if program is BEGINS else 10_000

    assert f"-1.0 {count + 1}\n" == succeed(as_user(BOB, goes_on))
    assert f"-1.0 {count + 2}\n" == succeed(as_user(ANN, goes_on))
    assert "[('P-1', 'seen')]\n" == succeed(as_user(BOB, LISTS))
    assert "[('P-1', 'seen')]\n" == succeed(as_user(ANN, LISTS))
    succeed(command(BOB, shared, "verify"))


def test_two_users_log_to_one_run_at_once(shared: Path, as_user: As) -> None:
    logs = """
with naiad.init_run(store=store, project="p", custom_run_id="both") as run:
    for n in range(3000):
        run[f"by/{os.getuid()}"].append(n)
"""
    programs = [
        subprocess.Popen(
            line_as(user, "-c", PRELUDE + logs, "002", str(shared / "st")),
            cwd=shared,
        )
        for user in (ANN, BOB)
    ]
    assert [0, 0] == [program.wait(60) for program in programs]

    with naiad.init_run(with_id="P-1", store=shared / "st", mode="read-only") as run:
        assert [3000, 3000] == [len(run[f"by/{user}"].fetch_values(progress_bar=False)) for user in (ANN, BOB)]


def test_colleague_trashes_restores_purges_and_frees(shared: Path, as_user: As) -> None:
    succeed(as_user(ANN, BEGINS + LONG + LISTS))

    succeed(command(BOB, shared, "trash", "P-1"))
    assert "P-1" not in succeed(command(ANN, shared, "ls"))
    succeed(command(BOB, shared, "restore", "P-1"))
    assert "P-1" in succeed(command(ANN, shared, "ls"))
    succeed(command(BOB, shared, "trash", "P-1", "P-2"))
    succeed(command(BOB, shared, "purge", "--yes"))
    for path in (shared / "st" / "blobs").rglob("*"):
        os.utime(path, (0, 0))
    succeed(command(BOB, shared, "gc"))

    assert [] == list((shared / "st" / "runs").iterdir())
    assert [] == [path for path in (shared / "st" / "blobs").rglob("*") if path.is_file() and path.name != ".lock"]


def test_colleague_repairs_a_run(shared: Path, as_user: As) -> None:
    succeed(as_user(ANN, LONG.replace('run["file"]', "#")))
    (index,) = (shared / "st").glob("runs/*/run.db")
    content = bytearray(index.read_bytes())
    content[len(content) // 2] ^= 1
    index.write_bytes(content)
    assert 1 == command(BOB, shared, "verify").returncode

    succeed(command(BOB, shared, "repair", "P-1"))
    succeed(command(BOB, shared, "verify"))
    succeed(as_user(ANN, "with naiad.init_run(with_id='P-1', store=store) as run: run['loss'].append(1.0)"))


def test_store_that_an_earlier_release_made_for_its_owner_alone_to_write(shared: Path, as_user: As) -> None:
    """What an earlier release made 0644 stays so; whoever may write the folders can use all of it."""
    as_user(ANN, LONG + KILLED + LISTS)
    for path in (shared / "st").rglob("*"):
        if path.is_file():
            path.chmod(path.stat().st_mode & ~stat.S_IWGRP)

    succeed(as_user(BOB, BEGINS))
    for name in ("P-1", "P-2"):
        succeed(as_user(BOB, f"with naiad.init_run(with_id={name!r}, store=store, mode='read-only') as run:"
                             " assert len(run['loss'].fetch_values(progress_bar=False)) == 10_000"))  # fmt: skip
    assert "[('P-1',), ('P-2',), ('P-3',)]\n" == succeed(as_user(BOB, LISTS))


# What may not be read


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The place of a store that the tests begin with copies of."""
    return tmp_path_factory.mktemp("made") / "st"


@pytest.fixture
def partly(shared: Path, as_user: As, made: Path) -> Path:
    """A store of Ann's that others may read and not write: two short runs and a long one, each with a file."""
    if made.exists():
        subprocess.run(["cp", "-a", str(made), str(shared / "st")], check=True)
    else:
        succeed(as_user(ANN, BEGINS + BEGINS + LONG, umask="022"))
        subprocess.run(["cp", "-a", str(shared / "st"), str(made)], check=True)
    return shared / "st"


def everything_else_is_listed(shared: Path, as_user: As, hidden: str, *, user: int = EVE) -> None:
    rows = [line.split("\t")[:2] for line in succeed(command(user, shared, "ls")).splitlines()]
    assert ["P-1", "P-2", "P-3"] == sorted(name for name, _state in rows)
    assert [hidden] == [name for name, state in rows if state == "unreadable"]
    assert "P-3" in succeed(command(user, shared, "query", EVERY))
    verified = command(user, shared, "verify")
    assert 1 == verified.returncode
    assert [hidden] == [line.split("\t")[0] for line in verified.stdout.splitlines()]
    shown = command(user, shared, "show", hidden)
    assert 1 == shown.returncode
    assert "no permission to read" in shown.stderr
    assert "Traceback" not in shown.stderr
    opened = as_user(user, f"naiad.init_run(with_id={hidden!r}, store=store, mode='read-only')['loss'].fetch_last()")
    assert "naiad.errors.NotPermitted: This user has no permission to read the run in" in opened.stderr


@pytest.mark.parametrize("place", ["", "journal", "seal.json", "journal/*.ops", "journal/*.seg"])
def test_unreadable_part_of_a_run_hides_that_run_alone(partly: Path, as_user: As, place: str) -> None:
    runs = sorted((partly / "runs").iterdir())
    (path,) = runs[0].glob(place) if place else [runs[0]]
    path.chmod(0o700)

    everything_else_is_listed(partly.parent, as_user, "P-1")
    assert "finished" in succeed(command(ANN, partly.parent, "ls", "--state", "finished"))


def test_unreadable_index_hides_its_run_alone(partly: Path, as_user: As) -> None:
    (index,) = partly.glob("runs/*/run.db")
    index.chmod(0o600)

    everything_else_is_listed(partly.parent, as_user, "P-3")


def test_unreadable_content_is_one_line_of_verify_and_all_else_can_be_read(partly: Path, as_user: As) -> None:
    for path in partly.glob("blobs/*/*"):
        path.chmod(0o400)
    found = command(EVE, partly.parent, "verify")
    lines = [line.split("\t") for line in found.stdout.splitlines()]

    assert 1 == found.returncode
    assert ["P-1", "P-2", "P-3"] == sorted(line[0] for line in lines)
    assert {"file"} == {line[3] for line in lines}
    assert 3 == succeed(command(EVE, partly.parent, "ls")).count("finished")
    download = command(EVE, partly.parent, "download", "P-1", "file", "-o", "/tmp")
    assert download.returncode
    assert "Traceback" not in download.stderr


@pytest.mark.parametrize("place", ["ids/P/1", "ids/P", "keys/P", "keys", "changed", "custom", "catalog.db", "ids"])
def test_unreadable_entry_of_the_store_hides_no_run(partly: Path, as_user: As, place: str) -> None:
    succeed(command(ANN, partly.parent, "ls"))
    if not (partly / place).exists():
        (partly / place).mkdir()
    (partly / place).chmod(0o600)

    listed = succeed(command(EVE, partly.parent, "ls"))
    assert ["P-3", "P-2", "P-1"] == [line.split("\t")[0] for line in listed.splitlines()]
    assert "P-3" in succeed(command(EVE, partly.parent, "query", EVERY))
    verified = command(EVE, partly.parent, "verify")
    assert "Traceback" not in verified.stderr
    assert verified.returncode in (0, 1)


@pytest.mark.parametrize("program", [BEGINS, LONG, KILLED], ids=["short", "long", "killed"])
def test_store_that_may_only_be_read_can_be_read_whole(shared: Path, as_user: As, program: str) -> None:
    as_user(ANN, program + ("" if program is KILLED else LISTS), umask="022")
    before = sorted((path, path.stat().st_mtime_ns) for path in (shared / "st").rglob("*"))

    assert "P-1" in succeed(command(EVE, shared, "ls"))
    assert "P-1" in succeed(command(EVE, shared, "query", EVERY))
    assert "loss" in succeed(command(EVE, shared, "show", "P-1"))
    succeed(command(EVE, shared, "verify"))
    refused = as_user(EVE, "naiad.init_run(with_id='P-1', store=store)['x'].append(1.0)")
    assert "StoreNotWritable" in refused.stderr
    hers = shared.parent / "hers"
    hers.mkdir()
    hers.chmod(0o777)
    succeed(command(EVE, shared, "copy", "P-1", "--to", str(hers / "st")))
    read = "print(len(naiad.init_run(with_id='P-1', store=store, mode='read-only')['loss'].fetch_values()))"
    count = succeed(run_as(EVE, PRELUDE + read, "002", str(hers / "st"), cwd=hers))
    assert ("2\n" if program is BEGINS else "10000\n") == count
    succeed(run_as(EVE, "from naiad.cli import main; main()", "--store", str(hers / "st"), "verify", cwd=hers))
    assert before == sorted((path, path.stat().st_mtime_ns) for path in (shared / "st").rglob("*"))


# A store that somebody else has put there


LIVE = """
import json, pathlib, shutil, socket, sqlite3, tempfile
from naiad.settings import Tuning
from naiad.storage.local.index.index import Index
from naiad.storage.local.layout import RunDirectory
from naiad.storage.local.maintenance import Maintenance
from naiad.storage.local.reader import Reader
from naiad.storage.local.writer import Writer
line = socket.socket(fileno=int(sys.argv[3]))
folder = RunDirectory(pathlib.Path(store) / "runs" / "live")
"""
WRITES = f"""
{LIVE}
writer = Writer.open(folder)
maintenance = Maintenance(folder, Tuning.from_environment())
number, steps = writer.bind("loss"), range(0)
line.send(b"begun")
while word := line.recv(10):
    if word == b"hold":  # while this is open, folds leave a log
        held = sqlite3.connect(folder.index)
        held.execute("SELECT count(*) FROM head").fetchone()
    if word == b"overwrite":  # the log is in the index, and the next fold begins it anew
        held.execute("PRAGMA wal_checkpoint(RESTART)")
    if word == b"die":  # as in the middle of a commit on a network disk
        dying = sqlite3.connect(folder.index, isolation_level=None)
        for each in ("journal_mode=DELETE", "cache_size=1", "cache_spill=1"):
            dying.execute(f"PRAGMA {{each}}").fetchone()
        dying.execute("BEGIN IMMEDIATE")
        dying.execute("UPDATE head SET facts = zeroblob(length(facts))")
        dying.execute("UPDATE pack SET data = zeroblob(1000000)")
        line.send(b"dying")
        os.kill(os.getpid(), 9)
    steps = range(steps.stop, steps.stop + (20_000 if word == b"hold" else 100))
    writer.points(number, [float(step) for step in steps], [*steps], [1.0] * len(steps))
    maintenance.fold(writer.journal)
    line.send(b"folded")
writer.stop()
"""
READS = f"""
{LIVE}
found, copies = [], []

def ask(word):
    line.send(word)
    line.recv(10)

def look():
    steps = reader.points("loss").steps.tolist()
    found.append(len(steps) if steps == [*range(len(steps))] else steps)

class Copies(tempfile.TemporaryDirectory):
    def __init__(self, *given, **options):
        super().__init__(*given, **options)
        copies.append(self.name)

tempfile.TemporaryDirectory = Copies
line.recv(10)
ask(b"fold")
reader = Reader(folder)
"""
REPORTS = """
left = [each for each in copies if os.path.exists(each)]
print(json.dumps([found, [str(each) for each in reader.damages], len(copies), left]))
"""
FOLLOWS = """
look()
look()
ask(b"fold")
look()
ask(b"hold")
look()
look()
ask(b"fold")
look()
"""
LOAD_BESIDE_A_FOLD = """
load = Index.load
def load_late(*given, **options):
    Index.load = load
    ask(b"fold")
    return load(*given, **options)
Index.load = load_late
look()
"""
COPY_BESIDE_A_FOLD = """
ask(b"hold")
copy = shutil.copyfile
def copy_late(source, *given, **options):
    if str(source).endswith("-wal"):
        shutil.copyfile = copy
        ask(b"overwrite")
    return copy(source, *given, **options)
shutil.copyfile = copy_late
look()
"""
AFTER_A_DEATH = """
ask(b"die")
assert os.stat(f"{folder.index}-journal").st_size
look()
look()
"""
WITHOUT_A_PLACE_FOR_COPIES = """
ask(b"hold")
tempfile.tempdir = "/nowhere"
try:
    look()
except naiad.errors.StorageError as error:
    found.append(str(error).partition("run.db ")[2][:40])
"""


@pytest.mark.parametrize(
    ("program", "found", "copies"),
    [
        pytest.param(FOLLOWS, [100, 100, 200, 20_200, 20_200, 20_300], 2, id="follows"),
        pytest.param(LOAD_BESIDE_A_FOLD, [200], 0, id="loads beside a fold"),
        pytest.param(COPY_BESIDE_A_FOLD, [20_200], 2, id="copies beside a fold"),
        pytest.param(AFTER_A_DEATH, [100, 100], 1, id="reads after a death"),
        pytest.param(WITHOUT_A_PLACE_FOR_COPIES, ["cannot be copied into a temporary folder"], 0, id="cannot copy"),
    ],
)
def test_run_that_another_user_writes_is_read_whole_without_permission_to_write(
    shared: Path, as_user: As, program: str, found: list[object], copies: int
) -> None:
    """Without a lock that keeps them apart, folds change the index and its log while they are read or copied."""
    theirs, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    environment = {**environment_of(shared), "NAIAD_FOLD_RECORDS": "1000000000", "NAIAD_SYNC_SECONDS": "600"}
    running = [
        subprocess.Popen(
            line_as(user, "-c", PRELUDE + text, "022", str(shared / "st"), str(end.fileno())),
            cwd=shared, env=environment, pass_fds=[end.fileno()], stdout=subprocess.PIPE, text=True,
        )
        for user, text, end in ((ANN, WRITES, theirs), (EVE, READS + program + REPORTS, ours))
    ]  # fmt: skip
    theirs.close()
    ours.close()
    printed = [each.communicate(timeout=60)[0] for each in running]

    assert [-9 if program is AFTER_A_DEATH else 0, 0] == [each.returncode for each in running]
    assert [found, [], copies, []] == json.loads(printed[1])


def test_store_of_another_user_in_a_folder_of_all_is_used_only_if_named(shared: Path, as_user: As) -> None:
    shared.chmod(0o1777)
    with naiad.init_run(store=shared / ".naiad", project="p") as run:
        run["x"] = 1
    for folder in ((shared / ".naiad"), *(shared / ".naiad").rglob("*")):
        folder.chmod(0o777)
    (shared / "mine").mkdir(mode=0o777)
    os.chown(shared / "mine", EVE, EVE)
    begins = "run = naiad.init_run({}); run['x'] = 2; run.stop()"

    refused = as_user(EVE, begins.format(""))
    assert f"NotPermitted: The store {shared / '.naiad'} belongs to another user" in refused.stderr
    refused = as_user(EVE, "os.chdir('mine'); " + begins.format(""))
    assert "NotPermitted" in refused.stderr
    succeed(as_user(EVE, begins.format("store='.naiad'")))
    succeed(as_user(EVE, "os.environ['NAIAD_STORE'] = '.naiad'; " + begins.format("")))
    listed = run_as(EVE, "from naiad.cli import main; main()", "ls", cwd=shared)
    assert 1 == listed.returncode
    assert "belongs to another user" in listed.stderr
    assert "Traceback" not in listed.stderr


@pytest.mark.parametrize("is_there", [True, False])
def test_link_of_another_user_is_refused_and_ones_own_is_followed(shared: Path, as_user: As, is_there: bool) -> None:
    shared.chmod(0o1777)
    target = shared / "target"
    if is_there:
        target.mkdir()
        os.chown(target, EVE, EVE)
    link = shared / ".naiad"
    link.symlink_to(target)
    begins = "run = naiad.init_run(); run['x'] = 2; run.stop()"

    assert "NotPermitted" in as_user(EVE, begins).stderr
    if is_there:
        os.chown(link, EVE, EVE, follow_symlinks=False)
        os.chown(target, 0, 0)
        target.chmod(0o777)
        succeed(as_user(EVE, begins))
        assert (target / "format").exists()


def test_store_of_another_user_in_a_folder_of_few_is_used(shared: Path, as_user: As) -> None:
    succeed(as_user(ANN, "naiad.init_run(store='.naiad').stop()"))

    succeed(as_user(BOB, "naiad.init_run().stop()"))
    assert 2 == len(list(Store(shared / ".naiad").folders()))


def test_not_permitted_is_what_a_careful_user_would_catch() -> None:
    assert issubclass(NotPermitted, PermissionError)
