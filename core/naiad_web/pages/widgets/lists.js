/** Lists of any length, of which only what is in view is drawn: a table with a keyboard grid, and a tree of paths. */
import { Component, html, cls, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../lib/html.js";
import { visible, counted } from "../lib/format.js";
import { Menu, Empty } from "./controls.js";

/**
 * @typedef {{key: string, title: string, width?: number, align?: "start"|"end", pinned?: boolean, sortable?: boolean,
 *   fixed?: boolean, hint?: string, mono?: boolean}} Column
 * @typedef {{columns: Column[], count: number, row: (index: number) => any, cell: (row: any, column: Column, index: number) => any,
 *   rowKey: (row: any) => string, rowHeight?: number, sort?: {key: string, desc: boolean}[],
 *   onSort?: (key: string, isAdded: boolean) => void, onColumns?: (columns: Column[]) => void,
 *   selected?: Set<string>, onSelect?: (key: string, index: number, isRange: boolean) => void, onSelectAll?: (on: boolean) => void,
 *   onOpen?: (row: any) => void, onKey?: (key: string, row: any, event: KeyboardEvent) => boolean|void,
 *   onHover?: (row: any) => void, highlighted?: string, label: string, onRange?: (first: number, last: number) => void,
 *   rowClass?: (row: any) => string, cellStyle?: (row: any, column: Column) => Record<string, string>|undefined,
 *   isTree?: boolean, level?: (row: any) => number, isOpen?: (row: any) => boolean|undefined, onTwist?: (row: any, isOpen: boolean) => void, onRename?: (column: Column) => void, menu?: (column: Column) => any[]}} TableProps
 */

const OVERSCAN = 6;
const MIN_WIDTH = 56;
const DEFAULT_WIDTH = 132;
const SELECT_WIDTH = 34;
/** Browsers clip taller elements; a table beyond it scrolls in proportion. */
const MAX_HEIGHT = 8_000_000;

/** Height of a row, by the density that the user has chosen. */
function useRowHeight() {
  const read = () => (document.documentElement.dataset.density === "roomy" ? 36 : 28);
  const [height, setHeight] = useState(read);
  useEffect(() => {
    const follow = () => setHeight(read());
    addEventListener("naiad-theme", follow);
    return () => removeEventListener("naiad-theme", follow);
  }, []);
  return height;
}

/** @param {TableProps} props */
export function Table(props) {
  const { columns, count, label, sort = [], selected, onSelect } = props;
  const own = useRowHeight();
  const rowHeight = props.rowHeight ?? own;
  const scroller = useRef(null);
  const [view, setView] = useState({ top: 0, height: 600 });
  const [cursor, setCursor] = useState({ row: -1, col: 0 });
  const wantsFocus = useRef(false);
  const ordered = useMemo(() => [...columns.filter((c) => c.pinned), ...columns.filter((c) => !c.pinned)], [columns]);
  const hasSelect = Boolean(onSelect);

  useLayoutEffect(() => {
    const element = scroller.current;
    const measure = () => setView({ top: element.scrollTop, height: element.clientHeight });
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    let frame = 0;
    const scrolled = () => {
      cancelAnimationFrame(frame);
      frame = requestAnimationFrame(measure);
    };
    element.addEventListener("scroll", scrolled, { passive: true });
    return () => {
      observer.disconnect();
      element.removeEventListener("scroll", scrolled);
      cancelAnimationFrame(frame);
    };
  }, []);

  const fullHeight = count * rowHeight;
  const height = Math.min(fullHeight, MAX_HEIGHT);
  const scale = fullHeight > MAX_HEIGHT ? (fullHeight - view.height) / (height - view.height) : 1;
  const offset = view.top * scale;
  const first = Math.max(0, Math.min(count, Math.floor(offset / rowHeight) - OVERSCAN));
  const last = Math.min(count, Math.ceil((offset + view.height) / rowHeight) + OVERSCAN);
  const before = Math.max(0, first * rowHeight - offset + view.top);

  useEffect(() => {
    props.onRange?.(first, last);
  }, [first, last]);

  const show = (row) => {
    const element = scroller.current;
    const room = element.clientHeight - 2 * rowHeight;
    const at = row * rowHeight;
    const now = element.scrollTop * scale;
    if (at < now) element.scrollTop = at / scale;
    else if (at > now + room) element.scrollTop = (at - room) / scale;
  };

  const move = (row, col) => {
    const next = { row: clamp(row, -1, count - 1), col: clamp(col, 0, ordered.length - 1 + (hasSelect ? 1 : 0)) };
    wantsFocus.current = true;
    setCursor(next);
    if (next.row >= 0) show(next.row);
  };

  useLayoutEffect(() => {
    if (!wantsFocus.current) return;
    const cell = scroller.current.querySelector('[data-at="true"]');
    if (cell) {
      cell.focus({ preventScroll: cursor.row < 0 ? false : true });
      wantsFocus.current = false;
    }
  });

  const onKeyDown = (event) => {
    if (event.target.matches("input:not([type=checkbox]), textarea, select") || event.altKey || event.metaKey) return;
    const inHeader = event.target.closest("thead");
    if (event.target.closest(".popover .panel")) return;
    const page = Math.max(1, Math.floor(view.height / rowHeight) - 2);
    const { row, col } = cursor;
    const moves = {
      ArrowDown: [row + 1, col], ArrowUp: [row - 1, col], ArrowRight: [row, col + 1], ArrowLeft: [row, col - 1],
      PageDown: [row + page, col], PageUp: [Math.max(0, row - page), col],
      Home: event.ctrlKey ? [0, 0] : [row, 0], End: event.ctrlKey ? [count - 1, ordered.length] : [row, ordered.length],
      j: [row + 1, col], k: [Math.max(0, row - 1), col],
    };
    const isFirst = ordered[col - (hasSelect ? 1 : 0)] === ordered[0];
    const isOpen = props.isTree && row >= 0 && isFirst && !event.shiftKey ? props.isOpen?.(props.row(row)) : undefined;
    if (isOpen === false && event.key === "ArrowRight" || isOpen && event.key === "ArrowLeft") {
      event.preventDefault();
      event.stopPropagation();
      props.onTwist?.(props.row(row), !isOpen);
      return;
    }
    if (event.key in moves && (!event.ctrlKey || event.key === "Home" || event.key === "End")) {
      event.preventDefault();
      event.stopPropagation();
      move(...(/** @type {[number, number]} */ (moves[event.key])));
      return;
    }
    if (row < 0 || inHeader || event.ctrlKey) return;
    const item = props.row(row);
    if (!item) return;
    if (event.key === "Enter" && props.onOpen && !event.target.closest("button, a")) {
      event.preventDefault();
      props.onOpen(item);
    } else if (event.key === "x" && onSelect) {
      event.preventDefault();
      event.stopPropagation();
      onSelect(props.rowKey(item), row, event.shiftKey);
    } else if (props.onKey?.(event.key, item, event)) {
      event.preventDefault();
      event.stopPropagation();
    }
  };

  const { widths, lefts } = useMemo(() => places(ordered, hasSelect), [ordered, hasSelect]);
  const total = widths.reduce((sum, width) => sum + width, hasSelect ? SELECT_WIDTH : 0);
  const rows = [];
  for (let index = first; index < last; index++) rows.push(index);
  const sortOf = (key) => sort.find((item) => item.key === key);
  const active = cursor.row < 0 || cursor.row >= count ? { row: cursor.row < 0 ? -1 : 0, col: cursor.col } : cursor;

  return html`
  <div class="table-scroll" ref=${scroller} onKeyDown=${onKeyDown} style=${{ "--row": `${rowHeight}px` }}>
    <table class="table" role=${props.isTree ? "treegrid" : "grid"} aria-label=${label} aria-rowcount=${count + 1} aria-colcount=${ordered.length + (hasSelect ? 1 : 0)}
      aria-multiselectable=${hasSelect ? "true" : undefined}
      style=${{ width: `${total}px` }} onMouseLeave=${() => props.onHover?.(null)}>
      <colgroup>
        ${hasSelect && html`<col style=${{ width: `${SELECT_WIDTH}px` }} />`}
        ${ordered.map((column, i) => html`<col key=${column.key} style=${{ width: `${widths[i]}px` }} />`)}
      </colgroup>
      <thead><tr role="row" aria-rowindex="1">
        ${hasSelect && html`<th role="columnheader" class="select pinned" style=${{ left: "0px" }}>
          <input type="checkbox" aria-label="Select all rows" checked=${Boolean(selected?.size) && selected?.size === count}
            data-at=${active.row === -1 && active.col === 0 ? "true" : undefined} tabindex=${active.row === -1 && active.col === 0 ? 0 : -1}
            onChange=${(event) => props.onSelectAll?.(event.target.checked)} /></th>`}
        ${ordered.map((column, i) => html`<${Header} key=${column.key} column=${column} left=${lefts[i]} width=${widths[i]}
          order=${sortOf(column.key)} rank=${sort.length > 1 ? sort.findIndex((s) => s.key === column.key) + 1 : 0}
          isAt=${active.row === -1 && active.col === i + (hasSelect ? 1 : 0)} table=${props} ordered=${ordered} index=${i} />`)}
      </tr></thead>
      <tbody>
        ${before > 0 && html`<tr aria-hidden="true" class="space"><td style=${{ height: `${before}px` }}></td></tr>`}
        ${rows.map((index) => html`<${TableRow} key=${index} index=${index} table=${props} ordered=${ordered} lefts=${lefts} at=${active.row === index ? active.col : -1} setCursor=${setCursor} />`)}
        <tr aria-hidden="true" class="space"><td style=${{ height: `${Math.max(0, height - before - rows.length * rowHeight)}px` }}></td></tr>
      </tbody>
    </table>
  </div>`;
}

/** Widths of columns, and where the pinned ones stand. @param {Column[]} ordered @param {boolean} hasSelect */
function places(ordered, hasSelect) {
  const widths = ordered.map((column) => column.width ?? DEFAULT_WIDTH);
  const lefts = [];
  let left = hasSelect ? SELECT_WIDTH : 0;
  for (const [i, column] of ordered.entries()) {
    lefts.push(column.pinned ? left : undefined);
    if (column.pinned) left += widths[i];
  }
  return { widths, lefts };
}

/** One row. While the table scrolls its properties stay the same object, and rows that stay in view are left as they are:
 * a frame costs the rows that came into view. */
class TableRow extends Component {
  shouldComponentUpdate(next) {
    const now = /** @type {any} */ (this.props);
    return next.table !== now.table || next.index !== now.index || next.at !== now.at || next.lefts !== now.lefts;
  }

  render() {
    const { index, table, ordered, lefts, at, setCursor } = /** @type {any} */ (this.props);
    const { selected, onSelect } = table;
    const hasSelect = Boolean(onSelect);
    const row = table.row(index);
    const key = row ? table.rowKey(row) : `row ${index}`;
    const isSelected = Boolean(selected?.has(key));
    const own = (column, i) => (column.pinned || table.cellStyle ? { ...(column.pinned ? { left: `${lefts[i]}px` } : {}), ...(row && table.cellStyle?.(row, column)) } : undefined);
    return html`<tr role="row" aria-rowindex=${index + 2} aria-selected=${hasSelect ? String(isSelected) : undefined}
      aria-level=${table.isTree && row ? table.level?.(row) : undefined} aria-expanded=${table.isTree && row ? flag(table.isOpen?.(row)) : undefined}
      class=${cls(isSelected && "selected", table.highlighted === key && "highlighted", row && table.rowClass?.(row))}
      onMouseEnter=${() => row && table.onHover?.(row)}
      onClick=${(event) => { if (!event.target.closest("a, button, input")) setCursor((cursor) => ({ ...cursor, row: index })); }}
      onDblClick=${(event) => { if (row && table.onOpen && !event.target.closest("a, button, input")) table.onOpen(row); }}>
      ${hasSelect && html`<td role="gridcell" class="select pinned" style=${{ left: "0px" }}>${row && !row.isGroup && html`
        <input type="checkbox" aria-label=${`Select ${visible(row.label ?? key)}`} checked=${isSelected} data-at=${at === 0 ? "true" : undefined} tabindex=${at === 0 ? 0 : -1}
          onFocus=${() => setCursor({ row: index, col: 0 })} onClick=${(event) => onSelect?.(key, index, event.shiftKey)} />`}</td>`}
      ${ordered.map((column, i) => {
        const col = i + (hasSelect ? 1 : 0);
        const isAt = at === col;
        return html`<td key=${column.key} role="gridcell" aria-colindex=${col + 1} class=${cls(column.align === "end" && "end", column.mono && "mono", column.pinned && "pinned")} tabindex=${isAt ? 0 : -1}
          data-at=${isAt ? "true" : undefined} style=${own(column, i)} onFocus=${(event) => event.target === event.currentTarget && !isAt && setCursor({ row: index, col })}
          >${row ? table.cell(row, column, index) : html`<span class="ghost"></span>`}</td>`;
      })}
    </tr>`;
  }
}

/** @param {boolean|undefined} value */
const flag = (value) => (value === undefined ? undefined : String(value));

/** @param {any} props */
function Header({ column, left, width, order, rank, isAt, table, ordered, index }) {
  const { onColumns, onSort } = table;
  const sortable = onSort && column.sortable !== false;
  const put = (change) => onColumns(ordered.map((item) => (item.key === column.key ? { ...item, ...change } : item)));
  const shift = (by) => {
    const next = ordered.filter((item) => item.key !== column.key);
    const to = clamp(index + by, 0, next.length);
    next.splice(to, 0, { ...column, pinned: (by < 0 ? next[to] : next[to - 1])?.pinned ?? column.pinned });
    onColumns(next);
  };
  const resize = (event) => {
    event.preventDefault();
    event.stopPropagation();
    const start = event.clientX;
    const handle = event.currentTarget;
    handle.setPointerCapture(event.pointerId);
    const moved = (e) => put({ width: Math.max(MIN_WIDTH, width + e.clientX - start) });
    handle.addEventListener("pointermove", moved);
    handle.addEventListener("pointerup", () => handle.removeEventListener("pointermove", moved), { once: true });
  };
  const onKeyDown = (event) => {
    if (!event.altKey || !onColumns) return;
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    event.stopPropagation();
    if (event.shiftKey) shift(by);
    else put({ width: Math.max(MIN_WIDTH, width + by * 16) });
  };
  const cut = column.title.lastIndexOf("/") + 1;
  const title = html`<span class="title"><bdi dir="ltr"><span class="faint">${visible(column.title.slice(0, cut))}</span>${visible(column.title.slice(cut))}</bdi></span>`;
  const items = onColumns && !column.fixed ? [
    { text: column.pinned ? "Unpin" : "Pin to the left", run: () => put({ pinned: !column.pinned }) },
    { text: "Move left", keys: "Alt Shift ←", disabled: index === 0, run: () => shift(-1) },
    { text: "Move right", keys: "Alt Shift →", disabled: index === ordered.length - 1, run: () => shift(1) },
    { text: "Wider", keys: "Alt →", run: () => put({ width: width + 48 }) },
    { text: "Narrower", keys: "Alt ←", run: () => put({ width: Math.max(MIN_WIDTH, width - 48) }) },
    table.onRename && { text: "Rename…", run: () => table.onRename(column) },
    ...(table.menu?.(column) ?? []),
    { text: "Remove column", run: () => onColumns(ordered.filter((item) => item.key !== column.key)) },
  ] : [];
  return html`<th role="columnheader" scope="col" class=${cls(column.align === "end" && "end", column.pinned && "pinned")}
    aria-sort=${order ? (order.desc ? "descending" : "ascending") : sortable ? "none" : undefined} title=${column.hint ?? column.title}
    style=${column.pinned ? { left: `${left}px` } : undefined} onKeyDown=${onKeyDown}
    draggable=${Boolean(onColumns && !column.fixed)}
    onDragStart=${(event) => event.dataTransfer.setData("text/column", column.key)}
    onDragOver=${(event) => event.dataTransfer.types.includes("text/column") && event.preventDefault()}
    onDrop=${(event) => {
      const from = event.dataTransfer.getData("text/column");
      const moved = ordered.find((item) => item.key === from);
      if (!moved || from === column.key) return;
      event.preventDefault();
      const next = ordered.filter((item) => item.key !== from);
      const box = event.currentTarget.getBoundingClientRect();
      const at = next.findIndex((item) => item.key === column.key) + (event.clientX > box.left + box.width / 2 ? 1 : 0);
      next.splice(at, 0, { ...moved, pinned: column.pinned });
      onColumns(next);
    }}>
    <div class="head">
      ${sortable ? html`<button type="button" class="sort" tabindex=${isAt ? 0 : -1} data-at=${isAt ? "true" : undefined}
          onClick=${(event) => onSort(column.key, event.shiftKey)}>${title}<span class="arrow" aria-hidden="true">${
            order ? (order.desc ? "↓" : "↑") : ""}${rank > 0 ? html`<sub>${rank}</sub>` : ""}</span></button>`
        : html`<span class="sort" tabindex=${isAt ? 0 : -1} data-at=${isAt ? "true" : undefined}>${title}</span>`}
      ${items.length > 0 && html`<${Menu} items=${items} label="⋯" title=${`Column ${column.title}`} align=${index > 1 ? "end" : "start"} />`}
      ${onColumns && html`<span class="resize" aria-hidden="true" onPointerDown=${resize} onClick=${(e) => e.stopPropagation()}
        onDblClick=${(e) => { e.stopPropagation(); put({ width: DEFAULT_WIDTH }); }}></span>`}
    </div>
  </th>`;
}

/** Choose, search, order and pin columns.
 * @param {{fields: {key: string, title: string, kind?: string}[], columns: Column[], onChange: (columns: Column[]) => void}} props */
export function ColumnPicker({ fields, columns, onChange }) {
  const [text, setText] = useState("");
  const chosen = new Set(columns.map((column) => column.key));
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const found = useMemo(
    () => fields.filter((field) => words.every((word) => field.title.toLowerCase().includes(word))), [fields, text]);
  const shown = found.slice(0, 200);
  const toggle = (field) => onChange(chosen.has(field.key)
    ? columns.filter((column) => column.key !== field.key) : [...columns, { ...field }]);
  const swap = (index, by) => {
    const next = [...columns];
    const [moved] = next.splice(index, 1);
    next.splice(clamp(index + by, 0, next.length), 0, moved);
    onChange(next);
  };
  return html`<div class="picker">
    <div><p class="eyebrow">Shown</p>
      <ol class="picked">${columns.map((column, i) => html`<li key=${column.key}>
        <span class="title">${visible(column.title)}</span>
        <button type="button" class="button quiet" aria-label=${`Move ${column.title} up`} disabled=${i === 0} onClick=${() => swap(i, -1)}>↑</button>
        <button type="button" class="button quiet" aria-label=${`Move ${column.title} down`} disabled=${i === columns.length - 1} onClick=${() => swap(i, 1)}>↓</button>
        <button type="button" class="button quiet" aria-label=${`Pin ${column.title}`} aria-pressed=${String(Boolean(column.pinned))}
          onClick=${() => onChange(columns.map((item, k) => (k === i ? { ...item, pinned: !item.pinned } : item)))}>⇤</button>
        <button type="button" class="button quiet" aria-label=${`Remove ${column.title}`} onClick=${() => toggle(column)}>×</button>
      </li>`)}</ol></div>
    <div><p class="eyebrow">All fields</p>
      <input class="input" type="search" placeholder="Search fields" aria-label="Search fields" value=${text}
        onInput=${(event) => setText(event.target.value)} />
      <ul class="choices">${shown.map((field) => html`<li key=${field.key}><label class="toggle">
        <input type="checkbox" checked=${chosen.has(field.key)} onChange=${() => toggle(field)} />
        <span class="title">${visible(field.title)}</span><span class="faint kind">${field.kind ?? ""}</span></label></li>`)}</ul>
      <p class="faint" aria-live="polite">${found.length > shown.length
        ? `The first ${shown.length} of ${found.length.toLocaleString("en")}; type to narrow them.` : `${found.length.toLocaleString("en")} found`}</p>
    </div>
  </div>`;
}

/** @param {number} value @param {number} low @param {number} high */
const clamp = (value, low, high) => Math.max(low, Math.min(high, value));

/** The next order after a click on a header: up, down, none; a shift-click adds to the columns before.
 * @param {{key: string, desc: boolean}[]} sort @param {string} key @param {boolean} isAdded */
export function nextSort(sort, key, isAdded) {
  const now = sort.find((item) => item.key === key);
  const next = !now ? { key, desc: false } : !now.desc ? { key, desc: true } : null;
  if (!isAdded) return next ? [next] : [];
  const rest = sort.filter((item) => item.key !== key);
  return next ? (now ? sort.map((item) => (item.key === key ? next : item)) : [...rest, next]) : rest;
}

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
    <div class="tree-scroll" ref=${scroller} role="tree" aria-label=${label} tabindex=${rows.length ? -1 : 0} onKeyDown=${onKeyDown} style=${props.height ? { maxHeight: props.height, minHeight: 0, flex: "none" } : undefined}>
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

/** A text with each place of a word that is sought marked. @param {string} text @param {string} sought */
function marks(text, sought) {
  if (!sought) return text;
  const parts = [];
  const lower = text.toLowerCase(), word = sought.toLowerCase();
  let from = 0;
  for (let at = lower.indexOf(word); at >= 0 && parts.length < 200; at = lower.indexOf(word, from)) {
    parts.push(text.slice(from, at), html`<mark key=${at}>${text.slice(at, at + sought.length)}</mark>`);
    from = at + sought.length;
  }
  return parts.length ? [...parts, text.slice(from)] : text;
}
