"""Log with the real client of Neptune: `python neptune_client.py MODE [kill]`, in the folder for `.neptune`.

For the mode "async" the client is given its own backend in memory, since its service was switched off.
"""

import os
import signal
import sys

import neptune
from neptune.internal.backends.neptune_backend_mock import NeptuneBackendMock
from neptune.metadata_containers import metadata_container
from neptune.types import File

mode, *rest = sys.argv[1:]
if mode == "async":
    metadata_container.get_backend = lambda *_args, **_options: NeptuneBackendMock()
with open("here.csv", "w") as file:
    file.write("a,b")
run = neptune.init_run(
    project="ws/digits",
    api_token=neptune.ANONYMOUS_API_TOKEN,
    mode=mode,
    name="real",
    tags=["t1"],
    source_files=[],
    capture_stdout=False,
    capture_stderr=False,
    capture_hardware_metrics=False,
    git_ref=False,
    flush_period=0.1,
)
run["params"] = {"lr": 0.1, "layers": 3, "deep": True}
for step in range(1000):
    run["loss"].append(1 / (step + 1), step=step)
    run["free"].append(float(step))
run["log"].extend(["one", "two"])
run["file"].upload("here.csv")
run["memory"].upload(File.from_content("text", extension="txt"))
run["set"].upload_files("here.csv")
print(run._uuid if hasattr(run, "_uuid") else run._id, flush=True)
if rest:
    if mode == "async":
        run.wait(disk_only=True)
    os.kill(os.getpid(), signal.SIGKILL)
run.stop()
