"""How epochs and batches are counted; no framework is needed for it."""

from __future__ import annotations

import pytest

from naiad import Run
from naiad_keras.counts import Batches, Epochs, last_step


def test_fit_that_starts_over_goes_on_after_the_last_epoch(run: Run) -> None:
    run["rate"].extend([0.1, 0.1], steps=[0, 1])
    epochs = Epochs(run["rate"])
    epochs.begin_fit()

    assert [2, 3] == [epochs.begin(0), epochs.begin(1)]


def test_fit_that_starts_later_is_taken_at_its_word(run: Run) -> None:
    run["rate"].extend([0.1, 0.1], steps=[0, 1])
    epochs = Epochs(run["rate"])
    epochs.begin_fit()

    assert [1, 2] == [epochs.begin(1), epochs.begin(2)]


def test_epoch_is_current_until_it_ends(run: Run) -> None:
    epochs = Epochs(run["rate"])
    epochs.begin_fit()

    assert (None, 0, 0) == (epochs.current, epochs.begin(0), epochs.current)
    assert (0, None) == (epochs.end(0), epochs.current)


@pytest.mark.parametrize(("every", "due"), [(1, [1, 2, 3, 4, 5, 6]), (2, [2, 4, 6]), (4, [4]), (7, [])])
def test_one_in_every_so_many_batches_is_due_across_epochs(every: int, due: list[int]) -> None:
    batches = Batches(every)
    found = []
    for _ in range(2):
        batches.begin()
        found += [batches.count for batch in range(3) if batches.is_due(batch)]

    assert due == found


def test_batches_go_on_from_where_they_start() -> None:
    batches = Batches(2)
    batches.start(10)
    batches.begin()

    assert [12, 14] == [batches.count for batch in range(4) if batches.is_due(batch)]


def test_batches_beyond_the_last_one_of_an_epoch_do_not_count() -> None:
    """With steps_per_execution=3, Keras calls the last group of 4 batches number 5."""
    batches = Batches(1)
    batches.begin(4)

    assert [3, 4] == [batches.count for batch in (2, 5) if batches.is_due(batch)]


def test_last_step_is_the_highest(run: Run) -> None:
    run["loss"].extend([1, 2, 3], steps=[0, 9, 4])
    run["cleared"].append(1)
    run["cleared"].clear()

    assert (9, None, None) == tuple(last_step(run[path]) for path in ("loss", "cleared", "missing"))
