"""The packages of this environment, as pip would install them again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from naiad.forks import holding_forks

if TYPE_CHECKING:
    from importlib.metadata import Distribution


def requirements() -> str:
    """Return a line `name==version` for each installed distribution, sorted, without a newline at the end."""
    with holding_forks():  # a child forked meanwhile could never import it
        from importlib.metadata import distributions

    found = {pair for each in distributions() if (pair := _name_and_version(each))}
    return "\n".join(f"{name}=={version}" for name, version in sorted(found, key=lambda pair: pair[0].lower()))


def _name_and_version(distribution: Distribution) -> tuple[str, str] | None:
    """Return name and version of a distribution; None for remains, or a damaged metadata file."""
    try:
        metadata = distribution.metadata
        if "Name" not in metadata or "Version" not in metadata:
            return None
        name, version = metadata["Name"], metadata["Version"]
    except (KeyError, OSError, TypeError, ValueError):  # no such file or entry, not to be read, or not text
        return None
    return (str(name), str(version)) if name and version else None
