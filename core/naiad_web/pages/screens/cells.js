/** Values of fields in tables: one rule for each kind, the same on every screen. */
import { html } from "../lib/html.js";
import { counted, duration, moment, short, size, visible, whole, written } from "../lib/format.js";
import { State, Tag } from "../widgets/controls.js";

/** Fields of naiad's own, as headers name them. @type {Record<string, string>} */
export const TITLES = { "sys/id": "id", "sys/name": "name", "sys/state": "state", "sys/creation_time": "created", "sys/running_time": "duration", "sys/tags": "tags", "sys/owner": "owner", "sys/size": "size", "sys/description": "description", "sys/stage": "stage" };

const SPECIAL = {
  "sys/running_time": (value) => duration(Number(value)), "sys/monitoring_time": (value) => duration(Number(value)), "sys/size": (value) => size(Number(value)),
};

/** Kinds whose values stand at the end of a cell. @param {string|null|undefined} kind */
export const isNumeric = (kind) => ["int", "float", "float_series"].includes(kind ?? "");

/** A value as nodes. Of a file there is no value in tables: `present` of the facts tells it from nothing. Times are to the
 * second with `isExact`, so that two that differ look different.
 * @param {any} value @param {string|null|undefined} kind @param {string} [path] @param {{present?: boolean, age?: number, format?: string, isExact?: boolean}} [facts] */
export function shown(value, kind, path = "", facts = {}) {
  if (value === null || value === undefined) return facts.present ? html`<span class="faint">${kind === "file_set" ? "files" : "file"}</span>` : "";
  const special = SPECIAL[path];
  if (special && !facts.format && Number.isFinite(Number(value))) return html`<span title=${whole(value)}>${special(value)}</span>`;
  if (path === "sys/state") return html`<${State} state=${value} age=${facts.age} />`;
  if (Array.isArray(value)) return html`<span class="tags">${value.slice(0, 20).map((item) => html`<${Tag} key=${item} text=${String(item)} />`)}</span>`;
  if (kind === "datetime") return html`<time datetime=${value} title=${value}>${moment(new Date(value))}${facts.isExact && `:${String(value).slice(17, 23)}`}</time>`;
  if (kind === "bool" || typeof value === "boolean") return value ? "true" : html`<span class="faint">false</span>`;
  if (typeof value === "number") return html`<span title=${whole(value)}>${written(value, facts.format)}</span>`;
  if (isNumeric(kind)) return html`<span class=${value === "NaN" || /Infinity/.test(value) ? "warn-text" : undefined} title=${value}>${special ? special(value) : value === "Infinity" ? "∞" : value === "-Infinity" ? "−∞" : value}</span>`;
  if (typeof value === "object") return html`<span class="faint">${value.counts ? `${value.counts.length} bins` : "…"}</span>`;
  const text = String(value);
  return html`<bdi title=${text.length > 24 ? visible(text.slice(0, 2000)) : undefined}>${visible(text.length > 300 ? text.slice(0, 300) + "…" : text)}</bdi>`;
}

/** The type of a field as a user knows it: Neptune calls a series of any files one of images. @param {string} kind @param {string} type */
export const typed = (kind, type) => (kind === "file_series" ? "fileSeries" : type);

/** A FIELD of the interface in one line, for trees. @param {any} field */
export function brief(field) {
  if (!field) return "";
  if (field.error) return html`<span class="bad-text">${field.error.detail}</span>`;
  if (field.kind === "float_series") {
    return html`<span>${field.last ? short(Number(field.last.value)) : "–"}</span> <span class="faint">${counted(field.count ?? 0, "point")}</span>`;
  }
  if (field.kind === "string_series") return html`<bdi>${visible(String(field.last?.value ?? "").slice(0, 120))}</bdi> <span class="faint">${counted(field.count ?? 0, "entry", "entries")}</span>`;
  if (field.count !== undefined) return html`<span class="faint">${counted(field.count, "entry", "entries")}</span>`;
  if (field.files !== undefined) return html`<span class="faint">${counted(field.files, "file")}, ${size(field.size ?? 0)}</span>`;
  if (field.kind === "git_ref") return html`<span class="mono">${visible(String(field.commit_id ?? "").slice(0, 10))}</span>`;
  if (field.shown_as !== undefined) return html`<span class="faint">${field.extension ? `.${visible(field.extension)} ` : ""}${size(field.size)}</span>`;
  return shown(field.value, field.kind, field.path);
}
