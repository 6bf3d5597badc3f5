/** A source that answers from the page itself: the file that `naiad export --format html` writes. It makes no request. */
import { read } from "./chartdata.js";

/** @param {string} text */
const words = (text) => (text ?? "").toLowerCase().split(/\s+/).filter(Boolean);
const list = (value) => (value === undefined || value === null || value === "" ? [] : Array.isArray(value) ? value : [value]);

export class MemorySource {
  /** @param {any} kept what the exporter recorded: {about, projects, columns, table, compare, runs: {uid: ...}, charts, files} */
  constructor(kept) {
    this.kept = kept;
    this.isLive = false;
    this.isEditable = false;
    this.onRefused = null;
    this.byId = new Map(Object.values(kept.runs).flatMap((run) => [[run.head.id, run], [run.head.uid, run]]));
  }

  /** @param {string} route @param {any} [params] @returns {Promise<any>} */
  async get(route, params = {}) {
    const { kept } = this;
    const [, first, id, part] = route.split("/");
    if (first === "containers") return this._container(decodeURIComponent(id), part, params);
    const own = {
      "": () => kept.about, "/projects": () => kept.projects, "/columns": () => kept.columns, "/views": () => ({ views: [] }), "/usage": () => ({}),
      "/query": () => ({ is_valid: false, error: { detail: "Queries need the store; find in rows instead.", column: 1 } }), "/values": () => ({ values: [] }),
      "/table": () => this._table(params), "/compare": () => this._compare(params), "/lines": () => this._lines(params), "/nearest": () => ({ points: [] }),
      "/entries": () => this._of(params).entries?.[params.path] ?? missing(), "/artifact": () => this._of(params).artifacts?.[params.path] ?? missing(),
      "/artifact/users": () => ({ users: Object.values(kept.runs).flatMap((run) => Object.entries(run.artifacts ?? {}).filter(([, one]) => one.hash === params.hash).map(([path]) => ({ ...run.head, path }))) }),
      "/files": () => this._of(params).sets?.[params.path] ?? missing(), "/histograms": () => this._of(params).histograms?.[params.path] ?? missing(),
      "/groups": () => this._groups(params),
    }[route];
    return own ? own() : missing();
  }

  /** @param {string} route @param {any} params @returns {Promise<any>} */
  async send(route, params) {
    if (route === "/file") {
      const answer = await fetch(await this.url(route, params));
      return answer;
    }
    return missing();
  }

  /** @param {any} params */
  async chart(params) {
    const paths = list(params.path), ids = new Set(list(params.run));
    const text = this.kept.charts[`${params.x ?? "step"} ${paths[0]}`] ?? this.kept.charts[`step ${paths[0]}`];
    if (!text) return missing();
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const head = read(bytes.buffer);
    return { ...head, series: head.series.filter((series) => ids.has(series.uid)) };
  }

  /** @param {string} _route @param {any} params */
  async url(_route, params) {
    const found = this.kept.files[[params.run, params.path, params.index ?? "", params.entry ?? ""].join("\n")];
    if (found) return found;
    return missing("file");
  }

  async change() {
    return missing();
  }

  events() {
    return () => undefined;
  }

  _of(params) {
    return this.byId.get(list(params.run)[0]) ?? missing();
  }

  _container(id, part, params) {
    const run = this.byId.get(id);
    if (!run) return missing();
    const within = words(params.search);
    const kinds = list(params.kind);
    const fields = run.fields.fields.filter((field) => (!params.prefix || field.path.startsWith(`${params.prefix}/`)) && (!kinds.length || kinds.includes(field.kind)) && within.every((word) => field.path.toLowerCase().includes(word)));
    if (!part) return run.head;
    if (part === "fields") return { total: fields.length, fields };
    if (part === "tree") {
      const own = run.fields.fields.filter((field) => field.path.slice(0, Math.max(0, field.path.lastIndexOf("/"))) === (params.prefix ?? ""));
      return { total: own.length, fields: own, namespaces: [] };
    }
    if (part === "value") return run.values?.[params.path] ?? run.fields.fields.find((field) => field.path === params.path) ?? missing();
    return run[part] ?? missing();
  }

  _table(params) {
    const { table } = this.kept;
    const ids = list(params.id);
    const group = list(params.group).map(([name, value]) => ({ of: this._keys(name), key: JSON.stringify(value) }));
    const rows = table.uids.map((_, i) => i).filter((i) => (!ids.length || ids.includes(table.ids[i]) || ids.includes(table.uids[i])) && group.every(({ of, key }) => JSON.stringify(of[i]) === key));
    const pick = (values) => rows.map((i) => values[i]);
    const columns = list(params.column).map((name) => {
      const held = table.columns.find((column) => column.name === name);
      return held ? { ...held, values: pick(held.values) } : { name, path: name, kind: null, kinds: [], values: rows.map(() => null) };
    });
    return { ...table, total: rows.length, count: rows.length, ids: pick(table.ids), uids: pick(table.uids), projects: pick(table.projects), states: pick(table.states), columns };
  }

  /** The values of a column by which runs are grouped: NaN is no number, and its run has none. @param {string} name */
  _keys(name) {
    const { table } = this.kept;
    const held = table.columns.find((column) => column.name === name);
    const isNumber = held && held.kind !== "string";
    return table.uids.map((_, i) => (isNumber && held.values[i] === "NaN" ? null : held?.values[i] ?? null));
  }

  _groups(params) {
    const { table } = this.kept;
    const by = list(params.by), keys = by.map((name) => this._keys(name));
    /** @type {Map<string, number[]>} */
    const found = new Map();
    table.uids.forEach((_, i) => {
      const key = JSON.stringify(keys.map((values) => values[i]));
      found.set(key, [...(found.get(key) ?? []), i]);
    });
    const rows = [...found.values()].sort((a, b) => b.length - a.length);
    const columns = list(params.column).map((name) => {
      const values = this._keys(name);
      const facts = rows.map((own) => {
        const numbers = own.map((i) => values[i]).filter((value) => value !== null).map(Number);
        return { count: numbers.length, min: Math.min(...numbers), max: Math.max(...numbers), mean: numbers.reduce((sum, n) => sum + n, 0) / numbers.length };
      });
      const of = (fact) => facts.map((each) => (each.count ? each[fact] : null));
      return { name, counts: facts.map((each) => each.count), min: of("min"), max: of("max"), mean: of("mean") };
    });
    const kinds = by.map((name) => table.columns.find((column) => column.name === name)?.kind ?? null);
    return { total: rows.length, by: by.map((name, k) => ({ name, kind: kinds[k], values: rows.map(([first]) => keys[k][first]) })), counts: rows.map((own) => own.length), columns };
  }

  _compare(params) {
    const { compare } = this.kept;
    const at = list(params.run).map((id) => compare.runs.findIndex((run) => run.uid === id || run.id === id));
    const fields = compare.fields.map((row) => {
      const values = at.map((i) => row.values[i] ?? null);
      const numbers = values.filter((value) => typeof value === "number");
      return { ...row, values, ...(row.present ? { present: at.map((i) => row.present[i]) } : {}), differs: new Set(values.map((value) => JSON.stringify(value))).size > 1, spread: numbers.length > 1 ? Math.max(...numbers) - Math.min(...numbers) : null };
    }).filter((row) => (!params.differs || row.differs) && row.values.some((value) => value !== null));
    return { ...compare, runs: at.map((i) => compare.runs[i]), fields, total: fields.length };
  }

  _lines(params) {
    const held = this._of(params).lines?.[params.path];
    if (!held) return missing();
    if (params.search) {
      const matches = held.texts.flatMap((text, i) => (text.toLowerCase().includes(params.search.toLowerCase()) ? [i] : []));
      return { total: held.texts.length, matches, found: matches.length, is_complete: true };
    }
    const wanted = Number(params.start ?? 0), start = wanted < 0 ? Math.max(0, held.texts.length + wanted) : wanted, end = start + Number(params.limit ?? 200);
    return { total: held.texts.length, start, steps: held.steps.slice(start, end), times: held.times.slice(start, end), texts: held.texts.slice(start, end) };
  }
}

/** @param {string} [noun] @returns {never} */
function missing(noun = "part") {
  // asked for again, it would be missing again
  throw Object.assign(new Error(`This ${noun} is not kept in the page; open the store with naiad ui to see it.`), { isLasting: true });
}
