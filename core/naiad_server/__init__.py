"""naiad server: takes runs of many machines over HTTP, and serves them. core/docs/server-protocol.md describes it."""
