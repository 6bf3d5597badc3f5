"""Run Neptune's published example programs, unchanged, by `naiad neptune`.

    .venv/bin/python tests/neptune/client_programs.py CHECKOUT [PART-OF-A-NAME ...]

CHECKOUT is a copy of the repository of Neptune's examples. Its programs fetch their data from the internet; the folder
`standins` has small ones of the same names, and nothing else is replaced. Programs of one group share a folder and a
store, in this order. The packages of Neptune's that they import are those of `packages/environment`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
GUIDES, TOOLS = "how-to-guides", "integrations-and-supported-tools"
ENVIRONMENT = {
    "sequential-pipelines": {"NEPTUNE_PROJECT": "common/pip-pipelines", "NEPTUNE_CUSTOM_RUN_ID": "pipeline"},
    "restart-run-from-checkpoint": {"NEPTUNE_CUSTOM_RUN_ID": "checkpoints"},
}
"""The variables that a guide sets, by its folder."""
SCRIPTS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (GUIDES, "hello-neptune", ("hello_neptune",)),
    (GUIDES, "create-delete-projects", ("create_delete_projects",)),
    (
        GUIDES,
        "data-versioning",
        (
            "Version_datasets_in_model_training_runs",
            "Compare_model_training_runs_on_dataset_versions",
            "Organize_and_share_dataset_versions",
        ),
    ),
    (GUIDES, "monitor-ml-runs", ("Monitor_ML_runs_live",)),
    (GUIDES, "organize-ml-experimentation", ("Organize_ML_runs",)),
    (GUIDES, "neptune-hpo", ("Neptune_hpo_separate_runs", "Neptune_hpo_single_run")),
    (GUIDES, "present-cross-validation-results", ("neptune_cross_validation",)),
    (GUIDES, "reproduce-run", ("old_run", "reproduce_run")),
    (GUIDES, "re-run-failed-training", ("re_run_failed_training",)),
    (GUIDES, "restart-run-from-checkpoint", ("neptune_save_checkpoints", "neptune_restart_run_from_checkpoint")),
    (
        GUIDES,
        "sequential-pipelines",
        ("data_preprocessing", "model_training", "model_validation", "model_training", "model_validation"),
    ),
    (GUIDES, "sequential-pipelines", ("model_promotion",)),
    (TOOLS, "altair", ("Neptune_Altair_Support",)),
    (TOOLS, "bokeh", ("Neptune_Bokeh_Support",)),
    (TOOLS, "html", ("Neptune_HTML_Support",)),
    (TOOLS, "matplotlib", ("Neptune_Matplotlib_Support",)),
    (TOOLS, "pandas", ("Neptune_Pandas",)),
    (TOOLS, "plotly", ("Neptune_Plotly_Support",)),
    (TOOLS, "keras", ("Neptune_Keras",)),
    (TOOLS, "lightgbm", ("Neptune_LightGBM_train_summary",)),
    (
        TOOLS,
        "optuna",
        (
            "Neptune_Optuna_integration_customize_callback",
            "Neptune_Optuna_integration_log_after_study",
            "Neptune_Optuna_integration_log_study_and_trial_level",
        ),
    ),
    (TOOLS, "pytorch", ("Neptune_Pytorch",)),
    (TOOLS, "pytorch-ignite", ("Neptune_Pytorch_Ignite",)),
    (TOOLS, "sklearn", ("Neptune_Scikit_learn_classification", "Neptune_Scikit_learn_other_options")),
    (TOOLS, "skorch", ("Neptune_Skorch",)),
    (TOOLS, "xgboost", ("Neptune_XGBoost_train",)),
)
"""The programs, by the folders of the repository; those that need an account or a service elsewhere are left out."""
BEFORE = {
    "hello_neptune": """
from PIL import Image
Image.new("RGB", (40, 30), "red").save("Lenna_test_image.png")
""",
    "Organize_and_share_dataset_versions": """
import pathlib, requests
pathlib.Path("train.csv").write_bytes(requests.get("train.csv").content)
""",
    "reproduce_run": """
with neptune.init_run(with_id=last_run("common/showroom"), project="common/showroom") as run:
    run["sys/tags"].add(["showcase-run", "reproduce"])
""",
    "re_run_failed_training": """
with neptune.init_run(project="common/showroom", tags=["showcase-run"]) as run:
    run["config/hyperparameters"] = {"lr": 0.01, "bs": 64, "input_sz": 3072, "n_classes": 10, "device": "cpu"}
    run["dataset/path"], run["sys/failed"] = "data", True
""",
    "data_preprocessing": """
neptune.management.create_project("common/pip-pipelines", key="PIP")
""",
    "model_promotion": """
for number, stage in enumerate(("production", "staging"), 1):
    with neptune.init_model_version(with_id=f"PIP-PIPELINES-{number}") as version:
        version.change_stage(stage)
""",
}
"""What a reader of the guide has done before a program: earlier runs, files beside the program."""
SETTING = """
import naiad.as_neptune, neptune, neptune.management
def last_run(project):
    table = neptune.init_project(project=project, mode="read-only").fetch_runs_table(columns=[])
    return next(table).get_attribute_value("sys/id")
"""


def run(program: Path, place: Path) -> int:
    """Run a program in a folder, and return its exit status."""
    environment = {
        **os.environ,
        "NAIAD_STORE": str(place / "store"),
        "PYTHONPATH": os.pathsep.join((str(HERE / "standins"), str(program.parent))),
        "KERAS_BACKEND": "torch",
        "MPLBACKEND": "agg",
        **ENVIRONMENT.get(program.parent.parent.name, {}),
    }
    work = place / "work"
    work.mkdir(exist_ok=True)
    # Programs look for data beside themselves.
    for each in program.parent.glob("*.py"):
        (work / each.name).write_bytes(each.read_bytes())
    before = BEFORE.get(program.stem)
    if before is not None:
        command = [sys.executable, "-c", SETTING + before]
        subprocess.run(command, cwd=work, env=environment, check=True, stderr=subprocess.DEVNULL)
    command = [sys.executable, "-c", "from naiad.cli import main; main()", "neptune", program.name]
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, check=False)
    print(f"{'ok' if done.returncode == 0 else 'FAILED':6} {program.stem}", flush=True)
    if done.returncode:
        print(done.stderr[-2000:])
    return done.returncode


def main(arguments: list[str]) -> int:
    """Run the programs of a checkout; those whose path has one of the texts, if any is given."""
    checkout, wanted = Path(arguments[0]).absolute(), arguments[1:]
    failed = count = 0
    with tempfile.TemporaryDirectory() as place:
        for room, folder, names in SCRIPTS:
            if wanted and not any(text in f"{room}/{folder}" for text in wanted):
                continue
            for name in names:
                count += 1
                failed += run(checkout / room / folder / "scripts" / f"{name}.py", Path(place)) != 0
    print(f"{count - failed} of {count} programs ran")
    return 1 if failed or not count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
