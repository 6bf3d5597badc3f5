/** Where the pages take their data from: the HTTP interface, or answers kept in the page itself (see memory.js). */
import { read } from "./wire.js";

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
    /** Answers that may be shown again at once, by URL. */
    this.known = new Map();
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

  /** Follow changes. Events may come twice, none is left out; the stream rests while the tab is hidden.
   * @param {Record<string, any>} params @param {(event: string, data: any) => void} tell @returns {() => void} */
  events(params, tell) {
    let stream = /** @type {EventSource|null} */ (null);
    let last = "";
    let isOver = false;
    let wait = 500;
    let timer = 0;
    const open = async () => {
      if (isOver || document.hidden || stream) return;
      try {
        const url = await this.url("/events", { ...params, last_event_id: last });
        if (isOver || document.hidden || stream) return;
        const here = stream = new EventSource(url);
        for (const name of ["hello", "runs", "fields", "gone"]) {
          here.addEventListener(name, (event) => {
            if (event.lastEventId) last = event.lastEventId;
            if (name === "hello") wait = 500;
            tell(name, JSON.parse(event.data));
          });
        }
        here.onerror = () => {
          here.close();
          if (stream === here) stream = null;
          tell("lost", {});
          again();
        };
      } catch {
        tell("lost", {});
        again();
      }
    };
    const again = () => {
      clearTimeout(timer);
      this.tickets.clear();
      timer = window.setTimeout(open, wait);
      wait = Math.min(wait * 2, 10_000);
    };
    const turned = () => {
      if (document.hidden) {
        stream?.close();
        stream = null;
      } else open();
    };
    document.addEventListener("visibilitychange", turned);
    open();
    return () => {
      isOver = true;
      clearTimeout(timer);
      stream?.close();
      stream = null;
      document.removeEventListener("visibilitychange", turned);
    };
  }
}

/** The source of this page. @type {any} */
export let source = new HttpSource();

/** @param {any} other */
export function feed(other) {
  source = other;
}
