"""Write runs with MLflow and W&B, in an environment that has them: `python write.py TOOL FOLDER`."""

import os
import sys

tool, folder = sys.argv[1:]
os.chdir(folder)
if tool.startswith("mlflow"):
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    import mlflow

    mlflow.set_tracking_uri("sqlite:///mlflow.db" if tool == "mlflow-sqlite" else f"file://{folder}/mlruns")
    if tool == "mlflow-sqlite":
        mlflow.create_experiment("digits", artifact_location=f"file://{folder}/artifacts")
    mlflow.set_experiment("digits")
    with mlflow.start_run(run_name="first") as run:
        mlflow.log_params({"lr": 0.1, "net/depth": 3})
        for step in range(5):
            mlflow.log_metric("loss", 1 / (step + 1), step=step)
            mlflow.log_metric("val/acc", float("nan") if step == 2 else step, step=step)
        mlflow.set_tag("team", "a")
        with open("model.txt", "w") as f:
            f.write("weights")
        mlflow.log_artifact("model.txt", "model")
        first = run.info
    try:
        with mlflow.start_run(run_name="second"):
            raise RuntimeError
    except RuntimeError:
        pass
    client = mlflow.MlflowClient()
    client.create_registered_model("digits cnn", tags={"task": "vision"}, description="d")
    for stage in ("Production", "Staging", None):
        version = client.create_model_version(
            "digits cnn", f"{first.artifact_uri}/model", first.run_id, tags={"ok": "yes"}, description="v"
        )
        if stage is not None:
            client.transition_model_version_stage("digits cnn", version.version, stage)
    client.set_registered_model_alias("digits cnn", "champion", "1")
    client.delete_model_version("digits cnn", "3")
else:
    os.environ.update(WANDB_MODE="offline", WANDB_DATA_DIR=f"{folder}/data", WANDB_SILENT="true", WANDB_CONSOLE="off")
    import numpy as np
    import wandb

    run = wandb.init(
        project="digits", name="first", tags=["a", "b"], notes="n", config={"lr": 0.1, "net": {"depth": 3}, "s": "x"}
    )
    for step in range(5):
        run.log(
            {"loss": 1 / (step + 1), "val/acc": float("nan") if step == 2 else step, "note": f"text {step}"}, step=step
        )
    run.log(
        {"grads": wandb.Histogram(np.arange(10.0)), "img": wandb.Image(np.zeros((4, 4, 3), np.uint8), caption="c")},
        step=5,
    )
    run.summary["best"] = 0.5
    for content in ("weights", "better"):
        with open("net.pt", "w") as f:
            f.write(content)
        artifact = wandb.Artifact("net", type="model", metadata={"acc": 0.5})
        artifact.add_file("net.pt")
        artifact.add_reference("file:///etc/hostname", name="other") if content == "better" else None
        run.log_artifact(artifact, aliases=["best"])
    run.finish()
