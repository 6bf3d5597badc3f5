"""The packages of this environment, as pip would install them again."""

from __future__ import annotations

from naiad.store.forks import holding_forks

__all__ = ["requirements"]


def requirements() -> str:
    """Return a line `name==version` for each installed distribution, sorted, without a newline at the end."""
    with holding_forks():  # a child forked meanwhile could never import it
        from importlib.metadata import distributions

    found = {(each.metadata["Name"], each.version) for each in distributions() if each.metadata["Name"]}
    return "\n".join(f"{name}=={version}" for name, version in sorted(found, key=lambda pair: pair[0].lower()))
