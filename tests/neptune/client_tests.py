"""Run the end-to-end tests of Neptune's client over a folder, and compare the failures with those that are expected.

    .venv/bin/pip install backoff faker gitpython vega-datasets
    .venv/bin/python tests/neptune/client_tests.py CHECKOUT [PYTEST-ARGS]

CHECKOUT is a copy of the client's repository, of its branch for 1.x; the tests are those of `tests/e2e/standard` and
`tests/e2e/management` without the ones for S3. Nothing of it is kept here. pytest loads this file as a plugin, which
stands in for what those tests import from inside the client, and shortens their waits for Neptune's search index.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parent
OUTCOMES = "NAIAD_CLIENT_OUTCOMES"
"""The environment variable that names the file for the outcomes."""
PROCESS = "NAIAD_CLIENT_PROCESS"
"""The one with the id of the process that notes them."""
SHORT, LONGEST = 0.05, 5.0
EXPECTED = {
    r"::TestCli::(?!test_cannot_offline)": "they read and write the client's queue of unsent data below .neptune",
    r"::test_(using_new_api|file_changed_during_upload)": "they look at the client's requests to its server",
    r"::TestManagement::": "they manage the members and quotas of a workspace, which a folder does not have",
    r"::TestDeleteFromTrash::": "it deletes runs that are still open; naiad deletes nothing that is being written",
    r"::test_init_and_readonly": "it lists all of a project's fields below sys; naiad has a description there too",
    r"::test_warning_raised_if_dependency_file_non_existent": "it looks for a line of the client's on standard output",
}
"""The tests that fail, by patterns of their names, with the reason."""
INSIDE = {
    "neptune.internal.utils.s3": ("get_boto_s3_client",),
    "neptune.internal.backends": ("hosted_file_operations",),
    "neptune.internal.backends.api_model": ("MultipartConfig", "OptionalFeatures"),
    "neptune.internal.backends.hosted_neptune_backend": ("HostedNeptuneBackend",),
    "neptune.cli": ("sync",),
    "neptune.cli.commands": ("clear",),
}
"""Names from inside the client that the tests import, by module; they have no use here."""


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    """Stand in for the inside of the client, which the first conftest imports."""
    os.environ[PROCESS] = str(os.getpid())
    for name, wanted in INSIDE.items():
        module = ModuleType(name, "Stands in for a part of the client.")
        vars(module).update({each: type(each, (), {}) for each in wanted})
        sys.modules[name] = module
    from neptune import management

    # The fixture that makes the project of all tests calls both.
    for each in ("add_project_member", "add_project_service_account"):
        setattr(management, each, lambda *_arguments, **_options: None)
    wait = time.sleep
    time.sleep = lambda seconds: wait(SHORT if seconds >= LONGEST else seconds)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note the outcome of a test, or of its fixtures where these fail."""
    # A test that forks lets its child go on with all further tests, which do not count.
    if os.environ[PROCESS] == str(os.getpid()) and (report.when == "call" or report.outcome != "passed"):
        with open(os.environ[OUTCOMES], "a", encoding="utf-8") as file:
            file.write(json.dumps([report.nodeid, report.outcome]) + "\n")


def outcomes(checkout: Path, arguments: list[str]) -> dict[str, str]:
    """Run the tests in a folder of their own, and return the outcome of each."""
    found: dict[str, str] = {}
    # In two sessions, as the client's own: the tests of the trash need a project with no other runs in it.
    for part in ("standard", "management"):
        with tempfile.TemporaryDirectory() as place:
            found |= _outcomes(checkout, part, Path(place), arguments)
    return found


def _outcomes(checkout: Path, part: str, root: Path, arguments: list[str]) -> dict[str, str]:
    # A repository with Python in it, as the one in which the client's developers run their tests.
    (root / "program.py").write_text("import sys, pytest\nsys.exit(pytest.main(sys.argv[1:]))\n")
    for command in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a", "commit", "-qm", "a"]):
        subprocess.run(["git", *command], cwd=root, check=True)
    environment = {
        **os.environ,
        **dict.fromkeys(("WORKSPACE_NAME", "ADMIN_USERNAME", "USER_USERNAME", "SERVICE_ACCOUNT_NAME"), "workspace"),
        **dict.fromkeys(("ADMIN_NEPTUNE_API_TOKEN", "NEPTUNE_API_TOKEN"), "token"),
        "NEPTUNE_GROUP_TAGS_ENABLED": "true",
        "NAIAD_STORE": str(root / "store"),
        "PYTHONPATH": os.pathsep.join((str(checkout), str(HERE))),
        OUTCOMES: str(root / "outcomes"),
    }
    plugins = ["-p", "naiad.as_neptune", "-p", "client_tests", "-p", "no:cacheprovider"]
    tests = str(checkout / "tests" / "e2e" / part)
    command = [sys.executable, "program.py", *plugins, "-m", "not s3", "-q", tests, *arguments]
    subprocess.run(command, cwd=root, env=environment, check=False)
    try:
        lines = (root / "outcomes").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:  # no test of this part was chosen
        return {}
    return dict(map(json.loads, lines))


def reason(name: str) -> str | None:
    """Return why a test is expected to fail; None if it should pass."""
    return next((text for pattern, text in EXPECTED.items() if re.search(pattern, name)), None)


def main(arguments: list[str]) -> int:
    """Run the tests of a checkout, and print what differs from the expected."""
    found = outcomes(Path(arguments[0]).absolute(), arguments[1:])
    counts = Counter((re.sub(r"::.*", "", name), outcome) for name, outcome in found.items())
    for (file, outcome), count in sorted(counts.items()):
        print(f"{count:4} {outcome:8} {file}")
    wrong = {name: outcome for name, outcome in found.items() if (outcome == "passed") != (reason(name) is None)}
    for name, outcome in wrong.items():
        print(f"{outcome}, against expectation: {name}")
    passed = sum(outcome == "passed" for outcome in found.values())
    print(f"{passed} of {len(found)} pass; {len(wrong)} differ from what is expected")
    return 1 if wrong or not found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
