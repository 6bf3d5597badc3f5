"""The hooks and the mapping of the integration. Nothing here imports Optuna."""

from __future__ import annotations

from naiad.hookspecs import hookimpl
from naiad.integration import TROUBLE, Integration, Row

TRIAL = (
    ("state", "string", "COMPLETE, PRUNED or FAIL"),
    ("params/{name:path}", "atom", "its parameters"),
    ("user_attrs/{name:path}", "atom", "attributes that the objective has set"),
    ("distributions/{name:path}", "string", "where each parameter was drawn from"),
    ("datetime_start", "datetime", "when it began"),
    ("datetime_complete", "datetime", "when it ended"),
    ("duration", "float", "seconds"),
)


def _row(event: str, path: str, kind: str, meaning: str, when: str = "") -> Row:
    verb = "append" if kind.endswith("_series") else "upload" if kind == "file" else "assign"
    return Row(event, path, kind, verb, meaning, f"study and {when}" if when else "study")


INTEGRATION = Integration(
    name="optuna",
    framework="Optuna",
    packages={"optuna": "optuna"},
    versions=">=3.6,<6",
    extra="optuna",
    adapter="naiad_optuna.callback:NaiadCallback",
    rows=(
        _row(
            "constructor",
            "source_code/integrations/neptune-optuna",
            "string",
            "the version of naiad, on the run itself",
        ),
        _row("trial", "{base}/study/study_name", "string", "the name of the study"),
        _row("trial", "{base}/study/direction", "string", "minimize or maximize", "one objective"),
        _row("trial", "{base}/study/directions", "string", "of each objective", "several objectives"),
        _row("trial", "{base}/study/user_attrs/{name:path}", "atom", "attributes of the study", "user_attrs"),
        _row("trial", "{base}/study/distributions/{name:path}", "string", "the distributions of the last trial"),
        _row("trial", "{base}/study/storage_type", "string", "the class of its storage", "study_update_freq"),
        _row("trial", "{base}/study/storage_url", "string", "the database, without its password", "database"),
        _row(
            "trial", "{base}/study/study", "file", "a study without a storage, as JSON", "study_update_freq and memory"
        ),
        _row(
            "trial", "{base}/trials/values", "float_series", "the value of each trial, at its number", "one objective"
        ),
        _row(
            "trial",
            "{base}/trials/values/{objective}",
            "float_series",
            "the values of each trial, at its number",
            "several objectives",
        ),
        _row("trial", "{base}/trials/params", "string_series", "the parameters of each trial, as text"),
        _row("trial", "{base}/best/value", "float", "the best value", "one objective"),
        _row("trial", "{base}/best/number", "int", "the number of the best trial", "one objective"),
        _row("trial", "{base}/best/params/{name:path}", "atom", "the parameters of the best trial", "one objective"),
        _row(
            "trial",
            "{base}/best/trials/{number}/{fact:path}",
            "atom",
            "values and parameters of each trial that no other dominates",
            "several objectives",
        ),
        _row("trial", "{base}/visualizations/{plot}", "file", "a plot of Optuna, as a page", "plots"),
        _row(
            "trial",
            "{base}/visualizations/{objective}/{plot}",
            "file",
            "the same of each objective",
            "plots and several objectives",
        ),
        _row(
            "trial",
            "{base}/trials/trials/{number}/{fact:path}",
            "atom",
            "value, parameters and more of each trial",
            "trials=namespaces",
        ),
        *(
            Row("trial", f"trial/{path}", kind, "assign", meaning, when)
            for path, kind, meaning in TRIAL
            for when in ["trial run and user_attrs" if path.startswith("user") else "trial run"]
        ),
        Row("trial", "trial/number", "int", "assign", "its number", "trial run"),
        Row("trial", "trial/value", "float", "assign", "its value", "trial run and value"),
        Row("trial", "trial/values/{objective}", "float", "assign", "its values", "trial run and several objectives"),
        Row("report", "trial/intermediate_values", "float_series", "append", "reported values", "trial run and report"),
        *TROUBLE,
    ),
)


@hookimpl
def naiad_integration() -> Integration:
    """Connect Optuna."""
    return INTEGRATION
