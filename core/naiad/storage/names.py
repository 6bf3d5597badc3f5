"""The names of containers, for a back end that can keep a text under a key unless one is there already."""

from __future__ import annotations

from itertools import count

from naiad import ids
from naiad.container_kinds import BY_FOLDER, MODEL, MODEL_VERSION, PROJECT, RUN, ContainerKind, RunId
from naiad.errors import BeingWritten, ModelKeyTaken, NameTaken, ProjectExists
from naiad.scalars import unpack_text
from naiad.storage import edits
from naiad.storage.base import Reservation, Store

KEY, ID, CUSTOM, SOURCE = "key/", "id/", "custom/", "source/"
"""How the keys of claims begin: project keys, ids, custom ids of runs, sources of imports."""


class ClaimingStore(Store):
    """A store whose names are claims: texts under keys, of which the first stays. It takes and finds ids by them."""

    def claim(self, key: str, text: str = "") -> str:
        """Keep a text under a key unless it has one, and return the one it has; an empty text keeps nothing.

        Of several processes that claim one key, one wins.
        """
        raise NotImplementedError

    def claims(self, prefix: str) -> dict[str, str]:
        """Return the texts of the keys that begin like this, by the rest of each key, the earliest claim first."""
        raise NotImplementedError

    def unclaim(self, key: str) -> None:
        """Remove a claim."""
        raise NotImplementedError

    def projects(self) -> dict[str, str]:
        """Return the names of the projects that have a key, by key."""
        return self.claims(KEY)

    def reserve_run(self, project: str, custom_run_id: str | None = None) -> Reservation:
        """Take the next id of a project, or join the run with this custom id."""
        custom = f"{CUSTOM}{project}\0{custom_run_id}"
        known = self.claim(custom) if custom_run_id else ""
        if known:
            return self._take(RUN, known)
        found = self._next(RUN, self._key(project))
        first = self.claim(custom, found.id) if custom_run_id else found.id
        if first != found.id:
            self.release(found)
        return found if first == found.id else self._take(RUN, first)

    def reserve_model(self, project: str, key: str) -> Reservation:
        """Take the id of a model."""
        found = self._take(MODEL, f"{self._key(project)}-{key}")
        if not found.is_new:
            raise ModelKeyTaken(f"There is a model {found.id} already.", key=key, model_id=found.id)
        return found

    def reserve_version(self, model: str) -> Reservation:
        """Take the next id among the versions of a model."""
        return self._next(MODEL_VERSION, model)

    def reserve_project(self, project: str, key: str | None = None) -> Reservation:
        """Begin or join the fields of a project itself."""
        return self._take(PROJECT, self._key(project, key))

    def reserve_source(
        self, source: str, kind: ContainerKind, project: str, wish: str | None = None, parent: str = ""
    ) -> Reservation:
        """Take an id for a container from elsewhere, or join the one that was made of the same source."""
        known = self.claim(SOURCE + source)
        if not known:
            found = kind.id_form.match(wish) if wish else None
            own = found[1].partition("-")[0] if found else None
            key = self._key(project, own if own not in self.projects() else None)
            if wish and found and not self.claim(ID + wish):
                known = wish
            elif kind is MODEL:
                known = parent or f"{key}-IMPORTED"
            else:
                known = self._next(kind, key if kind is RUN else parent or f"{key}-IMPORTED").id
            self.claim(SOURCE + source, known)
        return self._take(kind, known)

    def find_source(self, source: str) -> Reservation | None:
        """Return the container that was made of a source; None if there is none."""
        known = self.claim(SOURCE + source)
        run = _run(self.claim(ID + known)) if known else None
        return None if run is None else Reservation(run, known, not self.exists(run))

    def bind_source(self, source: str, run: RunId, name: str) -> bool:  # noqa: ARG002 (its id is enough)
        """Let a source mean a container that exists; False if it means another one already."""
        return self.claim(SOURCE + source, name) == name

    def release(self, reservation: Reservation) -> None:
        """Take back the reservation of a container that could not be begun."""
        self.unclaim(ID + reservation.id)

    def find(self, name: str, kind: ContainerKind | None = None) -> RunId:
        """Return the container with this id or uid, of this kind or any."""
        found = _run(self.claim(ID + name)) or next((run for run in self._runs().values() if run.uid == name), None)
        if found is None or not self.exists(found) or (kind is not None and found.kind is not kind):
            kind = kind or RUN
            raise kind.not_found(f"Store {self} has no {kind.noun} {name!r}.", run_id=name)
        return found

    def find_custom(self, project: str, custom_run_id: str) -> RunId | None:
        """Return the run that has this custom id in a project; None if there is none."""
        name = self.claim(f"{CUSTOM}{project}\0{custom_run_id}")
        return _run(self.claim(ID + name)) if name else None

    def id_of(self, run: RunId) -> str:
        """Return the id of a container that it was given last; its uid if there is none."""
        names = [name for name, known in self._runs().items() if known == run]
        return names[-1] if names else run.uid

    def move(self, run: RunId, project: str) -> str:
        """Give a run the next id of another project, and return it."""
        name, values = self.id_of(run), self.reader(run).values("sys")
        custom = str(_text(values.get("sys/custom_run_id")) or "")
        holder = self.find_custom(project, custom) if custom else None
        if holder not in (None, run):
            raise NameTaken(f"Project {project!r} has another run with custom_run_id={custom!r}.", run_id=name)
        if _text(values["sys/project"]) == project:
            return name
        if self.reader(run).state() == "running":
            raise BeingWritten(f"{run.kind.title} {name} is being written.", run_id=name)
        new = self._next(RUN, self._key(project), run).id
        edits.edit(self, run, edits.move_changes(name, new, project))
        if custom:
            self.claim(f"{CUSTOM}{project}\0{custom}", new)
        return new

    def forget_project(self, project: str) -> None:
        """Free the key of a project whose containers were deleted, and their ids."""
        key = self._key(project)
        self.unclaim(KEY + key)
        for name in self.claims(ID):
            if name.partition("-")[0] == key:
                self.unclaim(ID + name)

    def _key(self, project: str, wish: str | None = None) -> str:
        known = next((key for key, name in self.projects().items() if name == project), None)
        if known is not None:
            return known
        if wish is not None:
            if self.claim(KEY + wish, project) != project:
                raise ProjectExists(f"The key {wish} is taken.")
            return wish
        first = ids.project_key(project)
        keys = (first + (str(number) if number > 1 else "") for number in count(1))
        return next(key for key in keys if self.claim(KEY + key, project) == project)

    def _take(self, kind: ContainerKind, name: str) -> Reservation:
        run = _run(self.claim(ID + name, f"{kind.folder}/{ids.new_uid()}"))
        assert run is not None  # a text was claimed
        return Reservation(run, name, is_new=not self.exists(run))

    def _next(self, kind: ContainerKind, prefix: str, run: RunId | None = None) -> Reservation:
        """Take the first number below a prefix that no container has, or had."""
        run = run or RunId(ids.new_uid(), kind)
        text = f"{kind.folder}/{run.uid}"
        names = (f"{prefix}-{number}" for number in count(1))
        return Reservation(run, next(name for name in names if self.claim(ID + name, text) == text), is_new=True)

    def _runs(self) -> dict[str, RunId]:
        """The containers by id, the earliest id first."""
        return {name: run for name, text in self.claims(ID).items() if (run := _run(text)) is not None}


def _run(text: str) -> RunId | None:
    folder, _, uid = text.partition("/")
    return RunId(uid, BY_FOLDER[folder]) if uid else None


def _text(value: object) -> object:
    return unpack_text(value) if isinstance(value, (str, bytes)) else value
