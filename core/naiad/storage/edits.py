"""Edits: changes of containers that no program has open, and the checks before they are changed or deleted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from naiad.container_kinds import ContainerKind, RunId
from naiad.errors import BeingWritten, ContainerProtected
from naiad.kinds import FORMER_IDS, PROTECTED, SYS, TAGS
from naiad.ops import Assign, Tags
from naiad.scalars import pack_text
from naiad.storage.base import Change, Store


def edit(store: Store, run: RunId, changes: Sequence[Change]) -> None:
    """Write changes into a container, all or none, and return when they are on disk; its state stays as it is.

    Raises:
        StoreNotWritable: the store cannot be changed.
        SyncFailed: the disk did not take them.
    """
    writer = store.writer(run, role="editor", on_error="raise")
    try:
        writer.write(changes)
        writer.wait()
    finally:
        writer.stop()


def sys_changes(values: Mapping[str, str | bool]) -> list[Change]:
    """Return the changes that assign fields of `sys`, by their paths."""
    # Packed, since a name or a tag may hold lone surrogates, which no op takes as text.
    packed = {path: pack_text(value) if isinstance(value, str) else value for path, value in values.items()}
    return [Change(path, SYS[path], (Assign(path, SYS[path], value),)) for path, value in packed.items()]


def protected(kind: ContainerKind, name: str, verb: str) -> ContainerProtected:
    """Return the error for a change that a protected container does not take."""
    return ContainerProtected(
        f"{kind.title} {name} is protected, so it is not {verb}.\nLift the protection with: naiad protect {name} --off",
        run_id=name,
    )


def refuse_deletion(store: Store, runs: Sequence[tuple[str, RunId]]) -> None:
    """Check that containers may be deleted, each given with the id that errors shall name it by.

    Raises:
        ContainerProtected: one of them is protected.
        BeingWritten: one of them is being written.
    """
    for name, run in runs:
        reader = store.reader(run)
        if reader.values("sys").get(PROTECTED) is True:
            raise protected(run.kind, name, "deleted")
        if reader.state() == "running":
            raise BeingWritten(
                f"{run.kind.title} {name} is being written and cannot be deleted.\nStop it first.", run_id=name
            )


def move_changes(former: str, name: str, project: str) -> list[Change]:
    """Return the changes that give a run another project and its id there; the former id stays one of its ids."""
    was = Tags(FORMER_IDS, [pack_text(former)], [], False)
    return [*sys_changes({"sys/id": name, "sys/project": project}), Change(FORMER_IDS, TAGS, (was,))]
