"""The hook and the mapping of the integration. Nothing here imports SciPy."""

from naiad.hookspecs import hookimpl
from naiad.integration import Integration, Row

INTEGRATION = Integration(
    name="scipy",
    framework="SciPy 1",
    packages={"scipy": "scipy"},
    versions=">=1.11,<2",
    adapter="naiad_scipy:NaiadCallback",
    base="minimize",
    rows=(
        Row("callback", "{base}/values/{name:path}", "float_series", "append", "the function, and what is watched"),
        Row("end", "{base}/result/{fact}", "atom", "assign", "how it ended"),
        Row("any", "{base}/integration/errors", "string_series", "append", "errors of logging", when="trouble"),
        Row("any", "{base}/integration/renamed/{path:path}", "string", "assign", "names", when="taken names"),
    ),
)


@hookimpl
def naiad_integration() -> Integration:
    """Connect SciPy."""
    return INTEGRATION
