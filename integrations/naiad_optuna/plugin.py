"""The hooks and the mapping of the integration. Nothing here imports Optuna."""

from __future__ import annotations

from naiad.hookspecs import hookimpl
from naiad.integration import TROUBLE, Integration, Row

TRIAL = (
    ("state", "string", "COMPLETE, PRUNED or FAIL"),
    ("params/{name:path}", "atom", "the parameters of the trial"),
    ("user_attrs/{name:path}", "atom", "attributes that the objective set"),
    ("distributions/{name:path}", "string", "the distribution of each parameter"),
    ("datetime_start", "datetime", "the start of the trial"),
    ("datetime_complete", "datetime", "the end of the trial"),
    ("duration", "float", "the duration of the trial, in seconds"),
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
        _row("trial", "{base}/study/direction", "string", "`minimize` or `maximize`", "one objective"),
        _row("trial", "{base}/study/directions", "string", "the direction of each objective", "several objectives"),
        _row("trial", "{base}/study/user_attrs/{name:path}", "atom", "attributes of the study", "user_attrs"),
        _row("trial", "{base}/study/distributions/{name:path}", "string", "the distributions of the last trial"),
        _row("trial", "{base}/study/storage_type", "string", "the class of its storage", "study_update_freq"),
        _row("trial", "{base}/study/storage_url", "string", "the database, without its password", "database"),
        _row(
            "trial",
            "{base}/study/study",
            "file",
            "the study, if it has no storage, as JSON",
            "study_update_freq and memory",
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
            "a plot of Optuna for each objective, as a page",
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
        Row("trial", "trial/number", "int", "assign", "the number of the trial", "trial run"),
        Row("trial", "trial/value", "float", "assign", "the value of the trial", "trial run and value"),
        Row(
            "trial",
            "trial/values/{objective}",
            "float",
            "assign",
            "the values of the trial",
            "trial run and several objectives",
        ),
        Row(
            "report",
            "trial/intermediate_values",
            "float_series",
            "append",
            "the values that the trial reported",
            "trial run and report",
        ),
        *TROUBLE,
    ),
)


@hookimpl
def naiad_integration() -> Integration:
    """Connect Optuna."""
    return INTEGRATION
