"""Imports point down: the table is the architecture, and a new module starts by taking its place in it."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAYERS = [
    "kinds container_kinds paths errors clock ids address settings lazy html integers secrets exits places "
    "spawns api_tokens slots planes locks periodic compression",
    "ops lines scalars structures rewinds value histogram types typing records importer hookspecs integration "
    "background alert plugins file gitref refs progress conversions exceptions disk forks cycles files smoothing query "
    "storage storage.base storage.results storage.edits storage.catalog storage.cell_columns storage.names",
    "storage.receiving",
    "storage.sql storage.local storage.wire",
    "ship storage.remote storage.postgres",
    "storage.opening",
    "fields convert attributes",
    "children alerts guard names reservation watch packing handler rollup tree session transaction options lifecycle "
    "container run project model trash moves management table capture listing notebook utils export",
    "importers",
    "cli testing as_neptune integrations",
]
LAYER = {name: number for number, names in enumerate(LAYERS) for name in names.split()}
FACADE = "naiad"  # the package itself: its names come from everywhere below the edges
EDGES = len(LAYERS) - 1
LATE = {
    "naiad.alerts.watch": "a run that is watched",
    "naiad.capture.captures": "a run that captures something",
    "naiad.cycles": "a dict that begins many series, and reading",
    "naiad.fields.artifact": "a run with files",
    "naiad.fields.file": "a run with files",
    "naiad.fields.file_set": "a run with files",
    "naiad.file": "a run with files",
    "naiad.notebook.live": "a notebook",
    "naiad.plugins": "the commands of plugins",
    "naiad.query.criteria": "a question to the catalog",
    "naiad.query.tree": "a question to the catalog",
    "naiad.session": "a download from a table",
    "naiad.storage.edits": "a run that is moved or has a parent",
    "naiad.storage.local.blobs": "a run with files",
    "naiad.storage.local.fold_process": "a large journal",
    "naiad.storage.local.gc": "deleting",
    "naiad.storage.local.index.derived": "reading",
    "naiad.storage.local.index.short_tail": "a short run that is read",
    "naiad.storage.local.index.snapshot": "reading",
    "naiad.storage.local.ingest": "a run with files",
    "naiad.storage.local.processes": "a large journal",
    "naiad.storage.local.reader": "reading",
    "naiad.storage.local.writer": "writing",
}
"""Modules that are imported where they are first needed, though they are light: no start of a script waits for them."""
LEVELS_OF_STORAGE = 9
"""The longest chain of imports inside `naiad.storage`, from the interface, two levels, to the opening of a store.

The highest is the opening, over the store of a folder and that of a database, which uses its journal and its index."""
BELOW_BASE = {
    "naiad.cli.copy",  # the store of these commands is a folder
    "naiad.cli.du",
    "naiad.cli.gc",
    "naiad.cli.repair",
    "naiad.cli.verify",
}
"""All that knows how runs are stored, outside of `storage`: commands that look at files."""
BELOW_BASE |= {f"naiad.ship.{name}" for name in ("shipment", "shipper", "sync")}  # they ship its files
INTERFACE = {
    f"naiad.storage.{name}" for name in ("base", "results", "edits", "catalog", "opening", "receiving", "wire")
}
HEAVY = {
    "click",
    "numpy",
    "pandas",
    "pluggy",
    "pyarrow",
    "rich",
    "sqlalchemy",
    "sqlite3",
    "tqdm",
}  # what test_import.py keeps unloaded
HEAVY |= {"anyio", "anywidget", "mcp", "starlette", "uvicorn"}
HEAVY |= {"alembic", "obstore", "prometheus_client", "psycopg"}  # of a server alone
HEAVY |= {"http", "ssl"}  # of those whose store is a server; nobody else waits for them
HEAVY |= {"accelerate", "hydra", "ignite", "optuna", "skorch", "transformers"}
HEAVY |= {"jax", "kedro", "keras", "lightgbm", "lightning", "pytorch_lightning", "sklearn", "torch", "xgboost"}


def module_name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts[1:]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = [file for root in ("core", "integrations") for file in sorted((ROOT / root).rglob("*.py"))]
MODULES = {module_name(file): file for file in SOURCES}


def imports(node: ast.AST, when: str = "first") -> Iterator[tuple[str, str]]:
    """Yield each module imported in `node`, and when: "first", "late" (by a function) or for "typing" only."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            yield from imports(ast.Module(body=child.body, type_ignores=[]), "typing")
            yield from imports(ast.Module(body=child.orelse, type_ignores=[]), when)
        elif isinstance(child, ast.Import):
            yield from ((alias.name, when) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            inner = (f"{child.module}.{alias.name}" for alias in child.names)
            yield from ((name if name in MODULES else str(child.module), when) for name in inner)
        elif not isinstance(child, ast.expr):
            yield from imports(child, "late" if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) else when)


@functools.cache
def imports_of(module: str) -> set[tuple[str, str]]:
    """Read what a module imports when a test first asks: all workers collect this file, and few run its tests."""
    return set(imports(ast.parse(MODULES[module].read_text(encoding="utf-8"))))


def imports_of_all() -> dict[str, set[tuple[str, str]]]:
    return {module: imports_of(module) for module in MODULES}


def place(module: str) -> tuple[int, str]:
    """Return the layer of a module and the name that stands for it there."""
    package, _, rest = module.partition(".")
    if package != "naiad":
        return EDGES, package
    name = rest.partition(".")[0]
    if name == "storage":
        name = ".".join(rest.split(".")[:2])
    return (LAYER.get(name, EDGES), name) if name else (EDGES - 1, FACADE)


def is_heavy(module: str) -> bool:
    """Say whether importing this module of ours loads a heavy package, itself or through others."""
    now = {name for name, when in imports_of(module) if when == "first"}
    return any(name.partition(".")[0] in HEAVY or (name in MODULES and is_heavy(name)) for name in now)


def test_every_module_has_a_place() -> None:
    ours = {module.split(".")[1] for module in MODULES if module.startswith("naiad.")}

    assert set() == ours - LAYER.keys(), "give it a place in LAYERS"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_point_down_and_edges_do_not_meet(module: str) -> None:
    layer, name = place(module)
    ours = {place(other) for other, _ in imports_of(module) if other in MODULES}

    wrong = {other for above, other in ours if above > layer or (layer == above == EDGES and other != name)}
    wrong -= {"naiad_web"} if name == "naiad_server" else set()  # whose application it mounts

    assert set() == wrong


def test_no_import_is_part_of_a_cycle() -> None:
    """Late imports and those for typing count too: a cycle is resolved by moving the noun or by a Protocol."""
    graph = {module: {other for other, _ in found if other in MODULES} for module, found in imports_of_all().items()}

    assert set(graph) == set(TopologicalSorter(graph).static_order())


def test_only_the_interface_of_the_storage_is_known_above_it() -> None:
    knowing = {
        module
        for module, found in imports_of_all().items()
        if not module.startswith("naiad.storage")
        and any(other.startswith("naiad.storage.") and other not in INTERFACE for other, _when in found)
    }

    assert BELOW_BASE == knowing


def test_storage_has_few_levels() -> None:
    """How many modules a reader of the highest one has to know of, one below the other; every import counts."""
    inside = {module for module in MODULES if module.startswith("naiad.storage")}

    @functools.cache
    def level(module: str) -> int:
        return 1 + max((level(other) for other, _when in imports_of(module) if other in inside), default=0)

    assert LEVELS_OF_STORAGE >= max(map(level, inside))


def test_a_back_end_in_memory_is_small() -> None:
    """All that the storage interface asks of a back end, beside the parts that any back end may use."""
    source = ROOT / "tests" / "conformance" / "memory_store.py"

    assert len(source.read_text(encoding="utf-8").splitlines()) <= 300


def test_only_heavy_modules_and_those_of_the_table_are_imported_late() -> None:
    late = {(module, other) for module, found in imports_of_all().items() for other, when in found if when == "late"}
    light = {other for _module, other in late if other in MODULES and not is_heavy(other)}

    assert set(LATE) == light
