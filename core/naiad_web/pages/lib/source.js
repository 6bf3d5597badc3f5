/** Where the pages take their data from: the HTTP interface and its event stream, or answers kept in the page itself (see memory.js). */
import { read } from "./chartdata.js";

/** An error that the server described. */
export class ApiError extends Error {
  /** @param {any} problem */
  constructor(problem) {
    super(problem.detail ?? problem.title ?? "The server gave no reason.");
    this.problem = problem;
    this.status = problem.status;
    this.type = problem.type;
  }
}

const TOKEN = "naiad.token";

/** Move a token from the address into the browser's storage; a fragment is not sent to the server. */
export function takeToken() {
  const found = /(?:^#|&)token=([^&]+)/.exec(location.hash);
  if (!found) return;
  localStorage.setItem(TOKEN, decodeURIComponent(found[1]));
  history.replaceState(null, "", location.pathname + location.search);
}

/** Parameters as a query: a list is repeated, what is undefined or empty is left out. @param {Record<string, any>} params */
export function query(params) {
  const found = new URLSearchParams();
  for (const [key, value] of Object.entries(params)) {
    for (const item of Array.isArray(value) ? value : [value]) {
      if (item !== undefined && item !== null && item !== "") found.append(key, String(item));
    }
  }
  const text = found.toString();
  return text ? `?${text}` : "";
}

const LONG = 3000;

export class HttpSource {
  constructor() {
    this.isLive = true;
    this.isEditable = false;
    /** @type {((error: ApiError) => void)|null} */
    this.onRefused = null;
    this.tickets = new Map();
    /** @type {{target: string, resolve: (url: string) => void, reject: (error: any) => void}[]} */
    this.asked = [];
    this.stream = /** @type {Stream|null} */ (null);
  }

  /** @param {string} path @param {RequestInit} [options] */
  async request(path, options = {}) {
    const headers = { ...(options.headers ?? {}), Authorization: `Bearer ${localStorage.getItem(TOKEN) ?? ""}` };
    let answer;
    try {
      answer = await fetch(path, { ...options, headers });
    } catch (error) {
      if (error instanceof DOMException && error.name === "AbortError") throw error;
      throw new ApiError({ type: "Unreachable", status: 0, detail: "The server does not answer. Is naiad ui still running?" });
    }
    if (answer.ok) return answer;
    const problem = await answer.json().catch(() => ({ status: answer.status, detail: `The server answered with status ${answer.status}.` }));
    const error = new ApiError(problem);
    if (error.status === 401) this.onRefused?.(error);
    throw error;
  }

  /** Read JSON; long queries are sent as a body. @param {string} route @param {Record<string, any>} [params] @param {AbortSignal} [signal] */
  async get(route, params = {}, signal) {
    const answer = await this.send(route, params, signal);
    return answer.json();
  }

  /** @param {string} route @param {Record<string, any>} params @param {AbortSignal} [signal] */
  send(route, params, signal) {
    const tail = query(params);
    if (tail.length < LONG && !params.groups && !params.group) return this.request(`/api/v1${route}${tail}`, { signal });
    return this.request(`/api/v1${route}`, { method: "POST", signal, headers: { "Content-Type": "application/json" }, body: JSON.stringify(params) });
  }

  /** Series drawn in a range. @param {Record<string, any>} params @param {AbortSignal} [signal] */
  async chart(params, signal) {
    const answer = await this.send("/chart", params, signal);
    return read(await answer.arrayBuffer());
  }

  /** Change something; only with --edit. @param {string} method @param {string} route @param {any} body */
  async change(method, route, body) {
    const answer = await this.request(`/api/v1${route}`, { method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
    return answer.status === 204 ? null : answer.json().catch(() => null);
  }

  /** The address of something that a browser fetches by itself, with a ticket. Asked within one moment, tickets come in one answer.
   * @param {string} route @param {Record<string, any>} params @returns {Promise<string>} */
  url(route, params) {
    const target = `/api/v1${route}${query(params)}`;
    const have = this.tickets.get(target);
    if (have && have.until > Date.now()) return Promise.resolve(have.url);
    return new Promise((resolve, reject) => {
      if (!this.asked.length) setTimeout(() => this._askTickets(), 4);
      this.asked.push({ target, resolve, reject });
    });
  }

  async _askTickets() {
    const asked = this.asked;
    this.asked = [];
    const targets = [...new Set(asked.map((item) => item.target))];
    try {
      const answer = await this.request("/api/v1/tickets", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ targets }) });
      const { tickets, seconds } = await answer.json();
      for (const [i, target] of targets.entries()) {
        const url = `${target}${target.includes("?") ? "&" : "?"}ticket=${encodeURIComponent(tickets[i])}`;
        this.tickets.set(target, { url, until: Date.now() + (seconds - 15) * 1000 });
      }
      for (const { target, resolve } of asked) resolve(this.tickets.get(target).url);
    } catch (error) {
      for (const { reject } of asked) reject(error);
    }
  }

  /** Follow changes of runs and projects. @param {{run: string[], project: string[]}} wants @param {(event: string, data: any) => void} tell @returns {() => void} */
  events(wants, tell) {
    this.stream ??= new Stream((params) => {
      this.tickets.clear();
      return this.url("/events", params);
    });
    return this.stream.follow(wants, tell);
  }
}

/** The source of this page. @type {any} */
export let source = new HttpSource();

/** @param {any} other */
export function feed(other) {
  source = other;
}

/** @typedef {{run: string[], project: string[]}} Wants */

const EVENTS = ["hello", "runs", "fields", "gone"];
const own = Math.random().toString(36).slice(2);

export class Stream {
  /** @param {(params: any) => Promise<string>} address of the stream, with a ticket */
  constructor(address) {
    this.address = address;
    /** What this tab shows: each with the function that is told. @type {Map<(event: string, data: any) => void, Wants>} */
    this.shown = new Map();
    /** What each tab wants, in the one that reads. @type {Map<string, Wants[]>} */
    this.tabs = new Map();
    this.last = "";
    this.wait = 500;
    this.timer = 0;
    this.source = /** @type {EventSource|null} */ (null);
    this.release = /** @type {(() => void)|null} */ (null);
    this.isWaiting = false;
    this.asked = "";
    this.attempt = 0;
    this.channel = /** @type {BroadcastChannel|null} */ (null);
  }

  /** Follow changes while something is shown; events may come twice, none is left out.
   * @param {Wants} wants @param {(event: string, data: any) => void} tell @returns {() => void} */
  follow(wants, tell) {
    if (!this.channel) {
      this.channel = new BroadcastChannel("naiad events");
      this.channel.onmessage = ({ data }) => this._heard(data);
      document.addEventListener("visibilitychange", () => this._turned());
      addEventListener("pagehide", () => this._leave());
    }
    this.shown.set(tell, wants);
    this._turned();
    return () => {
      this.shown.delete(tell);
      this._turned();
    };
  }

  _turned() {
    if (document.hidden || !this.shown.size) return this._leave();
    this._say({ kind: "want", from: own, wants: [...this.shown.values()] });
    if (this.release || this.isWaiting) return undefined;
    this.isWaiting = true;
    const hold = () => new Promise((resolve) => {
      this.isWaiting = false;
      this.release = () => resolve(undefined);
      if (document.hidden || !this.shown.size) return this._leave();
      this._say({ kind: "who" });
      this._want(own, [...this.shown.values()]);
      return undefined;
    });
    // a page that is not of this machine and without TLS has no locks: each tab reads for itself then
    if (navigator.locks) navigator.locks.request("naiad events", hold);
    else hold();
    return undefined;
  }

  _leave() {
    this._say({ kind: "leave", from: own });
    this.tabs.clear();
    this._close();
    clearTimeout(this.timer);
    this.release?.();
    this.release = null;
  }

  _say(message) {
    this.channel?.postMessage(message);
    if (message.kind === "want" && this.release) this._want(own, message.wants);
  }

  _heard(message) {
    if (message.kind === "event" && !document.hidden) {
      if (message.id) this.last = message.id;
      this._tell(message.name, message.data);
    } else if (message.kind === "who" && this.shown.size && !document.hidden) this._say({ kind: "want", from: own, wants: [...this.shown.values()] });
    else if (message.kind === "want" && this.release) this._want(message.from, message.wants);
    else if (message.kind === "leave") this.tabs.delete(message.from);
  }

  _want(tab, wants) {
    this.tabs.set(tab, wants);
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => this._open(), 20);
  }

  async _open() {
    const all = [...this.tabs.values()].flat();
    const runs = [...new Set(all.flatMap((one) => one.run))].sort().slice(0, 100);
    // one that names no project is about all of them
    const projects = all.some((one) => !one.project.length) ? [] : [...new Set(all.flatMap((one) => one.project))].sort();
    const asked = JSON.stringify([runs, projects]);
    if (!this.release || this.asked === asked) return;
    this._close();
    this.asked = asked;
    const attempt = this.attempt;
    try {
      const url = await this.address({ run: runs, project: projects, last_event_id: this.last, age: performance.now() / 1000 });
      if (this.attempt !== attempt) return;
      const source = this.source = new EventSource(url);
      for (const name of EVENTS) {
        source.addEventListener(name, (event) => {
          if (event.lastEventId) this.last = event.lastEventId;
          if (name === "hello") this.wait = 500;
          this._pass(name, JSON.parse(event.data));
        });
      }
      source.onerror = () => {
        if (this.source === source) this._again();
      };
    } catch {
      if (this.attempt === attempt) this._again();
    }
  }

  _again() {
    this._close();
    this._pass("lost", {});
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => this._open(), this.wait);
    this.wait = Math.min(this.wait * 2, 10_000);
  }

  _close() {
    this.source?.close();
    this.source = null;
    this.asked = "";
    this.attempt += 1;
  }

  _pass(name, data) {
    this._say({ kind: "event", name, data, id: this.last });
    this._tell(name, data);
  }

  _tell(name, data) {
    for (const [tell, wants] of this.shown) {
      if (name === "fields" && !wants.run.includes(data.uid)) continue;
      const isOwn = (row) => !wants.project.length || wants.project.includes(row.project);
      tell(name, name === "runs" ? { ...data, changed: data.changed.filter(isOwn) } : data);
    }
  }
}
