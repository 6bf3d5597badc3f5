"""The HTTP interface: one module for each noun that it serves. core/docs/http-api.md describes it."""
