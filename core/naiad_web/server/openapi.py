"""OpenAPI: the table of routes as a document for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from naiad import __version__
from naiad_web.server.answers import JSON, PROBLEM
from naiad_web.server.routes import API, MSGPACK, Route


class ProblemFacts(msgspec.Struct):
    """The members of every error."""

    type: str
    title: str
    status: int
    detail: str


def document(routes: Sequence[Route]) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of some routes."""
    kinds: list[type[msgspec.Struct]] = [*{route.takes: None for route in routes}, ProblemFacts]
    schemas, components = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    names = {kind: schema["$ref"].rpartition("/")[2] for kind, schema in zip(kinds, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        schema = components[names[route.takes]]
        item = paths.setdefault(API + route.path, {})
        if route.method == "GET":
            item["get"] = _operation(route, "get", schema)
        if route.method != "GET" or route.also_post:
            method = "post" if route.also_post else route.method.lower()
            item[method] = _operation(route, method, schema, names[route.takes])
    return {
        "openapi": "3.1.0",
        "info": {"title": "naiad", "version": __version__, "description": "See core/docs/http-api.md."},
        "servers": [{"url": "/"}],
        "security": [{"token": []}, {"ticket": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "ticket": {"type": "apiKey", "in": "query", "name": "ticket"},
            },
        },
    }


def _operation(route: Route, method: str, schema: dict[str, Any], body: str | None = None) -> dict[str, Any]:
    name = route.path.strip("/").replace("/", "_").replace("{id}", "one") or "about"
    media: dict[str, Any] = {each: {} for each in route.media}
    problem = {
        "description": "An error",
        "content": {PROBLEM: {"schema": {"$ref": "#/components/schemas/ProblemFacts"}}},
    }
    found: dict[str, Any] = {
        "operationId": f"{method}_{name}",
        "summary": route.summary,
        "responses": {"200": {"description": "The answer", "content": media}, "default": problem},
    }
    parameters = []
    if "{id}" in route.path:
        parameters.append({"name": "id", "in": "path", "required": True, "schema": msgspec.json.schema(str)})
    if body is None:
        required = schema.get("required", [])
        parameters += [
            {"name": name, "in": "query", "required": name in required, "schema": each}
            for name, each in schema.get("properties", {}).items()
        ]
    else:
        content = {MSGPACK: {}} if route.packs else {JSON: {"schema": {"$ref": f"#/components/schemas/{body}"}}}
        found["requestBody"] = {"content": content}
    if parameters:
        found["parameters"] = parameters
    return found
