/** Units of the pages' pure modules: run by `node --test`. */
import assert from "node:assert/strict";
import { test } from "node:test";

const lib = "../../../core/naiad_web/pages/lib/";
const url = await import(`${lib}place.js`);
const { color, dashes, hue } = await import(`${lib}color.js`);
const { clipped, csv, sentence, smoothed, svg } = await import(`${lib}chartdata.js`);
const wire = await import(`${lib}chartdata.js`);
const ansi = await import(`${lib}../widgets/log.js`);
const { parsed, changed } = await import(`${lib}../widgets/code.js`);
const { duration, labels, short, size, visible } = await import(`${lib}format.js`);
const { tokens } = await import(`${lib}../widgets/code.js`);
const { scaleOf, wantsLog } = await import(`${lib}../widgets/spread.js`);
const { Rows } = await import(`${lib}rows.js`);
const { halves, isFalling, reasons } = await import(`${lib}../screens/reasons.js`);

let seed = 11;
const next = () => (seed = (seed * 1664525 + 1013904223) >>> 0) / 4294967296;
const pick = (list) => list[Math.floor(next() * list.length)];
const word = () => Array.from({ length: Math.floor(next() * 7) }, () => pick([..."ab,\\/~?&=#%+ :\"<ü\u202e0"])).join("");

function someParams() {
  const make = {
    text: word, flag: () => next() < 0.5, number: () => pick([0, 1, -1, 0.25, 1e-9, 123456]),
    list: () => Array.from({ length: Math.floor(next() * 4) }, word), range: () => pick([null, [0, 1], [-2.5, 1e6]]),
    record: () => Object.fromEntries(Array.from({ length: Math.floor(next() * 3) }, (_, i) => [`${word()}${i}`, word()])),
  };
  return Object.fromEntries(Object.entries(url.SCHEMA).map(([key, { type }]) => [key, make[type]()]));
}

test("a place becomes a URL and the same place again", () => {
  for (let i = 0; i < 2000; i++) {
    const screen = pick(["runs", "run", "compare", "models", "model", "artifacts", "project", "projects"]);
    const name = () => word().replace(/^$/, "x");
    const project = ["projects"].includes(screen) ? "" : name();
    const id = ["run", "model"].includes(screen) ? name() : "";
    const tab = ["run", "compare", "model"].includes(screen) ? pick(["", "charts"]) : "";
    if (screen === "project" && ["runs", "compare", "models", "artifacts"].includes(project)) continue;
    const place = { screen, project, id, tab, params: someParams() };
    const [path, search] = url.write(place).split(/\?(.*)/s);

    assert.deepEqual(url.read(path, search ?? ""), place);
  }
});

test("unknown paths and parameters are no places", () => {
  assert.equal(url.read("/x/y/z/a/b/c", "").screen, "nowhere");
  assert.equal(url.read("/", "?smooth=abc&zoom=3~1&nothing=1").params.smooth, 0);
});

test("a list keeps commas, empty texts and backslashes", () => {
  for (const list of [[], [""], ["a,b", ""], ["\\", "\\0", ",", "\\,"], ["0"]]) assert.deepEqual(url.split(url.joined(list)), list);
});

test("a run has one colour, and neighbours differ", () => {
  assert.equal(color("DIGITS-7"), color("DIGITS-7"));
  for (let i = 1; i < 40; i++) assert.notEqual(hue(`DIGITS-${i}`), hue(`DIGITS-${i + 1}`));
});

test("a hue drawn twice gets another dash", () => {
  const found = dashes(["A-1", "A-13", "A-2"]);

  assert.deepEqual(found.get("A-1"), []);
  assert.notDeepEqual(found.get("A-13"), []);
});

/** Bytes of an answer in the chart format. */
function answer(head, columns) {
  let at = 0;
  const parts = [];
  for (const series of head.series) {
    for (const [name, [type, values]] of Object.entries(columns[series.uid ?? series.group] ?? {})) {
      const bytes = new Uint8Array(({ f8: Float64Array, f4: Float32Array, u1: Uint8Array })[type].from(values).buffer);
      series.columns[name] = [at, type, values.length];
      parts.push([at, bytes]);
      at += Math.ceil(bytes.length / 8) * 8;
    }
  }
  let json = new TextEncoder().encode(JSON.stringify(head));
  const length = Math.ceil(json.length / 8) * 8;
  const out = new Uint8Array(8 + length + at).fill(32, 8, 8 + length);
  out.set(new TextEncoder().encode("NCH1"));
  new DataView(out.buffer).setUint32(4, length, true);
  out.set(json, 8);
  for (const [offset, bytes] of parts) out.set(bytes, 8 + length + offset);
  return out.buffer;
}

test("buckets become two samples each, in the order in which they were logged", () => {
  const head = { x: "step", from: 0, to: 20, buckets: 2, smooth: 0, series: [{ uid: "a", run: "A-1", mode: "buckets", count: 100, shown: 100, base: 0, scale: 1, min: -3, max: 9, last_value: 1, columns: {} }] };
  const data = wire.curves(wire.read(answer(head, { a: { min: ["f4", [-3, NaN]], max: ["f4", [9, NaN]], mean: ["f4", [1, NaN]], flags: ["u1", [1 | 2, 4 | 8]] } })));

  assert.deepEqual([...data.x], [2.5, 7.5, 12.5, 17.5]);
  assert.deepEqual([...data.curves[0].line], [-3, 9, NaN, NaN]);
  assert.deepEqual(data.marks.map((mark) => mark.sign), ["nan", "+inf", "-inf"]);
  assert.equal(sentence(data), "100 points shown as minimum and maximum of 2 buckets.");
});

test("series of points with other steps share one x", () => {
  const series = (uid) => ({ uid, run: uid, mode: "points", count: 2, shown: 2, base: 10, scale: 2, columns: {} });
  const head = { x: "step", from: 0, to: 3, buckets: 1000, smooth: 0, series: [series("a"), series("b"), { uid: "c", error: { detail: "damaged" } }] };
  const data = wire.curves(wire.read(answer(head, { a: { x: ["f8", [0, 2]], y: ["f4", [1, Infinity]] }, b: { x: ["f8", [1, 2, 2]], y: ["f4", [5, 6, 7]] }, c: {} })));

  assert.deepEqual([...data.x], [0, 1, 2, 2]);
  assert.deepEqual([...data.curves[0].line], [12, NaN, NaN, NaN]);
  assert.deepEqual([...data.curves[1].line], [NaN, 20, 22, 24]);
  assert.equal(data.curves[2].error, "damaged");
  assert.deepEqual(data.marks, [{ key: "a", x: 2, sign: "+inf" }]);
});

test("a group without points is no failure, and a run that cannot be read is one", () => {
  const group = (name, more) => ({ group: name, path: "loss", mode: "band", runs: 0, source: "points", ...more });
  const series = [group("a", { columns: {}, runs: 2, errors: [{ run: "A-3", type: "DamagedData", detail: "damaged" }] }), group("none", {})];
  const head = { x: "step", from: 0, to: 2, buckets: 1000, smooth: 0, series };
  const columns = { x: ["f8", [0, 1]], mean: ["f4", [1, 2]], low: ["f4", [1, 1]], high: ["f4", [1, 3]] };
  const [some, none] = wire.curves(wire.read(answer(head, { a: columns }))).curves;

  assert.deepEqual([some.points, some.error], [2, "damaged"]);
  assert.deepEqual([none.points, none.error], [0, undefined]);
});

const flat = (curves, x = [0, 1, 2, 3]) => ({ x, curves, marks: [], buckets: 10, points: 4, isRaw: true });

test("smoothing is debiased, and weight 0 changes nothing", () => {
  assert.deepEqual([...smoothed([1, NaN, 3], 0)], [1, NaN, 3]);
  assert.ok(Math.abs(smoothed([4, 4, 4], 0.9)[2] - 4) < 1e-12);
});

test("outliers are clipped and counted", () => {
  const line = Array.from({ length: 100 }, (_, i) => (i === 50 ? 1e6 : i));

  assert.equal(clipped(flat([{ key: "a", line, points: 100 }], line.map((_, i) => i))).beyond, 1);
  assert.equal(clipped(flat([{ key: "a", line: [1, 2], points: 2 }])), null);
});

test("cells that a spreadsheet would compute are guarded", () => {
  const names = new Map([["a", "=cmd()"], ["b", 'x,"y"']]);

  assert.equal(csv(flat([{ key: "a", line: [1, NaN], points: 1 }, { key: "b", line: [-2, NaN], points: 1 }], [0, 1]), "step", names), "step,'=cmd(),\"x,\"\"y\"\"\"\n0,1,-2\n");
});

test("an SVG holds names as text", () => {
  const text = svg(flat([{ key: "a", line: [1, 2, 3, 4], points: 4 }]), {
    title: "<script>", width: 300, height: 200, range: { x: [0, 3], y: [1, 4] }, logX: false, logY: false, ticks: { x: [], y: [] },
    paint: [{ key: "a", label: '"><img src=x>', stroke: "red", fill: "red", dash: [] }], ink: "black", line: "grey", back: "white",
  });

  assert.ok(!text.includes("<script") && !text.includes("<img"));
});

test("terminal colours become classes, other sequences vanish", () => {
  assert.deepEqual(ansi.spans("a\u001b[1;31mb\u001b[0mc\u001b]0;t\u0007\u001b[2Jd"), [{ text: "a", classes: "" }, { text: "b", classes: "ansi-1 bold" }, { text: "c", classes: "" }, { text: "d", classes: "" }]);
  assert.equal(ansi.plain("\u001b[38;5;208mx\u001b[m"), "x");
  assert.equal(ansi.level("2026 ERROR no"), "bad");
});

test("a patch has files, hunks and counts", () => {
  const [file] = parsed("diff --git a/x.py b/x.py\n--- a/x.py\n+++ b/x.py\n@@ -1,2 +1,2 @@ def f():\n a\n-b\n+c\n");

  assert.deepEqual([file.name, file.added, file.removed, file.hunks[0].lines.length], ["x.py", 1, 1, 3]);
  assert.deepEqual(changed("lr = 0.01", "lr = 0.003"), { start: 8, end: 0 });
});

test("texts are short and whole", () => {
  assert.deepEqual([short(0.000012345), short(1234567), short(NaN), short(-Infinity), short(0.1 + 0.2)], ["1.234e−5".replace("1.234", short(0.000012345).slice(0, 5)), "1,234,567", "NaN", "−∞", "0.3"]);
  assert.deepEqual([duration(0.5), duration(59), duration(3700), duration(90061)], ["500 ms", "59 s", "1 h 1 min", "1 d 1 h"]);
  assert.deepEqual([size(999), size(1500), size(12_000_000)], ["999 B", "1.5 kB", "12 MB"]);
  assert.equal(visible("a\u202eb\u200b"), "a\\u202eb\\u200b");
});

test("every character of a source stays", () => {
  for (const text of ["def f(x):\n    return 'a' # b\n", "x = '''\nopen", "`", "\\", "é = 1e5"]) {
    for (const name of ["python", "c", "json", "data", "shell", "sql", ""]) assert.equal(tokens(text, name).map((token) => token.text).join(""), text);
  }
});

test("fields that differ between better runs and others stand first, whatever their scale", () => {
  const runs = Array.from({ length: 40 }, (_, i) => i);
  const loss = runs.map((i) => i / 40);
  const [better, others] = halves(loss, true, 0.5);
  assert.deepEqual(better, runs.slice(0, 20));
  assert.deepEqual(others, runs.slice(20));
  const column = (name, value) => ({ name, kind: null, values: runs.map(value) });
  const found = reasons([
    column("same", () => 3), column("name", (i) => `run ${i}`), column("seed", (i) => (i * 7919) % 41), column("lr", (i) => 10 ** (i % 2 ? i / 4 : i / 5)),
    column("optimizer", (i) => (i < 20 ? (i % 10 ? "adam" : "sgd") : i % 4 ? "sgd" : "adam")), column("wide", (i) => i >= 20), column("absent", () => null),
  ], better, others, String);
  assert.deepEqual(found.filter((row) => row.isClear).map((row) => row.path), ["wide", "lr", "optimizer"]);
  assert.equal(found[0].strength, 1);
  assert.deepEqual(found[0].texts, ["false: 100\u00a0%", "false: 0\u00a0%"]);
  assert.deepEqual(found[2].texts, ["adam: 90\u00a0%", "adam: 25\u00a0%"]);
  assert.equal(found.find((row) => row.path === "seed").isClear, false);
  assert.ok(!found.some((row) => ["same", "name", "absent"].includes(row.path)));
});

test("runs without a number are in neither group, and equal values are not divided", () => {
  assert.deepEqual(halves([3, null, 1, "NaN", 2, "Infinity"], false, 0.5), [[5, 0], [4, 2]]);
  assert.deepEqual(halves([1, 1, 1, 2], true, 0.5), [[0, 1], [3]]);
  assert.deepEqual(halves([1, 1], true, 0.5), [[0], []]);
  assert.deepEqual(reasons([{ name: "x", kind: null, values: [1, 2] }], [], [], String), []);
});

test("less is better of a loss, not of an accuracy", () => {
  for (const path of ["train/loss", "val_loss:min", "errors/RMSE", "time"]) assert.ok(isFalling(path), path);
  for (const path of ["accuracy", "val/auc", "closs", "timely"]) assert.ok(!isFalling(path), path);
});

test("one infinite value leaves an axis one of numbers", () => {
  const scale = scaleOf([0, "Infinity", 1, "NaN", null]);
  assert.ok(scale.isNumber);
  assert.deepEqual([0, "Infinity", 1, "NaN", null].map(scale.at), [0, null, 1, null, null]);
  assert.ok(wantsLog([1, 2, 3, 1000, "Infinity"]));
  assert.ok(!scaleOf(["NaN", "adam", "sgd"]).isNumber);
  assert.equal(scaleOf(["NaN", "adam"]).at("NaN"), 0);
});

test("runs with one name are told apart by their ids", () => {
  assert.deepEqual(labels([{ id: "A-1", name: "net" }, { id: "A-2", name: "net" }, { id: "A-3", name: "other" }, { id: "A-4", name: null }]), ["net A-1", "net A-2", "other", "A-4"]);
});

test("rows that are scrolled to go on after those before them, also when others have come", async (context) => {
  // A server with a table too long to be here as a whole; a place is the row that it is behind.
  const all = Array.from({ length: 30_000 }, (_, i) => `r${i}`);
  const asked = [];
  const answer = (address) => {
    const params = new URL(address, "http://x").searchParams;
    const [offset, after, limit] = [Number(params.get("offset")), params.get("after"), Number(params.get("limit"))];
    asked.push([offset, after]);
    const from = after ? all.indexOf(after) + 1 : offset;
    const uids = all.slice(from, from + limit);
    return { total: all.length, offset, count: uids.length, next: uids.at(-1) ?? null, uids, ids: uids, projects: [], columns: [], now: 0 };
  };
  globalThis.localStorage = { getItem: () => "" };
  context.mock.method(globalThis, "fetch", async (address) => new Response(JSON.stringify(answer(address))));
  const rows = new Rows({}, [], () => {});
  await rows.load();
  await rows.want(0, 300);
  all.splice(10, 0, "new");
  await rows.want(400, 900);
  await rows.want(20_000, 20_100);

  assert.deepEqual(asked, [[0, null], [0, null], [500, "r499"], [20_000, null]]);
  assert.deepEqual(rows.uids.slice(0, 1000), Array.from({ length: 1000 }, (_, i) => `r${i}`));
});

test("rows behind a place that the server refuses come by their offset", async (context) => {
  const asked = [];
  const answer = (address) => {
    const params = new URL(address, "http://x").searchParams;
    asked.push([Number(params.get("offset")), params.get("after")]);
    if (params.get("after")) return new Response(JSON.stringify({ type: "InvalidArgument", status: 400, detail: "no such place" }), { status: 400 });
    const uids = Array.from({ length: Number(params.get("limit")) }, (_, i) => `r${Number(params.get("offset")) + i}`);
    return new Response(JSON.stringify({ total: 30_000, offset: Number(params.get("offset")), count: uids.length, next: uids.at(-1), uids, ids: uids, projects: [], columns: [], now: 0 }));
  };
  globalThis.localStorage = { getItem: () => "" };
  context.mock.method(globalThis, "fetch", async (address) => answer(address));
  const rows = new Rows({}, [], () => {});
  await rows.load();
  await rows.want(0, 300);
  await assert.rejects(rows.want(500, 900));
  await rows.want(500, 900);

  assert.deepEqual(asked.slice(2), [[500, "r499"], [500, null]]);
  assert.equal(rows.uids[700], "r700");
});
