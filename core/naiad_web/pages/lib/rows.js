/** The rows of a table of runs: columns as they came, an order over them, and the texts that a quick search looks at. */
import { cell } from "./chartdata.js";
import { source } from "./source.js";

/** A project with more runs is sorted and paged by the server; one with fewer is here as a whole. */
export const WHOLE = 20_000;
const FIRST = 120;
const PAGE = 500;
const ALWAYS = ["sys/id", "sys/name", "sys/state", "sys/tags"];

/** @typedef {{name: string, path: string, aspect?: string|null, kind: string|null, values: any[], present?: any[]}} Held */

export class Rows {
  /** @param {Record<string, any>} ask @param {string[]} columns @param {() => void} changed */
  constructor(ask, columns, changed) {
    this.ask = ask;
    this.changed = changed;
    this.total = 0;
    this.now = 0;
    /** @type {string[]} */
    this.uids = [];
    /** @type {string[]} */
    this.ids = [];
    /** @type {string[]} */
    this.projects = [];
    /** @type {Map<string, Held>} */
    this.columns = new Map();
    this.wanted = [...new Set([...ALWAYS, ...columns])];
    this.isWhole = false;
    this.stop = new AbortController();
    this.pages = new Set();
    /** Where the rows up to an offset end, by which the server finds the next ones. @type {Map<number, string>} */
    this.ends = new Map();
    this.version = 0;
  }

  close() {
    this.stop.abort();
  }

  /** Take the first rows, so that something is shown at once, then all. */
  async load() {
    await this._take({ limit: FIRST, offset: 0 });
    if (this.total <= FIRST) this.isWhole = true;
    this._tell();
    if (!this.isWhole && this.total <= WHOLE) {
      await this._take({ limit: WHOLE, offset: 0 });
      this.isWhole = true;
      this._tell();
    }
  }

  /** Rows of a table too long to be here as a whole. @param {number} first @param {number} last */
  async want(first, last) {
    if (this.isWhole || this.total <= WHOLE) return;
    for (let page = Math.floor(first / PAGE); page <= Math.floor(last / PAGE); page++) {
      if (this.pages.has(page)) continue;
      this.pages.add(page);
      try {
        await this._take({ limit: PAGE, offset: page * PAGE, after: this.ends.get(page * PAGE) });
        this._tell();
      } catch (error) {
        this.pages.delete(page);
        if (error.status === 400) this.ends.delete(page * PAGE); // the server refused the end: by its offset the next time
        throw error;
      }
    }
  }

  /** Ask for columns that are shown now. @param {string[]} names */
  async show(names) {
    const missing = names.filter((name) => !this.columns.has(name));
    this.wanted = [...new Set([...ALWAYS, ...names])];
    if (!missing.length || !this.uids.length) return;
    if (!this.isWhole) {
      this.pages.clear();
      await this._take({ limit: Math.max(FIRST, Math.min(this.uids.length, WHOLE)), offset: 0 });
    } else {
      const answer = await source.get("/table", { ...this.ask, column: missing, limit: WHOLE }, this.stop.signal);
      const at = new Map(answer.uids.map((uid, i) => [uid, i]));
      for (const column of answer.columns) {
        this.columns.set(column.name, { ...column, values: this.uids.map((uid) => column.values[at.get(uid)] ?? null) });
      }
    }
    this._tell();
  }

  /** Take changed and new rows. @param {string[]} uids @returns {Promise<boolean>} whether rows came or went */
  async refresh(uids) {
    const answer = await source.get("/table", { ...this.ask, id: uids, column: this.wanted, limit: WHOLE }, this.stop.signal);
    const known = new Map(this.uids.map((uid, i) => [uid, i]));
    const arrived = answer.uids.some((uid) => !known.has(uid));
    const left = uids.some((uid) => known.has(uid) && !answer.uids.includes(uid));
    if (arrived || left) {
      await this._take({ limit: this.isWhole ? WHOLE : Math.max(FIRST, this.uids.length), offset: 0 });
      this.isWhole = this.isWhole || this.total <= FIRST;
    } else {
      for (const column of answer.columns) {
        const held = this.columns.get(column.name);
        if (!held) continue;
        answer.uids.forEach((uid, i) => (held.values[/** @type {number} */ (known.get(uid))] = column.values[i]));
        held.kind = held.kind ?? column.kind;
      }
      this.now = answer.now;
    }
    this._tell();
    return arrived || left;
  }

  async _take(part) {
    const answer = await source.get("/table", { ...this.ask, column: this.wanted, ...part }, this.stop.signal);
    this.total = answer.total;
    this.now = answer.now;
    const { offset } = part;
    if (offset === 0) {
      this.ends.clear();
      this.uids = answer.uids;
      this.ids = answer.ids;
      this.projects = answer.projects;
      this.columns = new Map(answer.columns.map((column) => [column.name, column]));
    } else {
      answer.uids.forEach((uid, i) => {
        this.uids[offset + i] = uid;
        this.ids[offset + i] = answer.ids[i];
        this.projects[offset + i] = answer.projects[i];
      });
      for (const column of answer.columns) {
        const held = this.columns.get(column.name);
        if (held) column.values.forEach((value, i) => (held.values[offset + i] = value));
        else this.columns.set(column.name, { ...column, values: Object.assign([], { [offset]: null }, Object.fromEntries(column.values.map((v, i) => [offset + i, v]))) });
      }
    }
    if (answer.next) this.ends.set(offset + answer.count, answer.next);
  }

  _tell() {
    this.version += 1;
    this.changed();
  }

  /** @param {string} name @param {number} at */
  value(name, at) {
    return this.columns.get(name)?.values[at] ?? null;
  }

  /** The order of rows: by columns, without those that a quick search leaves out.
   * @param {{key: string, desc: boolean}[]} sort @param {string} find @returns {number[]} */
  order(sort, find) {
    const all = [];
    const words = find.toLowerCase().split(/\s+/).filter(Boolean);
    const texts = words.length ? this._texts() : [];
    for (let i = 0; i < this.uids.length; i++) {
      if (!words.length || words.every((word) => texts[i].includes(word))) all.push(i);
    }
    if (this.isWhole && sort.length) {
      const keys = sort.map(({ key, desc }) => ({ values: keysOf(this.columns.get(key)), sign: desc ? -1 : 1 }));
      all.sort((a, b) => {
        for (const { values, sign } of keys) {
          const x = values[a], y = values[b];
          if (x === y) continue;
          if (x === null) return 1;
          if (y === null) return -1;
          return x < y ? -sign : sign;
        }
        return a - b;
      });
    }
    return all;
  }

  _texts() {
    if (this.textsOf !== this.version) {
      this.textsOf = this.version;
      const columns = ALWAYS.map((name) => this.columns.get(name)?.values ?? []);
      const shown = [...this.columns.values()].filter((column) => column.kind === "string").map((column) => column.values);
      this.texts = this.uids.map((_, i) => [...columns, ...shown].map((values) => String(values[i] ?? "")).join("\u0000").toLowerCase());
    }
    return /** @type {string[]} */ (this.texts);
  }
}

/** Rows as a file. @param {string[]} heads @param {any[][]} lines @param {boolean} isCsv */
export function filed(heads, lines, isCsv) {
  if (!isCsv) return JSON.stringify(lines.map((line) => Object.fromEntries(heads.map((head, i) => [head, line[i]]))), null, 1);
  const text = (value) => cell(Array.isArray(value) ? value.join(", ") : value);
  return [heads, ...lines].map((line) => `${line.map(text).join(",")}\r\n`).join("");
}

const ID = /^(.*?)(\d+)$/;

/** Values as they are compared: numbers by size, ids by their number. @param {Held|undefined} column @returns {any[]} */
function keysOf(column) {
  if (!column) return [];
  if (column.name === "sys/id") {
    return column.values.map((id) => {
      const parts = ID.exec(id ?? "");
      return parts ? `${parts[1]}${parts[2].padStart(12, "0")}` : id;
    });
  }
  return column.values.map((value) => {
    if (value === null || value === undefined) return null;
    if (Array.isArray(value)) return value.join(", ");
    if (column.kind === "int" || column.kind === "float" || column.kind?.endsWith("series")) {
      if (typeof value === "string") {
        const number = Number(value);
        return value === "NaN" ? null : Number.isNaN(number) ? value : number;
      }
    }
    return value;
  });
}

/** Rows as a tree: an open run is followed by its children. A run whose parent is not among the rows stands at the top,
 * and so does one of a ring of parents, which a store may hold although no program makes it.
 * @param {number[]} order @param {Rows} rows @param {Set<string>} open ids
 * @returns {{at: number, depth: number, children: number}[]} */
export function nested(order, rows, open) {
  const there = new Map(order.map((at) => [rows.uids[at], at]));
  /** @type {Map<number, number[]>} */
  const children = new Map();
  const tops = [];
  for (const at of order) {
    const parent = there.get(rows.value("sys/parent_uid", at));
    if (parent === undefined || parent === at) tops.push(at);
    else children.set(parent, [...(children.get(parent) ?? []), at]);
  }
  const reached = new Set();
  const reach = (from) => {
    const waiting = [from];
    while (waiting.length) {
      const at = /** @type {number} */ (waiting.pop());
      if (reached.has(at)) continue;
      reached.add(at);
      waiting.push(...(children.get(at) ?? []));
    }
  };
  tops.forEach(reach);
  for (const at of order) if (!reached.has(at)) { tops.push(at); reach(at); }
  const list = [];
  const listed = new Set();
  const waiting = tops.reverse().map((at) => ({ at, depth: 0 }));
  while (waiting.length) {
    const { at, depth } = /** @type {{at: number, depth: number}} */ (waiting.pop());
    if (listed.has(at)) continue;
    listed.add(at);
    const own = children.get(at) ?? [];
    list.push({ at, depth, children: own.length });
    if (open.has(rows.ids[at])) for (const child of [...own].reverse()) waiting.push({ at: child, depth: depth + 1 });
  }
  return list;
}

/** Where a value stands between the least and the greatest of a column, from 0 to 1. The scale is one of powers of ten
 * where most values lie near the least: one run that went wrong must not make all others look alike.
 * @param {any[]} values @returns {(value: any) => number|null} */
export function shares(values) {
  const is = (value) => typeof value === "number" && Number.isFinite(value);
  const sorted = values.filter(is).sort((a, b) => a - b);
  const low = sorted[0], high = sorted[sorted.length - 1], middle = sorted[sorted.length >> 1];
  const at = low > 0 && high / low >= 100 && middle <= high / 5 ? Math.log : Number;
  return (value) => (!is(value) ? null : high > low ? (at(value) - at(low)) / (at(high) - at(low)) : 0.5);
}

const ATTRIBUTES = ["float", "int", "string", "bool"];
const NAMED = /^(param|hyper|hparam|config|arg|setting|model)/i;

/** Parameters and metrics that most runs of a project have, for a first look: judged by its latest runs.
 * @param {any[]} fields @param {string} project @param {AbortSignal} [signal] @param {string} [kind]
 * @returns {Promise<{params: string[], metrics: string[], all: any[]}>} */
export async function likely(fields, project, signal, kind = "run") {
  const all = fields.filter((field) => !/^(sys|monitoring|source_code|views)\//.test(field.path));
  const depth = (path) => path.split("/").length + (NAMED.test(path) ? -4 : 0);
  const candidates = (kinds, count) => all.filter((field) => kinds.includes(field.kind)).map((field) => field.path)
    .sort((a, b) => depth(a) - depth(b) || (a < b ? -1 : 1)).slice(0, count);
  const params = candidates(ATTRIBUTES, 40), metrics = candidates(["float_series"], 40);
  if (!params.length && !metrics.length) return { params, metrics, all };
  const table = await source.get("/table", { kind, project, column: [...params, ...metrics], limit: 60 }, signal);
  const counts = new Map(table.columns.map((column) => [column.name, column.values.filter((value) => value !== null && String(value).length < 80).length]));
  const most = (names, count) => names.map((name, i) => ({ name, i, n: counts.get(name) ?? 0 })).filter(({ n }) => n > 0 && n >= table.count / 4)
    .sort((a, b) => b.n - a.n || a.i - b.i).slice(0, count).map(({ name }) => name);
  return { params: most(params, 5), metrics: most(metrics, 4), all };
}
