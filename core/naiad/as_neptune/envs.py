"""`neptune.envs`: the environment variables of Neptune's client, and their effects here."""

from __future__ import annotations

from typing import NamedTuple

API_TOKEN_ENV_NAME = "NEPTUNE_API_TOKEN"
CONNECTION_MODE = "NEPTUNE_MODE"
CUSTOM_RUN_ID_ENV_NAME = "NEPTUNE_CUSTOM_RUN_ID"
MONITORING_NAMESPACE = "NEPTUNE_MONITORING_NAMESPACE"
NEPTUNE_ALLOW_SELF_SIGNED_CERTIFICATE = "NEPTUNE_ALLOW_SELF_SIGNED_CERTIFICATE"
NEPTUNE_ASYNC_BATCH_SIZE = "NEPTUNE_ASYNC_BATCH_SIZE"
NEPTUNE_ENABLE_DEFAULT_ASYNC_LAG_CALLBACK = "NEPTUNE_ENABLE_DEFAULT_ASYNC_LAG_CALLBACK"
NEPTUNE_ENABLE_DEFAULT_ASYNC_NO_PROGRESS_CALLBACK = "NEPTUNE_ENABLE_DEFAULT_ASYNC_NO_PROGRESS_CALLBACK"
NEPTUNE_FETCH_TABLE_STEP_SIZE = "NEPTUNE_FETCH_TABLE_STEP_SIZE"
NEPTUNE_MAX_DISK_USAGE = "NEPTUNE_MAX_DISK_USAGE"
NEPTUNE_NOTEBOOK_ID = "NEPTUNE_NOTEBOOK_ID"
NEPTUNE_NOTEBOOK_PATH = "NEPTUNE_NOTEBOOK_PATH"
NEPTUNE_RAISE_ERROR_ON_DISK_USAGE_EXCEEDED = "NEPTUNE_RAISE_ERROR_ON_DISK_USAGE_EXCEEDED"
NEPTUNE_REQUEST_TIMEOUT = "NEPTUNE_REQUEST_TIMEOUT"
NEPTUNE_RETRIES_TIMEOUT_ENV = "NEPTUNE_RETRIES_TIMEOUT"
NEPTUNE_SUBPROCESS_KILL_TIMEOUT = "NEPTUNE_SUBPROCESS_KILL_TIMEOUT"
NEPTUNE_SYNC_AFTER_STOP_TIMEOUT = "NEPTUNE_SYNC_AFTER_STOP_TIMEOUT"
NEPTUNE_SYNC_BATCH_TIMEOUT_ENV = "NEPTUNE_SYNC_BATCH_TIMEOUT"
PROJECT_ENV_NAME = "NEPTUNE_PROJECT"
S3_ENDPOINT_URL = "S3_ENDPOINT_URL"

# The names of the module up to here are exactly those of the client; the table below is ours.
__all__ = [name for name in dir() if name.isupper()]


class Variable(NamedTuple):
    """One environment variable of the client's."""

    name: str
    is_honoured: bool
    meaning: str
    """The effect, or the reason why there is none."""


_NO_NETWORK = "no request is sent"
VARIABLES = (
    Variable(PROJECT_ENV_NAME, True, "the project; NAIAD_PROJECT takes precedence"),
    Variable(CONNECTION_MODE, True, "the mode of every container; NAIAD_MODE takes precedence"),
    Variable(CUSTOM_RUN_ID_ENV_NAME, True, "the custom id of every run; NAIAD_CUSTOM_RUN_ID takes precedence"),
    Variable(
        MONITORING_NAMESPACE,
        True,
        "namespace of captured output and hardware; NAIAD_MONITORING_NAMESPACE takes precedence",
    ),
    Variable(S3_ENDPOINT_URL, True, "the server behind s3:// in track_files()"),
    Variable(API_TOKEN_ENV_NAME, False, "a folder needs no token"),
    Variable(NEPTUNE_ALLOW_SELF_SIGNED_CERTIFICATE, False, _NO_NETWORK),
    Variable(NEPTUNE_RETRIES_TIMEOUT_ENV, False, _NO_NETWORK),
    Variable(NEPTUNE_REQUEST_TIMEOUT, False, _NO_NETWORK),
    Variable(NEPTUNE_SYNC_BATCH_TIMEOUT_ENV, False, _NO_NETWORK),
    Variable(NEPTUNE_SYNC_AFTER_STOP_TIMEOUT, False, "nothing has to be sent; stop() ends within ten seconds"),
    Variable(NEPTUNE_ASYNC_BATCH_SIZE, False, "a call has stored its data when it returns"),
    Variable("NEPTUNE_MAX_BATCH_SIZE_BYTES", False, "a call has stored its data when it returns"),
    Variable(NEPTUNE_ENABLE_DEFAULT_ASYNC_LAG_CALLBACK, False, "nothing lags behind the call"),
    Variable(NEPTUNE_ENABLE_DEFAULT_ASYNC_NO_PROGRESS_CALLBACK, False, "nothing lags behind the call"),
    Variable(NEPTUNE_FETCH_TABLE_STEP_SIZE, False, "a table is read in one pass"),
    Variable(NEPTUNE_SUBPROCESS_KILL_TIMEOUT, False, "the pages cannot abort a run"),
    Variable(NEPTUNE_MAX_DISK_USAGE, False, "a full disk does not stop training; on_error= chooses what happens"),
    Variable(NEPTUNE_RAISE_ERROR_ON_DISK_USAGE_EXCEEDED, False, "as NEPTUNE_MAX_DISK_USAGE"),
    Variable("NEPTUNE_DATA_DIRECTORY", False, "it named a queue of unsent data; NAIAD_STORE names the store"),
    Variable(NEPTUNE_NOTEBOOK_ID, False, "it belongs to Neptune's Jupyter extension"),
    Variable(NEPTUNE_NOTEBOOK_PATH, False, "it belongs to Neptune's Jupyter extension"),
)
"""Every variable that the client reads."""
