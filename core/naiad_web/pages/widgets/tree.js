/** A tree of field paths with search as you type; only the rows in view are drawn, however many fields there are. */
import { html, cls, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../lib/html.js";
import { counted, visible } from "../lib/format.js";
import { Empty } from "./controls.js";
import { marks } from "./log.js";

/**
 * @typedef {{path: string, kind: string}} Leaf
 * @typedef {{name: string, path: string, depth: number, leaf: Leaf|null, count: number, isOpen: boolean}} Row
 * @typedef {{leaves: Leaf[], value: (leaf: Leaf) => any, selected?: string, onSelect?: (leaf: Leaf) => void, label: string,
 *   find?: string, onFind?: (text: string) => void, open: Set<string>, onOpen: (open: Set<string>) => void, height?: string,
 *   onRange?: (paths: string[]) => void, kindName?: (kind: string) => string}} TreeProps
 */

const ROW = 26;

/** Namespaces and fields of sorted paths. @param {Leaf[]} leaves */
export function nested(leaves) {
  const root = { name: "", path: "", kids: new Map(), leaf: /** @type {Leaf|null} */ (null), count: 0 };
  for (const leaf of leaves) {
    const parts = leaf.path.split("/");
    let node = root;
    node.count += 1;
    for (let i = 0; i < parts.length; i++) {
      const isLeaf = i === parts.length - 1;
      const key = (isLeaf ? "\u0001" : "\u0000") + parts[i];
      let next = node.kids.get(key);
      if (!next) {
        next = { name: parts[i], path: parts.slice(0, i + 1).join("/"), kids: isLeaf ? null : new Map(), leaf: isLeaf ? leaf : null, count: 0 };
        node.kids.set(key, next);
      }
      next.count += 1;
      node = next;
    }
  }
  return root;
}

/** The rows that are open, in order: namespaces before fields. @returns {Row[]} */
export function flattened(root, open, isAllOpen) {
  /** @type {Row[]} */
  const rows = [];
  const visit = (node, depth) => {
    const kids = [...node.kids.entries()].sort(([a], [b]) => (a < b ? -1 : 1));
    for (const [, kid] of kids) {
      const isOpen = !kid.leaf && (isAllOpen || open.has(kid.path));
      rows.push({ name: kid.name, path: kid.path, depth, leaf: kid.leaf, count: kid.count, isOpen });
      if (isOpen) visit(kid, depth + 1);
    }
  };
  visit(root, 0);
  return rows;
}

/** @param {TreeProps} props */
export function Tree(props) {
  const { leaves, selected, open, label } = props;
  const [text, setText] = useState(props.find ?? "");
  const [view, setView] = useState({ top: 0, height: 400 });
  const [cursor, setCursor] = useState(0);
  const scroller = useRef(null);
  const wantsFocus = useRef(false);
  const words = useMemo(() => text.toLowerCase().split(/\s+/).filter(Boolean), [text]);
  const lower = useMemo(() => leaves.map((leaf) => leaf.path.toLowerCase()), [leaves]);
  const found = useMemo(() => (words.length ? leaves.filter((_, i) => words.every((word) => lower[i].includes(word))) : leaves), [leaves, lower, words]);
  const root = useMemo(() => nested(found), [found]);
  const rows = useMemo(() => flattened(root, open, words.length > 0), [root, open, words]);

  useLayoutEffect(() => {
    const element = scroller.current;
    const measure = () => setView({ top: element.scrollTop, height: element.clientHeight });
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    element.addEventListener("scroll", measure, { passive: true });
    return () => {
      observer.disconnect();
      element.removeEventListener("scroll", measure);
    };
  }, []);
  const first = Math.max(0, Math.floor(view.top / ROW) - 5), last = Math.min(rows.length, Math.ceil((view.top + view.height) / ROW) + 5);
  useEffect(() => {
    props.onRange?.(rows.slice(first, last).filter((row) => row.leaf).map((row) => row.path));
  }, [first, last, rows]);
  useLayoutEffect(() => {
    if (!wantsFocus.current) return;
    wantsFocus.current = false;
    scroller.current.querySelector('[tabindex="0"][role="treeitem"]')?.focus({ preventScroll: true });
  });

  const toggle = (row) => {
    const next = new Set(open);
    if (next.has(row.path)) next.delete(row.path);
    else next.add(row.path);
    props.onOpen(next);
  };
  const move = (to) => {
    const next = Math.max(0, Math.min(rows.length - 1, to));
    setCursor(next);
    wantsFocus.current = true;
    const element = scroller.current, at = next * ROW;
    if (at < element.scrollTop) element.scrollTop = at;
    else if (at + ROW > element.scrollTop + element.clientHeight) element.scrollTop = at + ROW - element.clientHeight;
  };
  const act = (row) => (row.leaf ? props.onSelect?.(row.leaf) : toggle(row));
  const onKeyDown = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const row = rows[cursor];
    if (!row) return;
    const parent = () => {
      let at = cursor;
      while (at >= 0 && rows[at].depth >= row.depth) at -= 1;
      if (at >= 0) move(at);
    };
    const does = {
      ArrowDown: () => move(cursor + 1), ArrowUp: () => move(cursor - 1), j: () => move(cursor + 1), k: () => move(cursor - 1),
      Home: () => move(0), End: () => move(rows.length - 1),
      PageDown: () => move(cursor + Math.floor(view.height / ROW)), PageUp: () => move(cursor - Math.floor(view.height / ROW)),
      ArrowRight: () => (row.leaf ? undefined : row.isOpen ? move(cursor + 1) : toggle(row)),
      ArrowLeft: () => (!row.leaf && row.isOpen && !words.length ? toggle(row) : parent()),
      Enter: () => act(row), " ": () => act(row),
    }[event.key];
    if (!does) return;
    event.preventDefault();
    event.stopPropagation();
    does();
  };
  const names = [];
  for (let i = first; i < last; i++) names.push(i);
  const active = Math.min(cursor, rows.length - 1);
  return html`<section class="tree" aria-label=${label}>
    <div class="bar">
      <input class="input" type="search" placeholder=${`Search ${counted(leaves.length, "field")}`} aria-label="Search fields" value=${text}
        onInput=${(event) => { setText(event.target.value); setCursor(0); scroller.current.scrollTop = 0; props.onFind?.(event.target.value); }}
        onKeyDown=${(event) => { if (event.key === "ArrowDown") { event.preventDefault(); move(0); } }} />
      <span class="faint" aria-live="polite">${words.length ? `${found.length.toLocaleString("en")} found` : ""}</span>
    </div>
    <div class="tree-scroll" ref=${scroller} role="tree" aria-label=${label} tabindex=${rows.length ? -1 : 0} onKeyDown=${onKeyDown} style=${props.height ? { height: props.height, flex: "none" } : undefined}>
      ${rows.length === 0 && html`<${Empty} title=${leaves.length ? "No path has these words" : "No fields yet"} />`}
      <div role="presentation" style=${{ height: `${rows.length * ROW}px`, position: "relative" }}>
        ${names.map((i) => {
          const row = rows[i];
          const isSelected = row.leaf && row.path === selected;
          return html`<div key=${row.path + (row.leaf ? "" : "/")} role="treeitem" aria-level=${row.depth + 1} aria-expanded=${row.leaf ? undefined : String(row.isOpen)}
            aria-selected=${String(Boolean(isSelected))} tabindex=${i === active ? 0 : -1} class=${cls("tree-row", isSelected && "selected", !row.leaf && "space-row")}
            style=${{ top: `${i * ROW}px`, paddingLeft: `${8 + row.depth * 16}px` }}
            onClick=${() => { setCursor(i); act(row); }}>
            <span class="twist" aria-hidden="true">${row.leaf ? "" : row.isOpen ? "▾" : "▸"}</span>
            <bdi class="name">${marks(visible(row.name), words.length === 1 && !words[0].includes("/") ? words[0] : "")}</bdi>
            ${row.leaf ? html`<span class="kind">${props.kindName?.(row.leaf.kind) ?? row.leaf.kind}</span><span class="value">${props.value(row.leaf)}</span>`
              : html`<span class="kind">${row.count.toLocaleString("en")}</span>`}
          </div>`;
        })}
      </div>
    </div>
  </section>`;
}
