/** Changes: name, description, tags, views. Shown only when the server was started with --edit. */
import { html, useEffect, useState } from "../lib/html.js";
import { counted } from "../lib/format.js";
import { source } from "../lib/source.js";
import { Button, Failure } from "../widgets/controls.js";
import { Dialog } from "./shell.js";

/** @returns {[any, (toast: any) => void]} */
export function useToast() {
  const [toast, setToast] = useState(/** @type {any} */ (null));
  useEffect(() => {
    if (!toast) return undefined;
    const timer = setTimeout(() => setToast(null), 6000);
    return () => clearTimeout(timer);
  }, [toast]);
  return [toast, setToast];
}

/** @param {{toast: any, onClose: () => void}} props */
export const Toast = ({ toast, onClose }) => html`<div role="status" aria-live="polite">${toast && html`<div class="toast"><span>${toast.text}</span>
  ${toast.action && html`<${Button} onClick=${() => { onClose(); toast.action.run(); }}>${toast.action.text}</${Button}>`}<${Button} kind="quiet" label="Close" onClick=${onClose}>✕</${Button}></div>`}</div>`;

const words = (text) => text.split(",").map((word) => word.trim()).filter(Boolean);

/** Edit one run, or tags of several. @param {{ids: string[], facts?: any, onClose: () => void, onDone: (text: string) => void}} props */
export function EditRuns({ ids, facts, onClose, onDone }) {
  const [error, setError] = useState(/** @type {any} */ (null));
  const [known, setKnown] = useState(facts);
  const isOne = ids.length === 1;
  useEffect(() => {
    if (isOne && !facts) source.get(`/containers/${encodeURIComponent(ids[0])}`).then(setKnown, setError);
  }, []);
  const save = async (event) => {
    event.preventDefault();
    const form = new FormData(event.target);
    const text = (name) => String(form.get(name) ?? "");
    try {
      for (const id of ids) {
        const change = isOne
          ? { name: text("name"), description: text("description"), tags: { add: words(text("tags")).filter((tag) => !known.tags.includes(tag)), remove: known.tags.filter((tag) => !words(text("tags")).includes(tag)) } }
          : { tags: { add: words(text("add")), remove: words(text("remove")) } };
        await source.change("PATCH", `/containers/${encodeURIComponent(id)}`, change);
      }
      onDone(`${counted(ids.length, "run")} changed.`);
    } catch (failure) {
      setError(failure);
    }
  };
  return html`<${Dialog} title=${isOne ? `Edit ${ids[0]}` : `Edit ${ids.length} runs`} onClose=${onClose}>
    ${error && html`<${Failure} error=${error} />`}
    ${(known || !isOne) && html`<form onSubmit=${save}>${isOne ? html`
        <label class="field">Name <input class="input" name="name" value=${known.name ?? ""} /></label>
        <label class="field">Description <textarea class="input" name="description" rows="4" value=${known.description ?? ""}></textarea></label>
        <label class="field">Tags, separated by commas <input class="input" name="tags" value=${known.tags.join(", ")} /></label>`
      : html`<label class="field">Add tags, separated by commas <input class="input" name="add" /></label><label class="field">Remove tags <input class="input" name="remove" /></label>`}
      <div class="actions"><${Button} onClick=${onClose}>Cancel</${Button}><button class="button primary">Save</button></div></form>`}
  </${Dialog}>`;
}

/** @param {{project: string, url: string, onClose: () => void, onDone: () => void}} props */
export function SaveView({ project, url, onClose, onDone }) {
  const [error, setError] = useState(/** @type {any} */ (null));
  const save = async (event) => {
    event.preventDefault();
    const name = String(new FormData(event.target).get("name") ?? "").trim();
    if (!name) return;
    try {
      await source.change("PUT", "/views", { project, name, url });
      onDone();
    } catch (failure) {
      setError(failure);
    }
  };
  return html`<${Dialog} title="Save this view" onClose=${onClose}>${error && html`<${Failure} error=${error} />`}
    <form onSubmit=${save}><label class="field">Name <input class="input" name="name" required maxlength="100" /></label>
      <p class="faint">Its columns, filters, order and charts are kept as a field of the project.</p>
      <div class="actions"><${Button} onClick=${onClose}>Cancel</${Button}><button class="button primary">Save</button></div></form></${Dialog}>`;
}
