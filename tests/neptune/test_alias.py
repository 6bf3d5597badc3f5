"""`import neptune` finds naiad where a program asked for it: in its process, in those it starts, and nowhere else.

No test imports naiad.as_neptune itself: it would answer `import neptune` for all tests of the same process.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from naiad import init_run

Program = Callable[..., "subprocess.CompletedProcess[str]"]
LOGS = "import neptune\nwith neptune.init_run(with_id={!r}) as run:\n    run[{!r}] = 1\n"


@pytest.fixture
def program(store: Path, tmp_path: Path) -> Program:
    """Run Python in the test's own folder; a text becomes `program.py` there and is run as the last argument."""

    def run(
        *arguments: str, text: str = "", alias: bool = True, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        script = []
        if text:
            (tmp_path / "program.py").write_text(("import naiad.as_neptune\n" if alias else "") + textwrap.dedent(text))
            script = ["program.py"]
        command = [sys.executable, *arguments, *script]
        settings = {**os.environ, **environment}
        return subprocess.run(
            command, cwd=tmp_path, env=settings, capture_output=True, text=True, timeout=100, check=False
        )

    return run


def fine(done: subprocess.CompletedProcess[str]) -> str:
    """What a program printed, once it ended well."""
    assert 0 == done.returncode, done.stderr
    return done.stdout.strip()


def fields_of_last_run() -> set[str]:
    with init_run(with_id="ALIAS-1", mode="read-only") as run:
        return {name for name in ("parent", "child", "grandchild") if run.exists(name)}


# The process itself


def test_first_line_of_a_program_is_enough(program: Program) -> None:
    done = program(text="import neptune\nprint(neptune.init_run is neptune.Run, neptune.__version__)")

    assert "True 1.14.0" == fine(done)


def test_stderr_says_once_where_the_data_goes(program: Program, store: Path) -> None:
    text = """
        import subprocess, sys, neptune
        neptune.init_run().stop()
        subprocess.run([sys.executable, "-c", "import neptune; neptune.init_run().stop()"], check=True)
    """

    done = program(text=text)

    assert 0 == done.returncode, done.stderr
    assert [f"naiad takes the place of neptune. The data goes to {store}"] == done.stderr.splitlines()


def test_another_store_than_was_said_is_said_too(program: Program, tmp_path: Path) -> None:
    done = program(text="import neptune\nneptune.init_run(store='elsewhere').stop()")

    assert 2 == len(done.stderr.splitlines()), done.stderr
    assert done.stderr.splitlines()[1].endswith(str(tmp_path / "elsewhere"))


def test_command_runs_a_script_with_its_arguments(store: Path, tmp_path: Path, program: Program) -> None:
    (tmp_path / "helper.py").write_text("NAME = 'beside the script'\n")
    (tmp_path / "train.py").write_text(
        "import sys, helper, neptune\nprint(sys.argv, helper.NAME, __name__, __file__)\n"
    )

    done = program("-c", "from naiad.cli import main; main()", "neptune", "train.py", "--lr", "0.1", "-m")

    assert f"['train.py', '--lr', '0.1', '-m'] beside the script __main__ {tmp_path}/train.py" == fine(done)


def test_command_says_where_the_data_goes(program: Program, tmp_path: Path, store: Path) -> None:
    (tmp_path / "train.py").write_text("import neptune\nneptune.init_run().stop()\n")

    done = program("-c", "from naiad.cli import main; main()", "neptune", "train.py")

    assert [f"naiad takes the place of neptune. The data goes to {store}"] == done.stderr.splitlines()


def test_command_runs_a_module(tmp_path: Path, program: Program) -> None:
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "train.py").write_text(
        "import sys, neptune\nprint(sys.argv[1:], neptune.__version__, __spec__.name)\n"
    )

    done = program("-c", "from naiad.cli import main; main()", "neptune", "-m", "pack.train", "a", "-x")

    assert "['a', '-x'] 1.14.0 pack.train" == fine(done)


def test_exit_status_of_the_script_is_that_of_the_command(program: Program, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("raise SystemExit(7)\n")

    assert 7 == program("-c", "from naiad.cli import main; main()", "neptune", "train.py").returncode


def test_pytest_takes_it_as_a_plugin(program: Program, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import neptune\n\ndef test_it():\n    assert neptune.__version__ == '1.14.0'\n"
    )

    fine(program("-m", "pytest", "-q", "-p", "naiad.as_neptune", "-p", "no:cacheprovider", "test_it.py"))


def test_version_and_spec_are_found_when_neptune_is_not_installed(program: Program) -> None:
    text = """
        import importlib.metadata, importlib.util
        print(importlib.metadata.version("neptune"), importlib.util.find_spec("neptune").name)
        print([each.metadata["Name"] for each in importlib.metadata.distributions(name="neptune")])
        print(importlib.util.find_spec("neptune.types").name, importlib.util.find_spec("neptune.nothing_of_this_name"))
    """

    assert "1.14.0 neptune\n['neptune']\nneptune.types None" == fine(program(text=text))


def test_other_distributions_are_found_as_before(program: Program) -> None:
    text = """
        import importlib.metadata
        names = {each.metadata["Name"] for each in importlib.metadata.distributions()}
        print(importlib.metadata.version("naiad"), {"naiad", "pytest", "neptune"} <= names)
        try:
            importlib.metadata.version("neptune-of-somebody-else")
        except importlib.metadata.PackageNotFoundError as error:
            print(error.name)
    """

    assert fine(program(text=text)).endswith("True\nneptune-of-somebody-else")


def test_nothing_named_neptune_is_touched_without_it(program: Program, tmp_path: Path) -> None:
    (tmp_path / "neptune.py").write_text("HOME = 'a module of the user'\n")
    text = """
        import naiad, sys, neptune
        naiad.init_run(mode="debug").stop()
        print(neptune.HOME, "naiad.as_neptune" in sys.modules)
    """

    assert "a module of the user False" == fine(program(text=text, alias=False))


def test_alias_stands_before_an_installed_neptune(program: Program, tmp_path: Path) -> None:
    (tmp_path / "neptune").mkdir()
    (tmp_path / "neptune" / "__init__.py").write_text("raise RuntimeError('the real one was imported')\n")

    assert "1.14.0" == fine(program(text="import neptune, neptune.types\nprint(neptune.__version__)"))


def test_neptune_that_was_imported_before_is_an_error_with_a_remedy(program: Program, tmp_path: Path) -> None:
    (tmp_path / "neptune.py").write_text("")
    text = """
        import neptune
        from naiad.errors import AliasTooLate
        try:
            import naiad.as_neptune
        except ImportError as error:
            print(type(error).__name__, "first line" in str(error), "naiad neptune" in str(error))
    """

    assert "AliasTooLate True True" == fine(program(text=text, alias=False))


def test_module_that_neptune_has_not_is_not_found(program: Program) -> None:
    text = """
        import neptune
        try:
            import neptune.nothing_of_this_name
        except ModuleNotFoundError as error:
            print(error.name, hasattr(neptune, "nothing_of_this_name"), hasattr(neptune, "exceptions"))
    """

    assert "neptune.nothing_of_this_name False True" == fine(program(text=text))


def test_old_name_has_the_same_classes(program: Program) -> None:
    text = """
        import neptune, neptune.new as old
        from neptune.new.types import File
        from neptune.new.metadata_containers.run import Run
        import neptune.new.integrations.python_logger
        print(File is neptune.types.File, Run is neptune.Run, old.init_run is neptune.init_run)
        try:
            old.create_experiment()
        except neptune.exceptions.NeptunePossibleLegacyUsageException:
            print("refused")
    """

    assert "True True True\nrefused" == fine(program("-W", "ignore", text=text))


def test_sitecustomize_of_the_environment_is_run_too(program: Program, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text("import sys\nsys.flag_of_site = 'theirs'\n")
    text = """
        import subprocess, sys
        code = "import sys, neptune; print(sys.flag_of_site, any('startup' in each for each in sys.path))"
        subprocess.run([sys.executable, "-c", code], check=True)
    """

    assert "theirs False" == fine(program(text=text, PYTHONPATH=str(tmp_path / "site")))


# The processes that it starts


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_it_reaches_processes_of_multiprocessing(program: Program, method: str) -> None:
    text = f"""
        import multiprocessing, os, sys

        def child(run):
            import neptune
            assert isinstance(run, neptune.Run) and run["sys/state"].fetch() == "Active"
            run["child"] = 1

        if __name__ == "__main__":
            import neptune
            with neptune.init_run(project="alias") as run:
                run["parent"] = 1
                process = multiprocessing.get_context("{method}").Process(target=child, args=(run,))
                process.start()
                process.join()
                sys.exit(process.exitcode)
    """

    fine(program(text=text))

    assert {"parent", "child"} == fields_of_last_run()


def test_it_reaches_a_subprocess_and_what_that_one_starts(program: Program, tmp_path: Path) -> None:
    (tmp_path / "grandchild.py").write_text(LOGS.format("ALIAS-1", "grandchild"))
    (tmp_path / "child.py").write_text(
        LOGS.format("ALIAS-1", "child")
        + "import subprocess, sys\nsubprocess.run([sys.executable, 'grandchild.py'], check=True)\n"
    )
    text = """
        import subprocess, sys, neptune
        with neptune.init_run(project="alias") as run:
            run["parent"] = 1
            subprocess.run([sys.executable, "child.py"], check=True)
    """

    fine(program(text=text))

    assert {"parent", "child", "grandchild"} == fields_of_last_run()


def test_it_reaches_workers_of_joblib(program: Program) -> None:
    text = """
        import neptune
        from joblib import Parallel, delayed

        def work(number):
            import neptune, os
            with neptune.init_run(with_id="ALIAS-1", capture_hardware_metrics=False) as run:
                run[f"workers/{number}"] = os.getpid()

        if __name__ == "__main__":
            with neptune.init_run(project="alias") as run:
                Parallel(n_jobs=2, backend="loky")(delayed(work)(number) for number in range(2))
                print(sorted(run["workers"].fetch()))
    """

    assert "['0', '1']" == fine(program(text=text))


def test_it_reaches_ranks_of_torchrun(program: Program, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "train.py").write_text(
        "import os, neptune\n"
        "with neptune.init_run(custom_run_id='torch', project='alias', capture_hardware_metrics=False) as run:\n"
        "    run[f'rank/{os.environ[\"RANK\"]}'] = True\n"
    )
    launch = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", "train.py"]

    fine(program("-c", "from naiad.cli import main; main()", "neptune", *launch))

    with init_run(with_id="ALIAS-1", mode="read-only") as run:
        assert {"0": True, "1": True} == run["rank"].fetch()


def test_python_without_naiad_starts_as_ever(program: Program) -> None:
    """The folder in PYTHONPATH is seen by every Python; one that has no naiad does nothing with it."""
    text = """
        import subprocess, sys
        code = "import sys; print([name for name in sys.modules if 'neptune' in name or name == 'naiad'])"
        plain = [sys.executable, "-S", "-c", "import site; site.execsitecustomize(); " + code]
        subprocess.run(plain, check=True)
    """

    assert "[]" == fine(program(text=text))
