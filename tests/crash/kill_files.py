"""kill -9 while files are uploaded: what was acknowledged is whole, and what was not is whole or not there.

    python tests/crash/kill_files.py 100

runs a hundred kills and prints the figures; the normal suite runs eight of them (`test_kill_files.py`). A child process
uploads files, series and sets of files through the public API and writes the number of each call that returned into a
pipe. The parent kills it at a random moment, reads the run through the public API, verifies the store, removes what
nothing refers to, and reads everything again; then another child goes on with the same run.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SESSION_CALLS = 100_000
FILES = 3  # of a set, in one call
FIGURES = ("kills", "acknowledged", "lost", "wrong", "half", "damaged", "orphans")


def content(call: int, part: int = 0) -> bytes:
    """What a call uploads: from a few bytes, which travel in the op, to some megabytes."""
    chance = random.Random(call * 8 + part)
    return chance.randbytes(chance.choice((10, 3000, 6000, 40_000, 300_000, 2_000_000)))


def perform(run: Any, call: int, folder: Path) -> None:
    """Make one call of the public API."""
    kind = call % 5
    if kind == 0:
        run[f"file/{call // 5 % 3}"].upload(naiad_file(call))
    elif kind == 1:
        path = folder / "upload.bin"
        path.write_bytes(content(call))
        run["path"].upload(path, wait=call % 2 == 0)
    elif kind == 2:
        run["series"].append(naiad_file(call), step=call)
    elif kind == 3:
        place = folder / f"set{call // 5 % 2}"
        place.mkdir(exist_ok=True)
        for part in range(FILES):
            (place / f"{part}.bin").write_bytes(content(call, part))
        run["set"].upload_files(str(place / "*.bin"))
    elif call // 5 % 4 == 3:
        if run.exists("gone"):
            run.pop("gone")
    else:
        run["gone"].upload(naiad_file(call))


def naiad_file(call: int) -> Any:
    from naiad.types import File

    return File.from_content(content(call))


@dataclass
class Model:
    """The call that each file must come from."""

    files: dict[str, int] = field(default_factory=dict)
    series: list[int] = field(default_factory=list)
    members: dict[str, int] = field(default_factory=dict)

    def copy(self) -> Model:
        return Model(dict(self.files), list(self.series), dict(self.members))

    def expect(self, call: int) -> None:
        """Let a call take effect."""
        kind = call % 5
        if kind == 0:
            self.files[f"file/{call // 5 % 3}"] = call
        elif kind == 1:
            self.files["path"] = call
        elif kind == 2:
            self.series.append(call)
        elif kind == 3:
            self.members |= {f"{part}.bin": call for part in range(FILES)}
        elif call // 5 % 4 == 3:
            self.files.pop("gone", None)
        else:
            self.files["gone"] = call


def child(store: str, folder: str, session: int) -> None:
    """Upload until killed; the number of each call that returned goes to standard output."""
    import naiad

    warnings.simplefilter("error")
    run = naiad.init_run(project="kill", custom_run_id="files", store=store)
    call = session * SESSION_CALLS
    while True:
        perform(run, call, Path(folder))
        os.write(1, struct.pack("<q", call))
        call += 1


def kill_once(
    store: Path, folder: Path, session: int, model: Model, chance: random.Random
) -> tuple[Model, int, list[str]]:
    """Run a child, kill it, look; the model as it is now, how many calls were acknowledged, and what is wrong."""
    command = [sys.executable, __file__, "--child", str(store), str(folder), str(session)]
    environment = os.environ | {"NAIAD_CAPTURES": "off"}  # what is printed tells the parent what was acknowledged
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
    assert process.stdout is not None
    first = process.stdout.read(8)  # it has begun
    time.sleep(chance.uniform(0, 0.6))
    process.send_signal(signal.SIGKILL)
    rest = process.stdout.read()
    process.wait()
    process.stdout.close()
    data = first + rest
    calls = [number for (number,) in struct.iter_unpack("<q", data[: len(data) // 8 * 8])]
    for call in calls:
        model.expect(call)
    later = model.copy()
    if calls:
        later.expect(calls[-1] + 1)
    problems, now = compare(store, model, later)
    problems += look_after(store)
    problems += compare(store, now, now)[0]
    return now, len(calls), problems


def compare(store: Path, model: Model, later: Model) -> tuple[list[str], Model]:
    """What differs from both the model and the model with the call that was under way, and which of them holds."""
    import naiad

    run = naiad.init_run(project="kill", store=store, with_id="KILL-1", mode="read-only")
    problems: list[str] = []
    now = model.copy()
    for path in sorted({*model.files, *later.files}):
        found = run[path].fetch_content() if run.exists(path) else None
        wishes = {one.files.get(path) for one in (model, later)}
        fitting = [call for call in wishes if found == (None if call is None else content(call))]
        if fitting:
            now.files.pop(path, None)
            now.files |= {path: fitting[0]} if fitting[0] is not None else {}
        else:
            problems.append(f"{'lost' if found is None else 'wrong'} {path}: {sorted(map(str, wishes))}")
    entries = [file.content for file in run["series"].fetch_files()] if run.exists("series") else []
    fitting_series = [one.series for one in (model, later) if entries == [content(call) for call in one.series]]
    now.series = list(fitting_series[0]) if fitting_series else now.series
    problems += [] if fitting_series else [f"wrong series: {len(entries)} entries, {len(model.series)} acknowledged"]
    there = [each.name for each in run["set"].list_fileset_files()] if run.exists("set") else []
    members = {name: run["set"].open_file(name).read() for name in there}
    fitting_sets = [
        one.members
        for one in (model, later)
        if members == {name: content(call, int(name[0])) for name, call in one.members.items()}
    ]
    now.members = dict(fitting_sets[0]) if fitting_sets else now.members
    problems += [] if fitting_sets else [f"half set: {sorted(members)}"]
    run.stop()
    return problems, now


def look_after(store: Path) -> list[str]:
    """Verify the store, remove what nothing refers to, and look for what is left over."""
    from naiad.storage.local.files import stored_files
    from naiad.storage.local.gc import collect
    from naiad.storage.local.integrity.verify import verify_store
    from naiad.storage.local.reader import Reader
    from naiad.storage.local.store import Store

    found = Store(store)
    problems = [f"damaged {damage}" for damages in verify_store(found).values() for damage in damages]
    collect(found.layout, grace=-1)
    referenced: set[str] = set()
    for folder in found.folders():
        reader = Reader(folder)
        referenced |= {reader.resolve(file.blob) for _path, file in stored_files(reader) if file.blob}
    left = {
        file: file.stat().st_ino for file in (store / "blobs").rglob("*") if file.is_file() and file.name != ".lock"
    }
    inodes = {inode for file, inode in left.items() if file.name in referenced}  # content may have two names meanwhile
    problems += [f"orphans {file.name}" for file, inode in left.items() if inode not in inodes]
    return problems


def sweep(kills: int, seed: int) -> dict[str, int]:
    """Kill so many children, one after the other, on one run; the figures."""
    folder = Path(tempfile.mkdtemp(prefix="naiad-kill-files-"))
    figures = dict.fromkeys(FIGURES, 0)
    model, chance = Model(), random.Random(seed)
    try:
        for session in range(kills):
            model, acknowledged, problems = kill_once(folder / ".naiad", folder, session, model, chance)
            figures["kills"] += 1
            figures["acknowledged"] += acknowledged
            for problem in problems:
                figures[problem.partition(" ")[0]] += 1
                print(f"session {session}: {problem}", file=sys.stderr)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kills", type=int, nargs="?", default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--child", nargs=3, metavar=("STORE", "FOLDER", "SESSION"))
    given = parser.parse_args()
    if given.child:
        child(given.child[0], given.child[1], int(given.child[2]))
    begun = time.monotonic()
    figures = sweep(given.kills, given.seed)
    print(", ".join(f"{name} {count:,}" for name, count in figures.items()), f"in {time.monotonic() - begun:.0f} s")
    sys.exit(1 if any(figures[name] for name in FIGURES[2:]) else 0)


if __name__ == "__main__":
    main()
