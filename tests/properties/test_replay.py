"""A journal that is made again from an index adds up to the same run."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from msgspec import structs
from tests.properties.test_order_of_arrival import _ops, fold, histories, put_file

from naiad import rewinds
from naiad.ops import Assign, Define, Delete, Open, Strings
from naiad.rewinds import Rewind
from naiad.storage.local.index.fold import Fold
from naiad.storage.local.index.replay import make_replay
from naiad.storage.local.journal.files import Source, list_journal
from naiad.storage.local.journal.frames import whole_frames
from naiad.storage.local.layout import RunDirectory
from naiad.storage.local.reader import Reader


def put_all(folder: RunDirectory, history: dict[str, list[list[Any]]]) -> None:
    folder.journal.mkdir(parents=True)
    for writer, files in history.items():
        for number, file in enumerate(files):
            put_file(folder, writer, number, file, 1 + sum(len(_ops(each)) for each in files[:number]))
    fold(Fold(folder), folder)


def without_deletions_by_others(history: dict[str, list[list[Any]]]) -> dict[str, list[list[Any]]]:
    """Leave out deletions where several writers write; of one writer all are kept."""
    if len(history) < 2:
        return history

    def is_kept(item: Any) -> bool:
        return not isinstance(item, Delete) and not (isinstance(item, Define | Strings) and item.fresh)

    return {writer: [[item for item in file if is_kept(item)] for file in files] for writer, files in history.items()}


def opened_first(history: dict[str, list[list[Any]]]) -> dict[str, list[list[Any]]]:
    """Let each writer open before its own ops, as it does unless its clock is set back in that moment.

    The replay of a field that went on after a deletion begins when its writer was opened. If that is later than its
    ops, and the writer has two kinds at one path, the older of the two changes.
    """
    found = {}
    for writer, files in history.items():
        first = min(item.at for file in files for item in file if hasattr(item, "at"))
        found[writer] = [
            [structs.replace(item, at=first) if isinstance(item, Open) else item for item in file] for file in files
        ]
    return found


@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(histories())
@example(
    {
        "0-w": [
            [
                Open("0-w", 1, "host", "boot", 1, "owner", 0.0),
                Assign("a", "float", 0, 0.0),
                Define(1, "a", True, 0.0),
                Delete("a", 0.0),
            ]
        ]
    }
)
def test_replay_of_an_index_adds_up_to_the_same_run(history: dict[str, list[list[Any]]]) -> None:
    history = opened_first(without_deletions_by_others(history))
    with tempfile.TemporaryDirectory() as place:
        folder = RunDirectory(Path(place) / "runs" / "run")
        put_all(folder, history)
        whole = {path.name: path.read_bytes() for path in make_replay(folder).show()}
        again = {path.name: path.read_bytes() for path in make_replay(folder).show()}
        single = {path.name: path.read_bytes() for name in history for path in make_replay(folder, [name]).show()}
        assert whole == again
        for number, replay in enumerate((whole, single)):
            new = RunDirectory(Path(place) / f"new-{number}" / "run")
            new.journal.mkdir(parents=True)
            for name, data in replay.items():
                (new.journal / name).write_bytes(data)
            files = list_journal(new.journal)
            Fold(new).fold([Source(file, is_final=True) for file in files])

            assert shown(folder) == shown(new), history


def test_replay_of_some_writers_leaves_the_names_of_others_in_rewinds() -> None:
    """They keep their journals, so that a rewind under another name would hide points of theirs, or show them."""
    entries = [rewinds.encode(Rewind(5, "", name, 1)) for name in ("0-w", "1-w", "2-w")]
    with tempfile.TemporaryDirectory() as place:
        folder = RunDirectory(Path(place) / "runs" / "run")
        history: dict[str, list[list[Any]]] = {
            name: [
                [
                    Open(name, 1, "host", "boot", 1, "owner", 0.0),
                    Strings(rewinds.PATH, entries, [1, 2, 3], [1.0] * 3, False, 1.0),
                ]
            ]
            for name in ("0-w", "1-w", "2-w")
        }
        put_all(folder, history)

        assert ["0-w", "index-1-w", "index-2-w"] == rewinding(folder, ["1-w", "2-w"])
        assert ["index-run-0000", "index-run-0001", "index-run-0002"] == rewinding(folder, [])


def rewinding(folder: RunDirectory, writers: list[str]) -> list[str]:
    """The writers that the rewinds of a replay name, which are the same in each of its journals."""
    found = set()
    for path in make_replay(folder, writers).show():
        ops = [op for frame in whole_frames(path.read_bytes()) or () for op in frame]
        texts = [text for op in ops if isinstance(op, Strings) for text in op.texts]
        found.add(tuple(each.rewind.writer for each in rewinds.decode([(str(text), 0) for text in texts])))
    [names] = found
    return list(names)


def shown(folder: RunDirectory) -> dict[str, Any]:
    """Everything that a reader shows, but the facts of the folder itself."""
    reader = Reader(folder)
    found: dict[str, Any] = {}
    for path, kind in reader.kinds().items():
        if path.startswith("sys/"):
            continue
        if kind == "float_series":
            points = reader.points(path)
            found[path] = (*(column.tolist() for column in points), reader.config(path), reader.last(path))
        elif kind == "string_series":
            found[path] = reader.texts(path)
        elif kind == "string_set":
            found[path] = reader.tags(path)
        elif kind == "file_set":
            found[path] = reader.members(path)
        else:
            found[path] = reader.atom(path)
    return {**found, "": (reader.is_incomplete(), sorted(str(each) for each in reader.shadowed()))}
