"""Artifacts of an offline run of W&B: their records in its log, and their files in W&B's staging folder.

An offline folder holds no content of them: `log_artifact` copies files into a staging folder of the user, where they
wait for `wandb sync`. The record names each of those copies.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from naiad.importers import proto, roots
from naiad.kinds import ATOM_OF, MEMBERS
from naiad.records import Content, Members, Record, Skipped, Value

TYPE, NAME, DIGEST, DESCRIPTION, METADATA, ALIASES, MANIFEST = 4, 5, 6, 7, 8, 11, 12
CONTENTS: Final = 4
PATH, REFERENCE, LOCAL = 1, 3, 6
"""Numbers of the fields in wandb_internal.proto: of an artifact, of its manifest, of an entry of that."""
HISTORY: Final = "wandb-history"
"""The type of an artifact that W&B itself makes of the history, which is in the log already."""


def staging() -> str:
    """Return the folder in which this user's W&B keeps files until they are uploaded."""
    data = os.environ.get("WANDB_DATA_DIR") or Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share", "wandb")
    return os.path.join(os.path.expanduser(data), "artifacts", "staging")


def records(data: bytes, known: dict[str, list[str]], readable: Sequence[str], where: str) -> Iterator[Record]:
    """Yield the facts and files of one artifact, below `artifacts/` and its name.

    `known` has the digests of the earlier ones by name: the same name with other content is the next version.
    """
    found = proto.message(data)
    name, digest = proto.text(found, NAME), proto.text(found, DIGEST)
    versions = known.setdefault(name, [])
    if proto.text(found, TYPE) == HISTORY or digest in versions:
        return
    versions.append(digest)
    home = f"artifacts/{name}" + (f"_{len(versions)}" if len(versions) > 1 else "")
    for fact, number in (("type", TYPE), ("digest", DIGEST), ("description", DESCRIPTION), ("metadata", METADATA)):
        text = proto.text(found, number)
        if text and text != "{}":
            yield Value(f"{home}/{fact}", ATOM_OF[str], text)
    aliases = [each.decode("utf-8", "replace") for each in found.get(ALIASES, []) if isinstance(each, bytes)]
    if aliases:
        yield Value(f"{home}/aliases", ATOM_OF[str], json.dumps(sorted(aliases)))  # as W&B writes them in any order
    files: dict[str, Content] = {}
    missing: list[Skipped] = []
    for entry in map(proto.message, proto.inner(found, MANIFEST).get(CONTENTS, [])):
        name, place = proto.text(entry, PATH), proto.text(entry, LOCAL)
        reason = _reason(entry, place, readable)
        if reason:
            missing.append(Skipped(f"{home}/files", MEMBERS, f"{name!r}: {reason}", where=where))
        else:
            files[name] = Content(place, extension=os.path.splitext(name)[1][1:], modified=os.stat(place).st_mtime_ns)
    # By the digest it is known again when the copies are gone.
    yield Members(f"{home}/files", files, missing, f"wandb {digest}" if digest else "")


def _reason(entry: dict[int, list[Any]], place: str, readable: Sequence[str]) -> str:
    """Return the reason against reading the file of an entry; empty if there is none."""
    reference = proto.text(entry, REFERENCE)
    if reference:
        return f"it is a reference to {reference!r}, which an import does not look at"
    if not place:
        return "the log names no copy of it"
    refused = roots.refusal(place, readable)
    return refused or ("" if os.path.isfile(place) else f"its copy {place!r} is gone, as W&B removes it after a sync")
