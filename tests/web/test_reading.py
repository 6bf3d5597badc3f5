"""What the interface answers is what was logged."""

from __future__ import annotations

import csv
import io
import json
import math
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.web.conftest import Reply, Server, start, target

import naiad
from naiad.storage.local.store import Store
from naiad_web.server import texts
from naiad_web.server.fields import SHOWN_AS, media_of

FULL = "DIGITS-13"
HOSTILE = "<img src=x onerror=alert(1)>"
QUIET: dict[str, Any] = {
    "capture_stdout": False, "capture_stderr": False, "capture_hardware_metrics": False, "git_ref": False,
}  # fmt: skip
TYPES = {"f4": "<f4", "f8": "<f8", "u1": "u1"}


def drawn(reply: Reply) -> tuple[dict[str, Any], list[dict[str, np.ndarray]]]:
    """The head of a chart and its columns, read as core/docs/http-api.md describes the bytes."""
    assert reply.status == 200, reply.body[:300]
    assert reply.header("content-type") == "application/vnd.naiad.chart"
    assert reply.body[:4] == b"NCH1"
    (length,) = struct.unpack("<I", reply.body[4:8])
    assert length % 8 == 0
    head = json.loads(reply.body[8 : 8 + length])
    columns = []
    for series in head["series"]:
        own = {}
        for name, (at, kind, count) in series.get("columns", {}).items():
            assert at % 8 == 0
            own[name] = np.frombuffer(reply.body, TYPES[kind], count, 8 + length + at).astype(np.float64)
            if kind == "f4" and name != "n":
                own[name] = series["base"] + series["scale"] * own[name]
        columns.append(own)
    return head, columns


# Tables


def test_table_has_the_columns_asked_for_in_order(server: Server) -> None:
    found = server.get(
        "/table", project="digits", column=["params/lr", "train/metric_0:min", "nothing"],
        sort=["params/lr", "train/metric_0:min"], order=["asc", "desc"],
    )  # fmt: skip

    lr, low, missing = (column["values"] for column in found["columns"])
    assert (found["total"], found["count"]) == (13, 13)
    assert lr == sorted(lr)
    assert all(low[n] >= low[n + 1] for n in range(11) if lr[n] == lr[n + 1])
    assert [column["kind"] for column in found["columns"]] == ["float", "float_series", None]
    assert missing == [None] * 13
    assert low == [float(naiad_value(server, run, "train/metric_0")) if run != FULL else None for run in found["ids"]]


def naiad_value(server: Server, run: str, path: str) -> float:
    """The least stored value of a series."""
    [series] = server.get("/series", run=run, path=path)["series"]
    return float(min(series["values"]))


def test_pages_of_a_table_join(server: Server) -> None:
    whole = server.get("/table", sort="sys/creation_time")["ids"]
    parts = [each for at in range(0, 15, 5) for each in server.get("/table", limit=5, offset=at)["ids"]]

    assert whole == parts
    assert len(set(whole)) == 13


def test_rows_that_are_asked_for_by_id_are_those_that_exist(server: Server) -> None:
    """A page asks for a row that changed, which may be deleted by then; the others have to be answered."""
    uids, ids = (server.get("/table", limit=2)[name] for name in ("uids", "ids"))

    found = server.get("/table", id=[uids[0], "01a1aec4c2fe6db67cfb06eaa8c1ce4e", "NO-1", ids[1]])
    none = server.get("/table", id=["NO-1"])

    assert sorted(ids) == sorted(found["ids"])
    assert (0, []) == (none["total"], none["ids"])


def test_page_after_another_one_goes_on_where_that_ended(server: Server) -> None:
    by = {"sort": ["train/metric_0:min", "sys/id"], "order": ["desc", "asc"]}
    whole = server.get("/table", **by)
    first = server.get("/table", limit=5, **by)
    second = server.get("/table", limit=5, after=first["next"], offset=5, **by)
    third = server.get("/table", limit=5, after=second["next"], **by)
    again = server.get("/table", limit=5, after=first["next"], offset=10, **by)

    assert whole["ids"] == first["ids"] + second["ids"] + third["ids"]
    assert (13, 5, 13) == (second["total"], second["offset"], third["total"])
    assert (None, None) == (whole["next"], third["next"])
    assert second["ids"] == again["ids"]
    assert 400 == server.send("GET", "/api/v1/table?after=!").status
    assert 400 == server.send("GET", f"/api/v1/table?offset={2**64}").status


def test_page_after_a_row_with_a_very_long_text_goes_on_there(tmp_path: Path) -> None:
    """Some differ in their first character, some only behind those that are compared; `next` stands in an address."""
    texts = ["k" * kept + letter * 100_000 for kept in (0, 500, 5_000) for letter in "cb\N{PILE OF POO}b"]
    for text in texts:
        with naiad.init_run(store=tmp_path / "store", project="long", **QUIET) as run:
            run["notes"], run["other"] = text, text[::-1]
    own = start(tmp_path / "store", tmp_path / "state")
    try:
        for order in (["asc", "asc"], ["desc", "asc"]):
            by = {"sort": ["notes", "other"], "order": order, "column": ["sys/id"]}
            whole, ids, end = own.get("/table", **by)["ids"], list[str](), ""
            while end is not None:
                page = own.get("/table", limit=1, after=end, **by)
                ids, end = ids + page["ids"], page["next"]
            assert 12 == len(whole)
            assert whole == ids
    finally:
        own.stop()


def test_query_filters_and_a_wrong_one_says_where(server: Server) -> None:
    found = server.get("/table", query='sys/tags:stringSet CONTAINS "best"', column="sys/tags")
    wrong = server.send("GET", target("/table", query="lr:float > x"))

    assert found["ids"] == ["DIGITS-8", "DIGITS-1"]
    assert (wrong.status, wrong.json["type"], wrong.json["column"]) == (400, "InvalidQuery", 12)
    assert wrong.header("content-type") == "application/problem+json"
    checked = server.get("/query", query="lr:float > x", at=5)
    assert (checked["is_valid"], checked["error"]["column"]) == (False, 12)
    assert server.get("/query", query="params/l", at=8)["suggestions"][:2] == ["params/large", "params/lr"]
    assert "params/lr" in server.get("/table", query="paramz/lr > 0")["unmatched"][0]["nearby"]


def test_patterns_stand_for_columns(server: Server) -> None:
    names = [each["name"] for each in server.get("/table", column="train/metric_*:max")["columns"]]

    assert names == [f"train/metric_{n}:max" for n in range(8)]


def test_group_is_what_its_rows_say(server: Server) -> None:
    found = server.get("/groups", by=["params/optimizer"], column=["params/lr"])
    [by], [column] = found["by"], found["columns"]

    for value, count, n in zip(by["values"], found["counts"], range(3), strict=False):
        group = json.dumps([["params/optimizer", value]])
        rows = server.get("/table", group=group, column=["params/lr"])
        values = [each for each in rows["columns"][0]["values"] if each is not None]
        if value is not None:
            assert rows["total"] == count
            assert (min(values), max(values)) == (column["min"][n], column["max"][n])
            assert math.isclose(sum(values) / len(values), column["mean"][n])
    assert sum(found["counts"]) == 13


def test_export_is_what_is_shown_and_guards_formulas(server: Server, tmp_path: Path) -> None:
    reply = server.send("GET", target("/table", format="csv", column=["sys/id", "sys/name", "params/lr"], limit=5))
    rows = list(csv.reader(io.StringIO(reply.body.decode())))
    records = server.send("GET", target("/table", format="records", column=["sys/id", "params/lr"], limit=2)).json

    assert rows[0] == ["sys/id", "sys/name", "params/lr"]
    assert [row[0] for row in rows[1:]] == [FULL, "DIGITS-12", "DIGITS-11", "DIGITS-10", "DIGITS-9"]
    assert "attachment" in reply.header("content-disposition")
    assert records[0] == {"sys/id": FULL, "params/lr": 0.1}


def test_arrow_is_read_by_pyarrow(server: Server) -> None:
    pa = pytest.importorskip("pyarrow", reason="Arrow needs pyarrow, which is optional")
    table = server.send("GET", target("/table", format="arrow", column=["sys/id", "params/lr"]))
    series = server.send("GET", target("/series", format="arrow", run=FULL, path="train/odd"))

    assert pa.ipc.open_stream(table.body).read_all().column("sys/id").to_pylist()[0] == FULL
    values = pa.ipc.open_stream(series.body).read_all().column("value").to_pylist()
    assert [str(each) for each in values] == ["1.0", "nan", "inf", "-inf", "2.0"]


def test_columns_values_and_projects_are_listed(server: Server) -> None:
    columns = server.get("/columns", search="METRIC train", limit=2)

    assert (columns["total"], columns["columns"][0]["path"]) == (8, "train/metric_0")
    assert {"value": "best", "count": 2} in server.get("/values", path="sys/tags")["values"]
    [project] = server.get("/projects")["projects"]
    assert (project["name"], project["runs"], project["models"]) == ("digits", 13, 1)
    assert server.get("/usage")["containers"] == {"run": 13, "model": 1, "model_version": 2, "project": 0}


def test_comparison_tells_what_differs(server: Server) -> None:
    found = server.get("/compare", run=["DIGITS-1", FULL], differs=True, prefix="params")
    rows = {row["path"]: row for row in found["fields"]}

    assert [run["id"] for run in found["runs"]] == ["DIGITS-1", FULL]
    assert rows["params/large"]["values"] == [None, str(2**60)]
    assert all(row["differs"] for row in found["fields"])


def test_comparison_of_a_deleted_run_has_the_columns_of_the_others(server: Server) -> None:
    uid = "01a1aec4c2fe6db67cfb06eaa8c1ce4e"
    found = server.get("/compare", run=["DIGITS-1", uid, FULL], prefix="params")
    rows = {row["path"]: row for row in found["fields"]}

    assert ["DIGITS-1", uid, FULL] == [run["id"] for run in found["runs"]]
    assert [False, True, False] == ["error" in run for run in found["runs"]]
    assert "RunNotFound" == found["runs"][1]["error"]["type"]
    assert [None, None, str(2**60)] == rows["params/large"]["values"]
    assert 404 == server.send("GET", target("/compare", run=[uid])).status


def test_every_form_that_a_browser_plays_has_its_type() -> None:
    """Whatever the machine has in its table of types, which calls x.pt a file of a game console on some."""
    kinds = [(kind, media_of(each)) for kind in ("image", "audio", "video") for each in SHOWN_AS[kind].split()]

    assert all(media.startswith(f"{kind}/") for kind, media in kinds)
    assert media_of("pt") == media_of("safetensors") == "application/octet-stream"


# One container


def test_header_tree_and_search(server: Server) -> None:
    head = server.get(f"/containers/{FULL}")
    root = server.get(f"/containers/{FULL}/tree")
    train = server.get(f"/containers/{FULL}/tree", prefix="train")
    found = server.get(f"/containers/{FULL}/fields", search="LOSS train")

    assert (head["id"], head["name"], head["state"]) == (FULL, f"full {HOSTILE}", "finished")
    assert head["tracebacks"] == ["monitoring/demo/traceback"]
    assert {"train", "params", "files"} <= {each["name"] for each in root["namespaces"]}
    [loss, odd] = train["fields"]
    assert (loss["count"], loss["min"], loss["max"], loss["last"]["step"]) == (200_000, -3.0, 9.0, 199_999)
    assert (odd["count"], odd["min"], odd["max"]) == (5, 1.0, 2.0)
    assert found == {"total": 1, "fields": [{"path": "train/loss", "kind": "float_series"}]}


def test_long_texts_are_cut_in_lists_and_whole_alone(server: Server) -> None:
    [text] = [
        each for each in server.get(f"/containers/{FULL}/tree", prefix="params")["fields"] if each["name"] == "text"
    ]

    assert (len(text["value"]), text["cut"]) == (1_000, True)
    assert len(server.get(f"/containers/{FULL}/value", path="params/text")["value"]) == 5_000


def test_models_have_versions_with_stages(server: Server) -> None:
    found = server.get("/containers/DIGITS-CNN/versions")

    assert [each["id"] for each in found["versions"]] == ["DIGITS-CNN-2", "DIGITS-CNN-1"]
    assert found["stages"] == {"none": 1, "production": 1}


# Series


def test_series_are_exact(server: Server) -> None:
    [odd] = server.get("/series", run=FULL, path="train/odd")["series"]
    [some] = server.get("/series", run=FULL, path="train/loss", from_=77_776, to=77_778)["series"]

    assert odd["values"] == [1.0, "NaN", "Infinity", "-Infinity", 2.0]
    assert (some["steps"], some["values"][1], some["total"]) == ([77_776, 77_777, 77_778], 9.0, 3)
    text = server.send("GET", target("/series", run=FULL, path="train/odd", format="csv")).body.decode()
    assert [line.rpartition(",")[2] for line in text.splitlines()] == ["value", "1.0", "nan", "inf", "-inf", "2.0"]


@pytest.mark.parametrize("buckets", [7, 50, 300, 1000])
@pytest.mark.parametrize("smooth", [0, 0.9])
def test_no_spike_is_lost_at_any_width(server: Server, buckets: int, smooth: float) -> None:
    reply = server.send("GET", target("/chart", run=FULL, path="train/loss", buckets=buckets, smooth=smooth))
    head, [columns] = drawn(reply)
    [series] = head["series"]

    assert (series["mode"], series["count"], series["min"], series["max"]) == ("buckets", 200_000, -3.0, 9.0)
    width = (head["to"] - head["from"]) / buckets
    for place, value, of in ((77_777, 9.0, "max"), (150_001, -3.0, "min")):
        at = int(np.nanargmax(columns[of]) if of == "max" else np.nanargmin(columns[of]))
        assert columns[of][at] == value
        assert abs(at - place / width) <= 1 + 256 / width
    assert ("smooth" in columns) == bool(smooth)
    assert len(reply.body) <= 30_000


def test_zoom_reaches_the_points(server: Server) -> None:
    reply = server.send("GET", target("/chart", run=FULL, path="train/loss", from_=77_700, to=77_800))
    head, [columns] = drawn(reply)

    assert head["series"][0]["mode"] == "points"
    assert columns["x"].tolist() == list(range(77_699, 77_802))
    assert columns["y"][78] == 9.0


def test_chart_of_a_long_series_follows_it(tmp_path: Path) -> None:
    """Its stretches are remembered until it has another point, or another value in place of one."""
    asked = {"path": "loss", "buckets": 300}
    with naiad.init_run(store=tmp_path / "store", project="p", **QUIET) as run:
        run["loss"].extend(np.sin(np.arange(200_000)))
        name = run["sys/id"].fetch()
    server = start(tmp_path / "store", tmp_path / "state")
    try:
        route = target("/chart", run=name, **asked)
        once, again = drawn(server.send("GET", route)), drawn(server.send("GET", route))
        part = {"run": name, "path": "loss", "buckets": 4, "from_": 40_000, "to": 160_000}
        zoomed, [inside] = drawn(server.send("GET", target("/chart", **part)))
        with naiad.init_run(store=tmp_path / "store", project="p", with_id=name, **QUIET) as run:
            run["loss"].append(7.0)
        longer, [columns] = drawn(server.send("GET", route))
        with naiad.init_run(store=tmp_path / "store", project="p", with_id=name, **QUIET) as run:
            run["loss"].clear()
            run["loss"].extend(np.cos(np.arange(200_001)))
        other, [others] = drawn(server.send("GET", route))
    finally:
        server.stop()

    assert "pyramid" == once[0]["series"][0]["source"] == longer["series"][0]["source"] == other["series"][0]["source"]
    assert once[0]["series"] == again[0]["series"]
    assert ("pyramid", 40_000, 160_000) == (zoomed["series"][0]["source"], zoomed["from"], zoomed["to"])
    assert [pytest.approx(1, abs=1e-4)] * 4 == inside["max"].tolist()
    assert (200_000, 200_001) == (longer["series"][0]["last"], longer["series"][0]["count"])
    assert 7.0 == pytest.approx(columns["max"][-1])
    assert 1.0 >= np.nanmax(others["max"])


@pytest.mark.parametrize("ends", [(77_700, 77_800), (150_000, None), (None, 3_000), (60_000, 90_000), (5e9, 6e9)])
def test_zoomed_chart_of_a_long_series_is_drawn_from_the_points_in_its_range(
    server: Server, ends: tuple[float | None, float | None]
) -> None:
    """The whole series may be larger than the memory. The picture is that of all points."""
    start, stop = ends
    asked = {name: each for name, each in (("from_", start), ("to", stop)) if each is not None}
    reply = server.send("GET", target("/chart", run=FULL, path="train/loss", buckets=300, **asked))
    head, [columns] = drawn(reply)
    every = server.send("GET", target("/chart", run=FULL, path="train/loss", buckets=300, points=True, **asked))
    whole_head, [whole] = drawn(every)

    assert (head["from"], head["to"]) == (whole_head["from"], whole_head["to"])
    names = ("count", "first", "last", "min", "max", "not_finite")
    assert [head["series"][0].get(name) for name in names] == [whole_head["series"][0].get(name) for name in names]
    if head["series"][0]["mode"] == "points":
        assert whole["x"].tolist() == columns["x"].tolist()
        assert whole["y"].tolist() == columns["y"].tolist()


def test_smoothing_is_that_of_all_raw_points(server: Server) -> None:
    [series] = server.get("/series", run="DIGITS-1", path="train/metric_0")["series"]
    mean, weight, expected = 0.0, 0.8, []
    for n, value in enumerate(series["values"], 1):
        mean = weight * mean + (1 - weight) * value
        expected.append(mean / (1 - weight**n))
    reply = server.send("GET", target("/chart", run="DIGITS-1", path="train/metric_0", smooth=0.8, from_=100))
    _head, [columns] = drawn(reply)

    assert np.allclose(columns["smooth"], expected[99:], rtol=1e-6)


def test_x_may_be_time_or_another_series(server: Server) -> None:
    for x in ("relative", "time", "series:train/metric_1"):
        reply = server.send("GET", target("/chart", run="DIGITS-1", path="train/metric_0", x=x))
        head, [columns] = drawn(reply)

        assert (np.diff(columns["x"]) >= 0).all()
        assert head["series"][0]["shown"] == 200
    wrong = server.send("GET", target("/chart", run="DIGITS-1", path="train/metric_0", x="moon"))
    assert wrong.status == 400


def test_marks_of_what_is_not_finite(server: Server) -> None:
    _head, [columns] = drawn(server.send("GET", target("/chart", run=FULL, path="train/odd", buckets=2)))

    assert columns["flags"].tolist() == [2.0, 12.0 + 0 * 1]


def test_equal_steps_travel_once(server: Server) -> None:
    paths = [f"train/metric_{n}" for n in range(8)]
    runs = [f"DIGITS-{n}" for n in range(1, 13)]
    head, columns = drawn(server.send("POST", "/api/v1/chart", {"run": runs, "path": paths}))

    assert len(columns) == 96
    assert len({series["columns"]["x"][0] for series in head["series"]}) == 1


def test_groups_have_a_mean_and_a_band(server: Server) -> None:
    groups = [{"name": "all", "runs": [f"DIGITS-{n}" for n in range(1, 13)]}]
    head, [columns] = drawn(server.send("POST", "/api/v1/chart", {"groups": groups, "path": ["train/metric_0"]}))
    stored = np.array([
        server.get("/series", run=f"DIGITS-{n}", path="train/metric_0")["series"][0]["values"] for n in range(1, 13)
    ])  # fmt: skip

    assert (head["series"][0]["mode"], head["series"][0]["runs"]) == ("band", 12)
    assert np.allclose(columns["mean"], stored.mean(axis=0), rtol=1e-6)
    assert np.allclose(columns["low"], stored.min(axis=0), rtol=1e-6)


def test_nearest_is_a_stored_point(server: Server) -> None:
    [point] = server.get("/nearest", run=FULL, path="train/loss", at=77_777.4)["points"]

    assert (point["step"], point["value"]) == (77_777, 9.0)


def test_one_wrong_series_spares_the_others(server: Server) -> None:
    head, _columns = drawn(server.send("GET", target("/chart", run=[FULL, "DIGITS-99"], path=["train/odd", "when"])))

    assert [series.get("error", {}).get("type") for series in head["series"]] == [
        None, "FieldConflict", "RunNotFound", "RunNotFound",
    ]  # fmt: skip


def test_log_is_paged_searched_and_exported(server: Server) -> None:
    log = {"run": FULL, "path": "logs/console"}
    tail = server.get("/lines", **log, start=-3)
    found = server.get("/lines", **log, search="LINE 499", limit=2)
    regex = server.get("/lines", **log, regex=r"line 49\d\x1b")

    assert (tail["total"], tail["start"], tail["steps"]) == (5_000, 4_997, [4_997, 4_998, 4_999])
    assert tail["texts"][-1] == f"\x1b[37mline 4999\x1b[0m {HOSTILE}"
    assert (found["matches"], found["found"], found["is_complete"]) == ([499, 4_990], 11, True)
    assert regex["matches"] == list(range(490, 500))
    assert server.get("/lines", **log, at_step=100, limit=1)["start"] == 100
    text = server.send("GET", target("/lines", **log, format="text")).body.decode()
    assert text.count("\n") == 5_000


def test_search_that_is_cut_off_goes_on_where_it_stopped(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its parts have together what the whole has, so that a page need not say "not found" of what it did not see."""
    store = Store(demo)
    reader = store.reader(store.find(FULL))
    whole: Any = texts._search(reader, texts.LinesWanted(run=FULL, path="logs/console", search="line 499"))
    monkeypatch.setattr(texts, "SEARCH_SECONDS", -1.0)
    monkeypatch.setattr(texts, "SEARCHED", 1_000)
    matches, at, parts = [], 0, 0
    while True:
        takes = texts.LinesWanted(run=FULL, path="logs/console", search="line 499", start=at)
        part: Any = texts._search(reader, takes)
        matches += part["matches"]
        parts, at = parts + 1, part["searched"]
        if part["is_complete"]:
            break

    assert 5 == parts
    assert whole["matches"] == matches


def test_histograms_and_images(server: Server) -> None:
    found = server.get("/histograms", run=FULL, path="grads/w", limit=3)
    images = server.get("/entries", run=FULL, path="images/samples", start=-2)

    assert (found["total"], found["steps"]) == (20, [0, 10, 19])
    assert sum(found["histograms"][1]["counts"]) == 200
    assert [each["name"] for each in images["files"]] == ["18", "19"]
    image = server.send("GET", target("/file", run=FULL, path="images/samples", index=3))
    assert (image.header("content-type"), image.body[:4]) == ("image/png", b"\x89PNG")


# Files


def test_content_in_ranges(server: Server) -> None:
    model = target("/file", run=FULL, path="files/model")
    whole = server.send("GET", model)
    part = server.send("GET", model, Range="bytes=256-511")
    last = server.send("GET", model, Range="bytes=-3")
    past = server.send("GET", model, Range="bytes=2000000-")
    known = server.send("GET", model, If_None_Match=whole.header("etag"))
    head = server.send("HEAD", model)

    assert whole.body == bytes(range(256)) * 4_000
    assert "attachment" in whole.header("content-disposition")
    assert (part.status, part.body) == (206, bytes(range(256)))
    assert part.header("content-range") == "bytes 256-511/1024000"
    assert (last.body, past.status, known.status, known.body) == (b"\xfd\xfe\xff", 416, 304, b"")
    assert (head.status, head.header("content-length"), head.body) == (200, "1024000", b"")


def test_file_sets_archives_and_previews(server: Server) -> None:
    code = {"run": FULL, "path": "source_code/files"}
    packed = zipfile.ZipFile(io.BytesIO(server.send("GET", target("/zip", **code)).body))
    listed = server.get("/archive", run=FULL, path="files/archive")

    assert [each["name"] for each in server.get("/files", **code)["files"]] == ["data.csv", "train.py"]
    assert packed.testzip() is None
    assert packed.read("train.py") == server.send("GET", target("/file", **code, entry="train.py")).body
    assert [each["name"] for each in listed["files"]] == ["a/b.txt"]
    assert len(listed["refused"]) == 4
    assert (
        server.send("GET", target("/file", run=FULL, path="files/archive", member="a/b.txt")).body
        == b"content of a/b.txt"
    )
    table = server.get("/preview", run=FULL, path="files/table", rows=2)
    assert (table["columns"], table["rows"], table["cut"]) == (["a", "b"], [["0", "0"], ["1", "1"]], True)
    assert server.get("/preview", run=FULL, path="files/book")["cells"][1]["outputs"][0]["text"] == "2"


def test_artifacts_and_who_uses_them(server: Server) -> None:
    found = server.get("/artifact", run=FULL, path="data/train")
    users = server.get("/artifact/users", hash=found["hash"])["users"]

    assert [each["name"] for each in found["files"]] == ["data.csv", "train.py"]
    assert [(each["id"], each["path"]) for each in users] == [(FULL, "data/train")]
    assert server.get("/artifact/users", hash="0" * 64) == {"users": []}


def test_differences_of_files(server: Server) -> None:
    sets = server.get("/diff", left=FULL, right="DIGITS-1", left_path="source_code/files")
    texts = server.get("/diff", left=FULL, right=FULL, left_path="files/notes", right_path="files/table")

    assert [each["name"] for each in sets["removed"]] == ["data.csv", "train.py"]
    assert texts["form"] == "text"
    assert ["-", "# Notes"] in texts["hunks"][0]["lines"]
    assert server.get("/diff", left=FULL, right=FULL, left_path="files/notes")["is_equal"]
    assert server.get("/diff", left=FULL, right="DIGITS-1", left_path="files/model")["form"] == "binary"


# The whole interface


def test_openapi_names_every_route_of_the_page(server: Server) -> None:
    document = server.send("GET", "/api/v1/openapi.json", token=None).json
    page = (Path(__file__).parents[2] / "core/docs/http-api.md").read_text(encoding="utf-8")
    described = set()
    for line in page.splitlines():
        if line.startswith("### ") and "/api/v1" in line:
            methods, path = line.removeprefix("### ").split(" ")
            described |= {(method.lower(), path) for method in methods.split("/") if method != "HEAD"}

    assert described == {(method, path) for path, item in document["paths"].items() for method in item}


def test_openapi_is_valid(server: Server) -> None:
    validator = pytest.importorskip("openapi_spec_validator", reason="it comes with moto, which only tests need")

    validator.validate(server.send("GET", "/api/v1/openapi.json", token=None).json)


def test_unknown_parameters_and_wrong_types_are_refused(server: Server) -> None:
    for route in (
        "/table?colum=x",
        "/table?limit=many",
        "/table?limit=-1",
        "/chart?run=a&path=b&path2=c",
        "/table?limit=1&limit=2",
    ):
        reply = server.send("GET", f"/api/v1{route}")

        assert (reply.status, reply.json["type"]) == (400, "BadRequest"), route


def test_table_sorted_by_too_many_columns_is_refused(server: Server) -> None:
    """Such a request ended the server, whoever sent it."""
    reply = server.send("GET", target("/table", sort=["params/lr"] * 22))

    assert (reply.status, reply.json["type"]) == (400, "InvalidArgument")


def test_answers_are_compressed_and_not_sent_twice(server: Server) -> None:
    plain = server.send("GET", target("/columns", limit=200))
    packed = server.send("GET", target("/columns", limit=200), Accept_Encoding="gzip")
    again = server.send("GET", target("/columns", limit=200), If_None_Match=plain.header("etag"))

    assert packed.header("content-encoding") == "gzip"
    assert len(packed.body) < len(plain.body) / 3
    assert (again.status, again.body) == (304, b"")


def test_stored_values_agree_with_the_library(server: Server, demo: Path) -> None:
    with naiad.init_run(with_id=FULL, store=demo, mode="read-only") as run:
        values = run["train/loss"].fetch_values(include_timestamp=False)["value"].to_numpy()
    [series] = server.get("/series", run=FULL, path="train/loss", limit=200_000)["series"]

    assert series["values"] == values.tolist()
