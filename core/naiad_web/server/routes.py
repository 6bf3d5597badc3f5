"""Routes: the table from which requests are dispatched and OpenAPI is made."""

from __future__ import annotations

from dataclasses import dataclass, field

from naiad_web.server.answers import Handler
from naiad_web.server.parameters import None_, Parameters

API = "/api/v1"
MSGPACK = "application/msgpack"


@dataclass(frozen=True)
class Route:
    """One route: its method, path, handler and parameters."""

    method: str
    path: str
    """Below `/api/v1`; `{id}` stands for a container."""
    serve: Handler
    takes: type[Parameters] = None_
    summary: str = ""
    is_change: bool = False
    """Whether it needs `--edit` and a request of the same origin."""
    is_deletion: bool = False
    """Whether such a change takes something away from others, which needs the permission to delete."""
    also_post: bool = False
    """Whether its parameters may come as a JSON object too."""
    packs: bool = False
    """Whether its body is MessagePack, which is given as it came."""
    wants_headers: bool = False
    """Whether it is given the headers of the request too, such as `Range`."""
    media: tuple[str, ...] = field(default=("application/json",))

    @property
    def methods(self) -> tuple[str, ...]:
        """All methods that it accepts."""
        return (
            *((self.method, "HEAD") if self.method == "GET" else (self.method,)),
            *(("POST",) if self.also_post else ()),
        )
