/** The query bar: a line of the query language with completion, and a caret below the place of an error. */
import { html, useEffect, useRef, useState } from "../lib/html.js";
import { visible } from "../lib/format.js";
import { source } from "../lib/source.js";

/** @param {{value: string, onChange: (query: string) => void, project: string, kind?: string, inputRef?: any}} props */
export function QueryBar({ value, onChange, project, kind = "run", inputRef }) {
  const [text, setText] = useState(value);
  const [state, setState] = useState(/** @type {any} */ ({}));
  const [isOpen, setOpen] = useState(false);
  const [at, setAt] = useState(-1);
  const own = useRef(null);
  const input = inputRef ?? own;
  const timer = useRef(0);
  const turn = useRef(0);
  useEffect(() => {
    setText(value);
    if (!value) setState({});
    else check(value, value.length, false);
  }, [value]);

  const check = async (query, caret, opens) => {
    const mine = turn.current += 1;
    const answer = await source.get("/query", { query, at: caret, kind, project }).catch(() => null);
    if (mine !== turn.current || !answer) return;
    setState({ ...answer, query });
    setAt(-1);
    if (opens) setOpen(document.activeElement === input.current && Boolean(answer.suggestions?.length));
    if (answer.is_valid && opens) apply(query);
  };
  const apply = (query) => {
    clearTimeout(timer.current);
    timer.current = window.setTimeout(() => onChange(query), 350);
  };
  const typed = (event) => {
    const query = event.target.value;
    setText(query);
    clearTimeout(timer.current);
    if (!query.trim()) {
      setState({});
      setOpen(false);
      turn.current += 1;
      onChange("");
    } else check(query, event.target.selectionStart ?? query.length, true);
  };
  const take = (word) => {
    const element = input.current;
    const caret = element.selectionStart ?? text.length;
    const head = text.slice(0, state.from ?? caret) + word + " ";
    const query = head + text.slice(caret).trimStart();
    element.value = query; // at once: what is typed next has to follow it
    element.focus();
    element.setSelectionRange(head.length, head.length);
    setText(query);
    setOpen(false);
    check(query, head.length, true);
  };
  const words = state.suggestions ?? [];
  const onKeyDown = (event) => {
    if (event.key === "ArrowDown" && words.length) {
      event.preventDefault();
      setOpen(true);
      setAt((at + 1) % words.length);
    } else if (event.key === "ArrowUp" && isOpen) {
      event.preventDefault();
      setAt((at - 1 + words.length) % words.length);
    } else if ((event.key === "Enter" || event.key === "Tab") && isOpen && at >= 0) {
      event.preventDefault();
      take(words[at]);
    } else if (event.key === "Enter") {
      clearTimeout(timer.current);
      setOpen(false);
      if (state.is_valid !== false || state.query !== text) onChange(text);
    } else if (event.key === "Escape" && isOpen) {
      event.stopPropagation();
      event.preventDefault();
      setOpen(false);
    }
  };
  const error = state.is_valid === false && state.query === text ? state.error : null;
  return html`<div class="queries"><div class="section" style=${{ flex: 1, gap: "4px", minWidth: 0 }}>
    <input class="input" ref=${input} value=${text} spellcheck=${false} autocomplete="off" autocapitalize="off" placeholder='Query, such as  lr < 0.01 AND sys/state = "finished"' role="combobox"
      aria-label="Query" aria-expanded=${String(isOpen)} aria-controls="suggestions" aria-autocomplete="list" aria-activedescendant=${isOpen && at >= 0 ? `suggestion-${at}` : undefined}
      aria-invalid=${error ? "true" : undefined} aria-describedby=${error && !isOpen ? "query-error" : undefined}
      onInput=${typed} onKeyDown=${onKeyDown} onBlur=${() => setTimeout(() => setOpen(false), 150)} />
    ${error && !isOpen && html`<pre class="caret-error" id="query-error" role="alert">${shownError(error, text)}</pre>`}
    </div>
    ${isOpen && words.length > 0 && html`<ul class="suggestions" id="suggestions" role="listbox" aria-label="Suggestions">${words.slice(0, 40).map((word, i) => html`<li key=${word} id=${`suggestion-${i}`} role="option" aria-selected=${String(i === at)}
      onMouseDown=${(event) => { event.preventDefault(); take(word); }}>${visible(word)}</li>`)}</ul>`}
  </div>`;
}

/** The problem with a caret below its place; a detail that draws it already stays as it is. @param {any} error @param {string} text */
function shownError(error, text) {
  const detail = String(error.detail ?? "");
  if (detail.includes("^") || !error.column) return detail.split("\n").map(visible).join("\n");
  return `${visible(text)}\n${" ".repeat(Math.max(0, error.column - 1))}^\n${visible(detail)}`;
}

/** Add a condition to a query, or take it out again. @param {string} query @param {string} condition */
export function toggled(query, condition) {
  const whole = / OR /i.test(query) && !query.includes(" AND ") ? `(${query})` : query;
  const parts = whole.split(" AND ").filter(Boolean);
  return (parts.includes(condition) ? parts.filter((part) => part !== condition) : [...parts, condition]).join(" AND ");
}

/** @param {string} query @param {string} condition */
export const isIn = (query, condition) => query.split(" AND ").includes(condition);
