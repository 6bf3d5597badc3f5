"""Files: how long `upload` blocks its caller, what the background then does, and the memory all of it takes.

    python tests/bench/bench_files.py [--quick] [--json]

Wall time, on the file system that TMPDIR names. "Taken in" is what the caller waits for, "settled" is hashing, syncing
and placing. Floors: `cp` of the same file with the same page cache, `zip` of the same folder. Memory is the growth of
the peak resident size over the call. The real file is random bytes, the sparse one a hole with a little in its middle.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from figures import WALL, Figure, folder, in_turns, main, seconds

import naiad
from naiad.files.archive import Member, write_zip
from naiad.files.globs import expand
from naiad.files.tracking import track
from naiad.storage.local.blobs import Blobs, Incoming
from naiad.storage.local.packs import Slice, Taken, read_slice, take_all

MiB = 1024 * 1024
Call = Callable[[], object]


def growth(call: Call) -> float:
    """MiB by which the peak of resident memory lies above what was resident before."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew here
    before = _peak()
    call()
    return (_peak() - before) / 1024


def _peak() -> int:
    return next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)


def real_file(path: Path, size: int) -> Path:
    with path.open("wb") as stream:
        for _ in range(size // (8 * MiB)):
            stream.write(os.urandom(8 * MiB))
        stream.flush()
        os.fsync(stream.fileno())
    return path


def sparse_file(path: Path, size: int) -> Path:
    with path.open("wb") as stream:
        stream.seek(size // 2)
        stream.write(os.urandom(MiB))
        stream.truncate(size)
    return path


def large(place: Path, name: str, source: Path, repeats: int) -> list[Figure]:
    """One large file: in, settled, out."""
    blobs = Blobs(place / "store" / "blobs")
    gib = source.stat().st_size / 2**30
    incoming: list[str] = []

    def take() -> None:
        found = blobs.take(source, "1-a")
        assert isinstance(found, Incoming)
        incoming.append(found.name)

    def settle() -> None:
        blob = blobs.settle(incoming[-1])
        blobs.release(incoming.pop())
        blobs.path(blob.sha256).rename(place / "blob")  # the next round places it anew

    def copy() -> None:
        subprocess.run(["cp", source, place / "cp"], check=True)

    def at_rest(call: Call, remove: Call) -> float:
        """GiB a second; what earlier calls left to be written to the disk is not counted, nor left to the next."""
        os.sync()
        rate = gib / seconds(call, WALL)
        remove()
        return rate

    def settled() -> float:
        take()
        return gib / seconds(settle, WALL)

    memory = [growth(take) + growth(settle)]  # of the first time, when no buffer is left from an earlier one
    calls: dict[str, Callable[[], float]] = {
        "settle": settled,
        "take": lambda: at_rest(take, lambda: blobs.release(incoming.pop())),
        "cp": lambda: at_rest(copy, (place / "cp").unlink),
        "cp again": lambda: at_rest(copy, (place / "cp").unlink),
        "take again": lambda: at_rest(take, lambda: blobs.release(incoming.pop())),
    }
    found = in_turns(repeats, calls)
    take_rates, copy_rates = found["take"] + found["take again"], found["cp"] + found["cp again"]
    return [
        Figure(f"{name}: taken in (the caller waits)", "GiB/s", take_rates, "", {"cp": copy_rates}, is_rate=True),
        Figure(f"{name}: settled (in the background)", "GiB/s", found["settle"], is_rate=True),
        Figure(f"{name}: memory", "MiB", memory, "<= 64"),
    ]


def small(place: Path, count: int, repeats: int) -> list[Figure]:
    """Many small files: as a set, as a ZIP, as an artifact."""
    data = place / "data"
    for number in range(count):
        path = data / f"{number % 100}" / f"{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"{number} of many lines of text\n".encode() * (20 + number % 200))
        os.utime(path, (1_700_000_000, 1_700_000_000))
    blobs = Blobs(place / "store" / "blobs")
    taken: dict[str, Taken] = {}

    def take() -> None:
        found = expand(data)
        taken.update(zip((one.name for one in found), take_all(blobs, (one.path for one in found), "1-a"), strict=True))

    def settle() -> None:
        blobs.settle_all({part.pack for part in taken.values() if isinstance(part, Slice)})

    def archive() -> None:
        write_zip(_members(blobs, taken), place / "set.zip")

    def zip_of(level: str) -> None:
        (place / "zip.zip").unlink(missing_ok=True)
        subprocess.run(["zip", "-q", "-r", level, place / "zip.zip", data], check=True)

    def tracked(cache: Path) -> None:
        os.environ["XDG_CACHE_HOME"] = str(cache)
        track(data)

    memory = [growth(take)]
    rate = {
        "take": take,
        "settle": settle,
        "archive": archive,
        "track": lambda: (shutil.rmtree(place / "cache", ignore_errors=True), tracked(place / "cache")),
        "again": lambda: tracked(place / "cache"),
    }
    floors = {"zip -0": lambda: zip_of("-0"), "zip": lambda: zip_of("-6")} if shutil.which("zip") else {}
    calls = {name: (lambda call=call: count / seconds(call, WALL)) for name, call in (rate | floors).items()}
    found = in_turns(repeats, calls)
    beside = {name: found[name] for name in floors}
    goal = f"{count:,} files"
    return [
        Figure(f"{goal}: found and taken in (the caller waits)", "files/s", found["take"], "", beside, is_rate=True),
        Figure(f"{goal}: settled (in the background)", "files/s", found["settle"], is_rate=True),
        Figure(f"{goal}: written as a ZIP", "files/s", found["archive"], "", beside, is_rate=True),
        Figure(f"{goal}: tracked as an artifact", "files/s", found["track"], is_rate=True),
        Figure(f"{goal}: tracked again", "files/s", found["again"], is_rate=True),
        Figure(f"{goal}: memory of taking in", "MiB", memory, "<= 64"),
        Figure(f"{goal}: the caller's blocked time", "s", [count / one for one in found["take"]]),
    ]


def through_a_run(place: Path, sources: dict[str, Path], data: Path, repeats: int) -> list[Figure]:
    """The same as a user has it: verbs of a run, and what is resident meanwhile."""
    figures = []
    with naiad.init_run(project="bench", store=place / "run" / ".naiad") as run:
        for name, source in sources.items():
            blocked, waited = [], []
            memory = [growth(lambda source=source: run["file"].upload(source, wait=True))]
            for number in range(repeats):
                os.sync()
                blocked.append(seconds(lambda source=source, number=number: run[f"f/{number}"].upload(source), WALL))
                waited.append(blocked[-1] + seconds(run.wait, WALL))
                run.pop(f"f/{number}")
            floor = [seconds(lambda source=source: _copy(source, place / "cp"), WALL) for _ in range(repeats)]
            figures += [
                Figure(f"upload() of a {name}: the caller is blocked", "s", blocked, "", {"cp": floor}),
                Figure(f"upload() of a {name}: until it is on the disk", "s", waited, "", {"cp": floor}),
                Figure(f"upload() of a {name}: memory, all of it", "MiB", memory, "<= 64"),
            ]
        blocked, memory = [], [growth(lambda: run["set"].upload_files(str(data), wait=True))]
        for number in range(repeats):
            blocked.append(seconds(lambda number=number: run[f"s/{number}"].upload_files(str(data)), WALL))
        run.wait()
        saved = [
            seconds(lambda: run["set"].download(place / "set.zip", progress_bar=False), WALL) for _ in range(repeats)
        ]
        figures += [
            Figure("upload_files() of the small files: the caller is blocked", "s", blocked),
            Figure("upload_files() of the small files: memory, all of it", "MiB", memory, "<= 64"),
            Figure("download() of the small files as a ZIP", "s", saved),
        ]
    return figures


def _copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", source, target], check=True)
    target.unlink()


def _members(blobs: Blobs, taken: dict[str, Taken]) -> list[Member]:
    import io

    return [
        Member(name, part.size, 1.7e9, lambda part=part: io.BytesIO(read_slice(blobs, part)))
        for name, part in taken.items()
        if isinstance(part, Slice)
    ]


def measure(quick: bool) -> list[Figure]:
    """All figures of this file."""
    scale, repeats = (64, 1) if quick else (1, 3)
    with folder() as place:
        real = real_file(place / "real", 2048 * MiB // scale)
        sparse = sparse_file(place / "sparse", 5120 * MiB // scale)
        return [
            *large(place, "2 GiB real file", real, repeats),
            *large(place, "5 GiB sparse file", sparse, repeats),
            *small(place, 10_000 // scale, repeats),
            *through_a_run(place, {"2 GiB real file": real, "5 GiB sparse file": sparse}, place / "data", repeats),
        ]


if __name__ == "__main__":
    main(measure)
