"""Neptune's package name, answered by naiad: `import naiad.as_neptune` as the first line of a program.

From then on `import neptune`, and every module below it, finds naiad, in this process and in those that it starts.
"""

from __future__ import annotations

from naiad.as_neptune.alias import install

install()
