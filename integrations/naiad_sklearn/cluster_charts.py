"""Charts of a KMeans over other numbers of clusters, drawn from fitted copies."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import silhouette_samples

from naiad.types import File, FileSeries
from naiad_sklearn.drawing import drawn
from naiad_sklearn.estimators import require, unfitted
from naiad_sklearn.predictions import is_kmeans

SILHOUETTE_ROWS = 5000
"""A silhouette takes the distance of each sample to each other one."""


def create_kelbow_chart(model: Any, X: Any, **kwargs: Any) -> File | None:
    """Draw how far samples are from their centres, over the number of clusters, and where more of them stop to help.

    Args:
        model: a KMeans.
        X: the samples.
        **kwargs: parameters to change in the copies; `n_clusters` is how far to go, 10 otherwise.
    """
    require(model, "create_kelbow_chart", "a KMeans", is_kmeans)
    most = kwargs.pop("n_clusters", 10)

    def draw(axes: Any) -> None:
        # No more clusters than samples, which KMeans refuses.
        counts = np.arange(2, min(most, len(X)) + 1)
        far = np.array([unfitted(model, **kwargs, n_clusters=int(k)).fit(X).inertia_ for k in counts])
        elbow = counts[_elbow(far)]
        axes.plot(counts, far, marker="o")
        axes.axvline(elbow, linestyle="--", color="k", label=f"elbow at k = {elbow}")
        axes.set(xlabel="clusters", ylabel="sum of squared distances to the centres")
        axes.legend()

    return drawn("KMeans elbow", draw)


def create_silhouette_chart(model: Any, X: Any, **kwargs: Any) -> FileSeries:
    """Draw, for 2, 3, ..., `n_clusters` clusters, how much better each sample fits its cluster than the next one.

    Of more than 5,000 samples, as many are drawn by lot.

    Args:
        model: a KMeans.
        X: the samples.
        **kwargs: parameters to change in the copies.
    """
    require(model, "create_silhouette_chart", "a KMeans", is_kmeans)
    most = unfitted(model, **kwargs).get_params()["n_clusters"]
    samples = np.asarray(X)
    if len(samples) > SILHOUETTE_ROWS:
        # A fixed seed: the same model gives the same chart again.
        samples = samples[np.random.default_rng(0).choice(len(samples), SILHOUETTE_ROWS, replace=False)]
    charts = (_silhouette(model, X, samples, kwargs | {"n_clusters": k}) for k in range(2, most + 1))
    return FileSeries([chart for chart in charts if chart is not None])


def _silhouette(model: Any, X: Any, samples: Any, parameters: dict[str, Any]) -> File | None:
    count = parameters["n_clusters"]

    def draw(axes: Any) -> None:
        labels = unfitted(model, **parameters).fit(X).predict(samples)
        widths = silhouette_samples(samples, labels)
        below = 0
        for cluster in np.unique(labels):
            own = np.sort(widths[labels == cluster])
            axes.fill_betweenx(np.arange(below, below + len(own)), 0, own, label=str(cluster))
            below += len(own)
        axes.axvline(widths.mean(), linestyle="--", color="k", label=f"mean {widths.mean():.3f}")
        axes.set(xlabel="silhouette coefficient", ylabel="samples by cluster", yticks=[])
        axes.legend(title="cluster")

    return drawn(f"Silhouette of {count} clusters", draw)


def _elbow(far: Any) -> int:
    """Return the place that lies deepest below the line from the first to the last."""
    chord = np.linspace(far[0], far[-1], len(far))
    return int(np.argmax(chord - far))
