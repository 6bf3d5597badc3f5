"""Lightning takes seconds to import; this program imports it once and forks a process for each script it is given.

A line of its input is a list: the working directory, the script, its arguments. It answers with a process id, and when
that process has ended with its exit code.
"""

from __future__ import annotations

import json
import os
import runpy
import sys

import lightning.pytorch  # noqa: F401 (that is the point)
import torch._dynamo  # noqa: F401 (which the first optimizer imports)

import naiad_lightning.logger  # noqa: F401 (likewise)

for line in sys.stdin:
    folder, *sys.argv = json.loads(line)
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.chdir(folder)
        errors = os.open("errors.txt", os.O_CREAT | os.O_WRONLY)
        os.dup2(errors, 1)
        os.dup2(errors, 2)
        os.close(0)
        runpy.run_path(sys.argv[0], run_name="__main__")
        sys.exit()
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
