"""Short tails are read without numpy, with the facts that numpy has for them, to the last bit."""

from __future__ import annotations

import random
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import naiad
from naiad.container_kinds import RunId
from naiad.errors import DamageWarning
from naiad.storage.local.index import short_tail
from naiad.storage.local.store import Store


@pytest.fixture
def place(store: Path) -> Store:
    return Store.locate(store)


def facts(place: Store, run: RunId) -> str:
    reader = place.reader(run)
    shown = [each for each in reader.shown()[0] if not each[0].startswith("sys/")]  # a living run has new times
    return repr([shown, {path: reader.facts(path) for path in reader.counts()}])


PROGRAM = """
import sys, warnings
warnings.simplefilter("ignore")  # a run without its seal is damaged
from naiad.storage.local.store import Store
place = Store.locate(sys.argv[1])
reader = place.reader(place.find(sys.argv[2]))
shown = [each for each in reader.shown()[0] if not each[0].startswith("sys/")]
print([shown, {path: reader.facts(path) for path in reader.counts()}], "numpy" in sys.modules, sep="\\n")
"""


def facts_in_a_new_process(place: Store, run: RunId) -> tuple[str, bool]:
    """The same, read where numpy is not loaded, and whether that loaded it."""
    command = [sys.executable, "-c", PROGRAM, str(place.root), run.uid]
    found, has_numpy = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    return found, has_numpy == "True"


@pytest.mark.parametrize("count", [*range(1, 20), 127, 128, 129, 136, 255, 257, 1000, 5000])
def test_sum_is_that_of_numpy(count: int) -> None:
    chance = np.random.default_rng(count)
    values = chance.normal(size=count) * 10.0 ** chance.integers(-9, 9, count)

    assert float(values.sum()) == short_tail.added(values.tolist())


def test_facts_are_those_of_numpy(place: Store) -> None:
    """With steps that go back, are equal, fractional or absent, and values that are not finite."""
    chance = random.Random(7)
    values = (lambda: chance.gauss(0, 1), lambda: chance.gauss(0, 1e12), lambda: float("nan"), lambda: float("inf"))
    with naiad.init_run() as run:
        for number, count in enumerate([1, 2, 7, 8, 9, 100, 129, 300]):
            for n in range(count):
                step = chance.choice([None, n, chance.randrange(5), n + 0.5 if number % 2 else n, -n])
                run[f"s{number}"].append(chance.choice(values)(), step=step)
    assert (facts(place, run._run), False) == facts_in_a_new_process(place, run._run)


@pytest.mark.parametrize(
    ("what", "is_left_to_numpy"),
    [("live", False), ("killed and torn", True), ("large steps beside fractional ones", True), ("deleted", True)],
)
def test_unusual_tail_has_the_same_facts(place: Store, what: str, is_left_to_numpy: bool) -> None:
    run = naiad.init_run()
    run["a"].extend([0.5, 0.25, 0.125])
    if what == "large steps beside fractional ones":
        run["a"].append(1.0, step=2**60)
        run["a"].append(1.0, step=0.5)
    if what == "deleted":
        del run["a"]
        run["a"].extend([2.0, 3.0])
    if what != "live":
        run.stop()
    if what == "killed and torn":
        folder = place.directory(run._run)
        folder.seal.unlink()
        [segment] = folder.journal.glob("*.seg")
        data = bytearray(segment.read_bytes())
        data[64 + 32 + 28 : 64 + 64] = bytes(4)  # the commit word of the second point: it was never written
        segment.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DamageWarning)  # a run without its seal is damaged
        whole = facts(place, run._run)
    short, has_numpy = facts_in_a_new_process(place, run._run)
    run.stop()

    assert whole == short
    assert has_numpy == is_left_to_numpy
