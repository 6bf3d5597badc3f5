/** What compared runs contain: images, source code and artifacts beside each other. */
import { html, useEffect, useMemo, useRef, useState } from "../lib/html.js";
import { change } from "../lib/place.js";
import { color } from "../lib/color.js";
import { size, visible } from "../lib/format.js";
import { source } from "../lib/source.js";
import { Button, Choice, Empty, Failure, Path, Skeleton, both, useLoaded, waiting } from "../widgets/controls.js";
import { FrameControls, ImageGrid, StepSlider, Swipe, nearest } from "../widgets/images.js";
import { Diff } from "../widgets/code.js";
import { contentUrl } from "./field.js";

export function Images({ runs, place }) {
  const { params } = place;
  const [frame, setFrame] = useState({ scale: 1, x: 0, y: 0 });
  const few = runs.slice(0, 24);
  const loaded = useLoaded(async (signal) => {
    const found = await Promise.all(few.map((run) => source.get(`/containers/${run.uid}/fields`, { kind: ["file_series"], details: true, limit: 500 }, signal).catch(() => ({ fields: [] }))));
    return found.map(({ fields }) => fields.filter((field) => ["image", "svg"].includes(field.last?.value?.shown_as)).map((field) => field.path));
  }, [few.map((run) => run.uid).join()]);
  const names = useMemo(() => [...new Set((loaded.data ?? []).flat())].sort(), [loaded.data]);
  const path = names.includes(params.path) ? params.path : names[0];
  const having = few.filter((_, i) => loaded.data?.[i]?.includes(path));
  const entries = useLoaded(async (signal) => (path ? new Map(await Promise.all(having.map(async (run) => [run.uid, await source.get("/entries", { run: run.uid, path, limit: 5000 }, signal)]))) : new Map()), [path, having.map((run) => run.uid).join()]);
  if (loaded.error || entries.error || !loaded.data || !entries.data) return waiting(both(loaded, entries), 6);
  if (!names.length) return html`<${Empty} title="None of these runs has a series of images" />`;
  const steps = [...new Set([...entries.data.values()].flatMap((entry) => entry.steps.map(Number)))].sort((a, b) => a - b);
  const step = steps[nearest(steps, params.step)];
  const pictures = having.flatMap((run) => {
    const entry = entries.data?.get(run.uid);
    if (!entry) return [];
    const i = entry.steps.findIndex((s) => Number(s) === step);
    return [{ key: `${run.uid} ${i}`, title: run.label, color: color(run.id), caption: i < 0 ? "" : entry.files[i].description ?? "", isMissing: i < 0, url: () => contentUrl({ run: run.uid, path, index: entry.start + i }) }];
  });
  const there = pictures.filter((picture) => !picture.isMissing);
  return html`<div class="section"><div class="bar"><select class="input" aria-label="Images" value=${path} onChange=${(e) => change({ path: e.target.value })}>${names.map((name) => html`<option key=${name} value=${name}>${visible(name)}</option>`)}</select>
      <${StepSlider} steps=${steps} value=${step} onChange=${(next) => change({ step: next }, { replace: true })} /><span class="grow"></span>
      ${there.length === 2 && html`<${Choice} label="Arrangement" value=${params.mode} onChange=${(mode) => change({ mode })} options=${[["", "beside"], ["swipe", "swipe"], ["difference", "difference"]]} />`}<${FrameControls} frame=${frame} onFrame=${setFrame} /></div>
    ${having.length < few.length && html`<p class="faint">These runs have no images of this name: ${few.filter((run) => !having.includes(run)).map((run) => visible(run.label)).join(", ")}.</p>`}
    ${there.length === 2 && params.mode ? html`<${Swipe} left=${there[0]} right=${there[1]} mode=${params.mode} />` : html`<${ImageGrid} pictures=${pictures} size=${280} frame=${frame} onFrame=${setFrame} />`}</div>`;
}

/** Two of the runs, for what is compared in pairs. @param {any} props */
function Pair({ runs, params, children }) {
  const left = runs.find((run) => run.id === params.ref) ?? runs[0];
  const right = runs.find((run) => run.id === params.entry && run !== left) ?? runs.find((run) => run !== left);
  if (!right) return html`<${Empty} title="Choose a second run to see differences" />`;
  const choose = (name, value, label) => html`<label class="toggle">${label} <select class="input" value=${value.id} onChange=${(e) => change({ [name]: e.target.value })}>${runs.map((run) => html`<option key=${run.id} value=${run.id}>${visible(run.label)}</option>`)}</select></label>`;
  return html`<div class="section"><div class="bar">${choose("ref", left, "from")}${choose("entry", right, "to")}<${Button} kind="quiet" onClick=${() => change({ ref: right.id, entry: left.id })}>Swap</${Button}></div>${children(left, right)}</div>`;
}

export const Code = ({ runs, place }) => html`<${Pair} runs=${runs} params=${place.params}>${(left, right) => html`<${CodePair} key=${`${left.uid} ${right.uid}`} left=${left} right=${right} />`}</${Pair}>`;

function CodePair({ left, right }) {
  const loaded = useLoaded(async (signal) => {
    const [a, b] = await Promise.all([left, right].map((run) => source.get(`/containers/${run.uid}/source`, {}, signal)));
    const paths = ["files", "requirements"].flatMap((name) => [a[name]?.path ?? b[name]?.path]).filter(Boolean);
    return { a, b, diffs: await Promise.all(paths.map(async (path) => ({ path, diff: await source.get("/diff", { left: left.uid, right: right.uid, left_path: path }, signal).catch((error) => ({ error })) }))) };
  }, [left.uid, right.uid]);
  if (loaded.error || !loaded.data) return waiting(loaded, 6);
  const { a, b, diffs } = loaded.data;
  if (!diffs.length && !a.git && !b.git) return html`<${Empty} title="Neither run has source code" />`;
  return html`${(a.git || b.git) && html`<dl class="facts"><dt>commit</dt><dd class="mono">${a.git?.commit_id ?? "none"} → ${b.git?.commit_id ?? "none"}${a.git?.commit_id === b.git?.commit_id ? " (the same)" : ""}</dd><dt>branch</dt><dd>${visible(a.git?.branch ?? "–")} → ${visible(b.git?.branch ?? "–")}</dd></dl>`}
    ${diffs.map(({ path, diff }) => html`<${Difference} key=${path} path=${path} diff=${diff} left=${left} right=${right} />`)}`;
}

/** @param {any} props */
function Difference({ path, diff, left, right }) {
  if (diff.error) return html`<${Failure} error=${diff.error} />`;
  if (diff.form === "text") return html`<${Diff} name=${path} hunks=${diff.hunks} left=${left.label} right=${right.label} />`;
  if (diff.form === "binary") return html`<p>${visible(path)}: ${diff.is_equal ? "the same content" : `different content, ${size(diff.sizes[0])} and ${size(diff.sizes[1])}`}</p>`;
  const { added, removed, changed, same } = diff;
  return html`<section class="section" aria-label=${path}><div class="bar"><h2>${visible(path)}</h2><span class="good-text">${added.length} added</span><span class="bad-text">${removed.length} removed</span><span>${changed.length} changed</span><span class="faint">${same} the same</span></div>
    ${added.length + removed.length + changed.length === 0 && html`<${Empty} title="No differences" />`}
    <ul class="list">${[...removed.map((file) => ["−", file]), ...added.map((file) => ["+", file])].map(([sign, file]) => html`<li key=${sign + file.name} class="bar" style=${{ padding: "2px 10px" }}><span class=${sign === "+" ? "good-text" : "bad-text"}>${sign}</span><span class="mono grow">${visible(file.name)}</span><span class="faint">${size(file.size)}</span></li>`)}</ul>
    ${changed.slice(0, 50).map((file) => html`<${Changed} key=${file.name} file=${file} path=${path} left=${left} right=${right} />`)}</section>`;
}

/** One changed file; its lines are compared when it comes into view. */
function Changed({ file, path, left, right }) {
  const box = useRef(null);
  const [isSeen, setSeen] = useState(false);
  useEffect(() => {
    const observer = new IntersectionObserver((entries) => entries.some((e) => e.isIntersecting) && setSeen(true), { rootMargin: "300px" });
    observer.observe(box.current);
    return () => observer.disconnect();
  }, []);
  const loaded = useLoaded(async (signal) => (isSeen ? source.get("/diff", { left: left.uid, right: right.uid, left_path: path, entry: file.name }, signal) : null), [isSeen]);
  const { data } = loaded;
  return html`<div ref=${box}>${loaded.error ? html`<p class="faint">${visible(file.name)}: ${size(file.left?.size)} → ${size(file.right?.size)}</p>` : !data ? html`<div class="card"><${Skeleton} lines=${3} /></div>`
    : data.form === "text" && !data.hunks.length ? html`<p><span class="mono">${visible(file.name)}</span> <span class="faint">changed, ${size(file.left?.size)} → ${size(file.right?.size)}; its content is not stored</span></p>` : data.form === "text" ? html`<${Diff} name=${file.name} hunks=${data.hunks} left=${left.label} right=${right.label} />` : html`<p>${visible(file.name)}: content that is no text differs, ${size(data.sizes?.[0])} and ${size(data.sizes?.[1])}</p>`}</div>`;
}

export const Artifacts = ({ runs, place }) => html`<${Pair} runs=${runs} params=${place.params}>${(left, right) => html`<${ArtifactPair} key=${`${left.uid} ${right.uid}`} left=${left} right=${right} />`}</${Pair}>`;

function ArtifactPair({ left, right }) {
  const loaded = useLoaded(async (signal) => {
    const found = await Promise.all([left, right].map(async (run) => (await source.get(`/containers/${run.uid}/fields`, { kind: ["artifact"], details: true, limit: 200 }, signal)).fields));
    const paths = [...new Set(found.flat().map((field) => field.path))];
    return Promise.all(paths.map(async (path) => {
      const [a, b] = found.map((fields) => fields.find((field) => field.path === path));
      const isSame = a && b && a.hash === b.hash;
      return { path, a, b, isSame, diff: a && b && !isSame ? await source.get("/diff", { left: left.uid, right: right.uid, left_path: path }, signal).catch((error) => ({ error })) : null };
    }));
  }, [left.uid, right.uid]);
  if (loaded.error || !loaded.data) return waiting(loaded, 5);
  if (!loaded.data.length) return html`<${Empty} title="Neither run tracks artifacts" />`;
  return html`${loaded.data.map(({ path, a, b, isSame, diff }) => html`<section key=${path} class="section">${isSame ? html`<p><${Path} path=${path} /> <span class="good-text">the same hash</span> <span class="mono faint">${a?.hash?.slice(0, 16)}</span></p>`
    : !a || !b ? html`<p><${Path} path=${path} /> <span class="faint">only in ${visible((a ? left : right).label)}</span></p>` : html`<${Difference} path=${path} diff=${diff} left=${left} right=${right} />`}</section>`)}`;
}
