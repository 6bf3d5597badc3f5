/** Artifacts of a project: one row a version (a hash), with its path and every run that used it. */
import { html, useMemo, useState } from "../lib/html.js";
import { change, href } from "../lib/place.js";
import { counted, moment, visible } from "../lib/format.js";
import { source } from "../lib/source.js";
import { Empty, Failure, Path, Skeleton, useLoaded } from "../widgets/controls.js";
import { Artifact } from "./field.js";

/** @param {{place: any}} props */
export function Artifacts({ place }) {
  const { project, params } = place;
  const [search, setSearch] = useState("");
  const loaded = useLoaded(async (signal) => {
    const { columns } = await source.get("/columns", { kind: "run", project, limit: 20_000 }, signal);
    const paths = columns.filter((column) => column.kind === "artifact").map((column) => column.path).slice(0, 200);
    if (!paths.length) return [];
    const table = await source.get("/table", { kind: "run", project, column: [...paths, "sys/creation_time"], limit: 20_000 }, signal);
    const created = table.columns.find((column) => column.name === "sys/creation_time").values;
    const found = new Map();
    for (const column of table.columns.filter((item) => paths.includes(item.name))) {
      column.values.forEach((hash, i) => {
        if (!hash) return;
        const key = `${column.name}\u0000${hash}`;
        const row = found.get(key) ?? { path: column.name, hash, users: [], first: created[i], last: created[i], run: table.uids[i] };
        row.users.push(table.ids[i]);
        if (created[i] < row.first) row.first = created[i];
        if (created[i] > row.last) row.last = created[i];
        found.set(key, row);
      });
    }
    return [...found.values()].sort((a, b) => (a.path === b.path ? (a.first < b.first ? 1 : -1) : a.path < b.path ? -1 : 1));
  }, [project]);
  const rows = useMemo(() => (loaded.data ?? []).filter((row) => row.path.toLowerCase().includes(search.toLowerCase()) || row.hash.startsWith(search)), [loaded.data, search]);
  const head = html`<div class="page-head"><h1>Artifacts</h1>${loaded.data && html`<span class="faint">${counted(loaded.data.length, "version")}</span>`}</div>`;
  if (loaded.error) return html`<div class="page">${head}<${Failure} error=${loaded.error} onRetry=${loaded.again} /></div>`;
  if (!loaded.data) return html`<div class="page">${head}<${Skeleton} lines=${6} /></div>`;
  if (!loaded.data.length) return html`<div class="page">${head}<${Empty} title="No artifacts yet">run["data/train"].track_files("data/") records files with their hashes.</${Empty}></div>`;
  const chosen = rows.find((row) => `${row.path} ${row.hash}` === params.entry);
  return html`<div class="page">${head}<input class="input" style=${{ maxWidth: "320px" }} type="search" placeholder="Path or hash" aria-label="Search artifacts" value=${search} onInput=${(e) => setSearch(e.target.value)} />
    <div class=${chosen ? "split" : ""}><ul class="list">${rows.map((row) => html`<li key=${row.path + row.hash}><button type="button" class="row" aria-current=${String(row === chosen)} onClick=${() => change({ entry: row === chosen ? "" : `${row.path} ${row.hash}` })}>
        <span><${Path} path=${row.path} /> <span class="mono faint">${row.hash.slice(0, 12)}</span></span><span class="faint">${counted(row.users.length, "run")}</span><span class="faint">${moment(new Date(row.first))}</span></button></li>`)}</ul>
      ${chosen && html`<div class="side section"><h2><${Path} path=${chosen.path} /></h2><${Artifact} key=${chosen.hash} run=${chosen.run} path=${chosen.path} />
        ${chosen.users.length > 1 && html`<a class="button" href=${href({ screen: "compare", project, tab: "artifacts", params: { runs: chosen.users.slice(0, 100) } })}>Compare these runs</a>`}</div>`}</div></div>`;
}
