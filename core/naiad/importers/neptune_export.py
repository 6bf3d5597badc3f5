"""Dumps of Neptune's exporter, of its 2.x and 3.x applications, and of `naiad export`: parquet files, and files beside.

One long table in parts of about 50 MB for each run; names and ids stand in its columns and are never parsed out of file
names. Parts are read batch by batch.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from naiad.container_kinds import MODEL, MODEL_VERSION, RUN
from naiad.errors import DamagedData, ImportRefused
from naiad.export.arrow import arrow
from naiad.hookspecs import hookimpl
from naiad.importer import Importer, Progress, Source
from naiad.importers.dump_files import DumpFiles
from naiad.importers.dump_parts import facts_of
from naiad.kinds import PARENT
from naiad.records import (
    Note,
    Record,
    Skipped,
)

NAME: Final = "neptune-export"
ERRORS: Final = "neptune_exporter_errors.jsonl"
DEEPEST: Final = 8
_PART = re.compile(r"(?P<run>.+)_part_(?P<number>[0-9]+)\.parquet\Z", re.DOTALL)


@dataclass
class Container:
    """One run, model or model version of a dump. Its ids are read when they are first needed."""

    kind: str
    parts: list[str]
    files: str
    """Where its project's files lie."""
    errors: str
    zone: str
    size: int
    problems: list[tuple[str, bool]] = field(default_factory=list)
    """Sentences about its files, and whether data is missing for it."""

    @functools.cached_property
    def _facts(self) -> dict[str, Any]:
        return facts_of(self.parts)

    @property
    def identity(self) -> str:
        """Project and run id, as they stand in the columns."""
        return f"neptune-export:{self._facts['project_id']}:{self._facts['run_id']}"

    @property
    def id(self) -> str | None:
        """The id that Neptune showed; 3.x names its runs by a custom id."""
        kind = next(each for each in (RUN, MODEL, MODEL_VERSION) if each.name == self.kind)
        for name in (self._facts["run_id"], self._facts.get("sys/id")):
            if isinstance(name, str) and kind.id_form.match(name):
                return name
        return str(self._facts["run_id"])

    @property
    def project(self) -> str | None:
        """The project in the columns."""
        return str(self._facts["project_id"])

    @property
    def parent(self) -> str:
        """The identity of the model of a version; of a run the id that its parent had in naiad."""
        if self.kind == RUN.name:
            return str(self._facts.get(PARENT) or "")
        model = self._facts.get("sys/model_id")
        return f"{NAME}:{self._facts['project_id']}:{model}" if model else ""

    @property
    def created(self) -> float | None:
        """The creation time that the server kept."""
        found: float | None = self._facts.get("sys/creation_time")
        return found

    @property
    def facts(self) -> Mapping[str, Any]:
        """The place of the first part, and the version of the application."""
        return {"file": self.parts[0], "application": self._application, "run_id": str(self._facts["run_id"])}

    @property
    def _application(self) -> str:
        facts = self._facts
        if facts["is_ours"]:
            return "naiad"
        custom, own = facts.get("sys/custom_run_id"), facts.get("sys/id")
        is_new = facts["is_new"] or (custom == facts["run_id"] and own is not None and own != facts["run_id"])
        return "3.x" if is_new else "2.x"

    def records(self, progress: Progress) -> Iterator[Record]:
        """Read all parts."""
        yield from (Skipped("", "", text, is_loss=is_loss, where=self.parts[0]) for text, is_loss in self.problems)
        yield from self._failures()
        from naiad.importers.dump_clock import Clock  # late: NumPy, which a plugin does not load
        from naiad.importers.dump_rows import Rows

        clock = Clock(self.parts, self.zone, self._application, self.created)
        if clock.note:
            yield Note(clock.note)
        names = (str(self._facts["project_id"]), str(self._facts["run_id"]))
        rows = Rows(names, self._application, DumpFiles(self.files), clock)
        for part in self.parts:
            yield from rows.part(part, progress)
        yield from rows.end()

    def _failures(self) -> Iterator[Record]:
        from naiad.importers.dump_rows import KINDS  # late, as above

        mine = _failures(self.errors).get((str(self._facts["project_id"]), str(self._facts["run_id"])), ())
        for path, kind, text in mine:
            yield Skipped(path, KINDS.get(kind, ""), f"the exporter could not fetch it: {text}", where=self.errors)


def find(path: Path, options: Mapping[str, Any]) -> Source:
    """Return the runs and models of a dump: of its root, its data folder, a project's folder or a file."""
    arrow()
    zone = str(options.get("source-timezone") or "")
    if zone:
        from naiad.importers.dump_clock import zone_of  # late, as above

        zone_of(zone)
    if path.is_file() and not _PART.match(path.name):
        raise ImportRefused(
            f"{str(path)!r} is not a part of a dump: such files are named ..._part_0.parquet.", path=str(path)
        )
    groups: dict[tuple[str, str], list[tuple[int, str]]] = {}
    unfinished: set[tuple[str, str]] = set()
    for place in [path] if path.is_file() else _parquet_files(path):
        found = _PART.match(place.name.removesuffix(".tmp"))
        if found is None:
            continue
        name = (str(place.parent), found["run"])
        if place.name.endswith(".tmp"):
            unfinished.add(name)
        else:
            groups.setdefault(name, []).append((int(found["number"]), str(place)))
    problems = [
        Skipped(
            "",
            "",
            "the exporter has not finished this part, and no other one of the run is there",
            where=f"{folder}/{run}",
        )
        for folder, run in sorted(unfinished - groups.keys())
    ]
    if not groups and not problems:
        raise ImportRefused(
            f"{str(path)!r} contains no dump of Neptune's exporter: there is no file ..._part_0.parquet.\n"
            "Name the folder that contains data/ and files/.",
            path=str(path),
        )
    containers = [
        _container(Path(folder), sorted(parts), (folder, run) in unfinished, path, options)
        for (folder, run), parts in sorted(groups.items())
    ]
    return Source(containers, [*problems, *_orphans(containers)])


def _parquet_files(root: Path) -> Iterator[Path]:
    waiting = [(root, 0)]
    while waiting:
        folder, depth = waiting.pop(0)
        try:
            entries = sorted(os.scandir(folder), key=lambda each: each.name)
        except OSError:
            continue
        for each in entries:
            # A loop of links would never end, and a link may lead out of the dump.
            if each.is_dir(follow_symlinks=False):
                if depth < DEEPEST and each.name not in ("files", "model_files"):
                    waiting.append((Path(each.path), depth + 1))
            elif each.name.endswith((".parquet", ".parquet.tmp")) and each.is_file(follow_symlinks=False):
                yield Path(each.path)


def _container(
    folder: Path, parts: Sequence[tuple[int, str]], is_unfinished: bool, root: Path, options: Mapping[str, Any]
) -> Container:
    kind = {"models": MODEL, "model_versions": MODEL_VERSION}.get(folder.name, RUN)
    project = folder if kind is RUN else folder.parent
    data = project.parent
    # The exporter takes both folders as options, so that they may lie apart; these are its defaults.
    beside = {"data": "files", "model_data": "model_files"}.get(data.name, "files" if kind is RUN else "model_files")
    files = Path(str(options.get("files") or data.parent / beside)) / project.name
    numbers = [number for number, _path in parts]
    problems: list[tuple[str, bool]] = []
    if 0 not in numbers:
        problems.append(
            ("part 0 is missing, which the exporter writes last: the dump of this run is not complete", True)
        )
    # Parts are renamed to their names at the end, part 0 last: it is the mark of a whole run.
    # As ranges: a number comes from the name of a file, which may be a long one.
    gaps = [(low + 1, high - 1) for low, high in itertools.pairwise(sorted({0, *numbers})) if high > low + 1]
    if gaps:
        texts = (f"{first}" if first == last else f"{first} to {last}" for first, last in gaps)
        problems.append((f"part {', '.join(texts)} is missing", True))
    if is_unfinished:
        problems.append(("a part of it (.tmp) was not finished, and is not read", True))
    named = options.get("errors")
    errors = next(
        (each for each in ([Path(str(named))] if named else _errors_near(root, data)) if each.is_file()), None
    )
    size = sum(os.stat(path).st_size for _number, path in parts)
    return Container(
        kind.name, [path for _number, path in parts], str(files), str(errors or ""),
        str(options.get("source-timezone") or ""), size, problems,
    )  # fmt: skip


def _errors_near(root: Path, data: Path) -> list[Path]:
    return [folder / ERRORS for folder in dict.fromkeys((root, data, data.parent, data.parent.parent))]


@functools.lru_cache(maxsize=8)
def _failures(path: str) -> dict[tuple[str, str], list[tuple[str, str, str]]]:
    """Return the failures that the exporter noted, by project and run."""
    found: dict[tuple[str, str], list[tuple[str, str, str]]] = {}
    if not path:
        return found
    with open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                facts = json.loads(line)
                name = (str(facts["project_id"]), str(facts["run_id"]))
                texts = (str(facts.get(key) or "") for key in ("attribute_path", "attribute_type", "exception"))
                found.setdefault(name, []).append(tuple(texts))  # type: ignore[arg-type]  # three of them
            except (ValueError, KeyError, TypeError, RecursionError):
                if line.strip():
                    found.setdefault(("", ""), []).append(("", "", f"a damaged line: {line.strip()[:80]!r}"))
    return found


def _orphans(containers: Sequence[Container]) -> Iterator[Skipped]:
    """Yield the failures of runs that have left no file."""
    for path in {each.errors for each in containers if each.errors}:
        known = set()
        for each in containers:
            try:
                known.add((str(each._facts["project_id"]), str(each._facts["run_id"])))
            except DamagedData:
                continue
        for (project, run), failures in _failures(path).items():
            if (project, run) not in known:
                for attribute, _kind, text in failures:
                    reason = f"the exporter could not fetch {project} {run} {attribute}: {text}".replace("  ", " ")
                    yield Skipped(attribute, "", reason, where=path)


@hookimpl
def naiad_importer() -> Importer:
    """Return the importer."""
    return Importer(
        NAME,
        "dumps of Neptune's exporter, 2.x and 3.x, and of naiad export",
        find,
        Container,
        {
            "source-timezone": "The time zone of the computer that ran the exporter for 2.x; inferred if not given.",
            "files": "The folder of files, if it is not next to the data folder.",
            "errors": f"The file {ERRORS}, if it is not in the dump.",
        },
    )
