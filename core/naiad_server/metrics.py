"""Metrics of a server, for Prometheus. Every name begins with `naiad_`."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from naiad.storage.receiving import Usage

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Metrics:
    """The counters of one server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._object_errors = 0
        counter, gauge = self._counter, self._gauge
        self.requests = counter("naiad_requests", "Requests by route and status", "route", "status")
        self.parts = counter("naiad_parts", "Parts of journal files, by outcome", "outcome")
        self.bytes = counter("naiad_accepted_bytes", "Bytes of journal files that were accepted")
        self.points = counter("naiad_accepted_points", "Points that were accepted")
        self.refused_tokens = counter("naiad_tokens_refused", "Requests without a valid token")
        self.forged = counter("naiad_forwarded_users_ignored", "Requests with X-Forwarded-User that was not believed")
        self.over_quota = counter("naiad_over_quota", "Requests that a quota refused, by type", "type")
        self.blobs = counter("naiad_blob_bytes", "Bytes of content that were taken in")
        self.disk = gauge("naiad_disk_bytes", "Size of the disk of the store")
        self.disk_free = gauge("naiad_disk_free_bytes", "Bytes that the disk of the store still takes")
        self.queue = gauge("naiad_queue_bytes", "Bytes that wait to be committed")
        self.fold_wait = gauge("naiad_fold_wait_seconds", "Age of what waits longest to be folded")
        self.fold_runs = gauge("naiad_fold_runs_waiting", "Runs that wait to be folded")
        self.inbox = gauge("naiad_inbox_bytes", "Bytes in the database that wait to be folded, for all replicas")
        self.connections = gauge("naiad_database_connections", "Connections to the database that are in use")
        self.most_connections = gauge("naiad_database_connections_most", "Connections that a replica makes at most")
        self.object_errors = counter("naiad_object_errors", "Requests to the object store that failed")
        self.folds = counter("naiad_folds", "Folds, by outcome", "outcome")
        self.set_aside = gauge("naiad_runs_set_aside", "Runs whose fold has failed three times")
        self.fold_seconds = self._histogram("naiad_fold_seconds", "Duration of a fold")
        self.commit_seconds = self._histogram("naiad_commit_seconds", "Duration of a commit")
        self.group_parts = Histogram(
            "naiad_group_parts", "Parts in a commit", registry=self._registry, buckets=(1, 2, 5, 10, 20, 50, 100, 500)
        )

    def note(self, usage: Usage) -> None:
        """Note the use of a database and its objects."""
        self.connections.set(usage.connections)
        self.most_connections.set(usage.most_connections)
        self.object_errors.inc(usage.object_errors - self._object_errors)
        self._object_errors = usage.object_errors

    def text(self) -> bytes:
        """Return all of them in the form of Prometheus."""
        return generate_latest(self._registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self._registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, registry=self._registry)

    def _histogram(self, name: str, text: str) -> Histogram:
        return Histogram(name, text, registry=self._registry, buckets=SECONDS)
