"""The files of the pages: sizes, vendored libraries as recorded, types, and pure modules under node."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from naiad_web.server.pages import Pages

PAGES = Path(__file__).parents[3] / "core/naiad_web/pages"
MODULES = sorted(file for file in PAGES.rglob("*.js") if "vendor" not in file.parts)
SHIPPED = sorted(file for kind in ("*.js", "*.css") for file in PAGES.rglob(kind))


def test_scripts_and_styles_stay_within_their_budget() -> None:
    """U1: all JavaScript and CSS, compressed as it is sent. Its line of failure is 150 KB, its goal 120.

    What a screen loads is measured in test_screens.py; for that, parts that few screens show are files of their own, of
    which each adds half a kilobyte here.
    """
    assert sum(map(sent_bytes, SHIPPED)) <= 145_900


def sent_bytes(file: Path) -> int:
    """The size of a file as the server sends it."""
    address = f"/static/{file.relative_to(PAGES).as_posix()}"
    return len(Pages(PAGES).answer(address, encodings="gzip").body)


def test_scripts_are_sent_without_comments_and_are_the_same_otherwise(run_node: Any, tmp_path: Path) -> None:
    """Parsed, both are one program: no text that looks like a comment or an indent is lost. Others are told apart."""
    pages = Pages(PAGES)
    texts = [
        [
            file.name,
            file.read_text(),
            bytes(pages.answer(f"/static/{file.relative_to(PAGES).as_posix()}").body).decode(),
        ]
        for file in MODULES
    ]
    others = [
        ["text.js", "f(`x\n  y`);", "f(`x\ny`);"],
        ["value.js", "f(1);", "f(2);"],
        ["elements.js", "html`x\n  ${y} /* z */`;", "html`x\n${y} `;"],
    ]
    (tmp_path / "texts.json").write_text(json.dumps([*texts, *others]))
    program = Path(__file__).parent / "same_code.cjs"
    done = run_node("--expose-internals", str(program), str(tmp_path / "texts.json"))

    assert (0, [name for name, *_ in others]) == (done.returncode, done.stdout.split()), done.stderr
    assert not any(re.search(r"^\s*(//|/\*)", sent, re.MULTILINE) for _name, _text, sent in texts)


@pytest.mark.browser
def test_styles_are_sent_without_blanks_and_are_the_same_otherwise(alone: Any) -> None:
    """Both are the same rules to the browser, which keeps the blanks of values with variables as they are."""
    page = alone.open("/tests/web/pages/design.html")
    for file in sorted((PAGES / "style").glob("*.css")):
        sent = Pages(PAGES).answer(f"/static/style/{file.name}").body
        assert len(sent) < file.stat().st_size
        rules = page.evaluate(RULES, [file.read_text(), bytes(sent).decode()])

        assert rules[0] == rules[1] != []


RULES = """texts => texts.map(text => {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(text);
    return [...sheet.cssRules].map(rule => rule.cssText.replaceAll(', ', ','));
})"""


def test_vendored_files_are_those_that_were_recorded() -> None:
    rows = json.loads((PAGES / "vendor/vendor.json").read_text())
    found = {row["file"]: hashlib.sha256((PAGES / "vendor" / row["file"]).read_bytes()).hexdigest() for row in rows}

    assert {row["file"]: row["sha256"] for row in rows} == found


def test_each_vendored_file_has_a_row_and_a_licence() -> None:
    rows = json.loads((PAGES / "vendor/vendor.json").read_text())
    licences = (PAGES / "vendor/LICENSES").read_text()
    files = {file.name for file in (PAGES / "vendor").iterdir() if file.suffix in (".js", ".css")}

    assert files == {row["file"] for row in rows}
    assert all(f"{row['package']} {row['version']}" in licences for row in rows)


@pytest.mark.parametrize("file", [*MODULES, *sorted((PAGES / "vendor").glob("*.js"))], ids=lambda file: file.name)
def test_modules_import_by_relative_address_only(file: Path) -> None:
    """An import map would be an inline script, which the policy forbids."""
    imports = re.findall(r"""^(?:import|export)[\s{*][^;"']*?from\s*["']([^"']+)["']""", file.read_text(), re.MULTILINE)

    assert [] == [name for name in imports if not name.startswith(("./", "../"))]


@pytest.mark.parametrize("file", MODULES, ids=lambda file: file.name)
def test_modules_write_no_markup(file: Path) -> None:
    """Names, logs and fields are hostile input: they become text nodes, never HTML."""
    forbidden = (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "dangerouslySet",
        "document.write",
        "eval(",
        "new Function",
    )

    assert [] == [word for word in forbidden if word in file.read_text()]


def test_page_has_no_inline_script_or_style() -> None:
    page = (PAGES / "index.html").read_text()

    assert not re.search(r"<script(?![^>]*src=)|<style|style=|\son\w+=", page)


def test_types_of_the_modules_agree(run_node: Any) -> None:
    """JSDoc types, checked by TypeScript."""
    compiler = Path(__file__).parent / "node_modules/typescript/bin/tsc"
    if not compiler.exists():
        pytest.skip("TypeScript is not installed (npm install --prefix tests/web/pages)")
    done = run_node(str(compiler), "-p", "tsconfig.json")

    assert (0, "") == (done.returncode, done.stdout), done.stderr


def test_pure_modules_pass_their_units(run_node: Any) -> None:
    """The URL codec, the chart format, colours and texts, without a browser."""
    done = run_node("--test", *[str(file) for file in sorted(Path(__file__).parent.glob("*.test.mjs"))])

    assert 0 == done.returncode, done.stdout[-4000:]


PARSED = """
import fs from "node:fs";
import vm from "node:vm";
for (const name of process.argv.slice(1)) {
    try {
        new vm.SourceTextModule(fs.readFileSync(name, "utf8"), { identifier: name });
    } catch (error) {
        console.log(name, error.message);
    }
}
"""


@pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")
def test_modules_parse(tmp_path: Path) -> None:
    """All in one process, which starts in a fourth of a second."""
    (tmp_path / "wrong.js").write_text("let = ;")
    command = ["node", "--no-warnings", "--experimental-vm-modules", "--input-type=module", "--eval", PARSED]
    files = [*map(str, MODULES), str(tmp_path / "wrong.js")]
    done = subprocess.run([*command, *files], capture_output=True, text=True, check=False)

    assert "" == done.stderr
    assert [str(tmp_path / "wrong.js")] == [line.split()[0] for line in done.stdout.splitlines()]
