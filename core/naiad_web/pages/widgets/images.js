/** Images over steps: a grid with captions, a step slider that plays, and views that zoom and move together. */
import { html, cls, useEffect, useRef, useState } from "../lib/html.js";
import { visible } from "../lib/format.js";
import { Button, Empty, Skeleton } from "./controls.js";

/**
 * @typedef {{key: string, title: string, caption?: string, color?: string, url: () => Promise<string>, media?: string, isMissing?: boolean}} Picture
 * @typedef {{scale: number, x: number, y: number}} Frame
 */

/** A slider over steps that were logged; keys move it, a button plays it.
 * @param {{steps: number[], value: number, onChange: (step: number) => void, label?: string}} props */
export function StepSlider({ steps, value, onChange, label = "Step" }) {
  const [isPlaying, setPlaying] = useState(false);
  const index = nearest(steps, value);
  const still = typeof matchMedia === "function" && matchMedia("(prefers-reduced-motion: reduce)").matches;
  useEffect(() => {
    if (!isPlaying) return undefined;
    const timer = setInterval(() => {
      if (index >= steps.length - 1) setPlaying(false);
      else onChange(steps[index + 1]);
    }, still ? 1500 : 400);
    return () => clearInterval(timer);
  }, [isPlaying, index, steps]);
  if (!steps.length) return null;
  return html`<div class="stepper">
    <${Button} kind="quiet" label=${isPlaying ? "Pause" : "Play"} disabled=${steps.length < 2}
      onClick=${() => { if (!isPlaying && index >= steps.length - 1) onChange(steps[0]); setPlaying(!isPlaying); }}>${isPlaying ? "❚❚" : "▶"}</${Button}>
    <${Button} kind="quiet" label="Previous step" disabled=${index <= 0} onClick=${() => onChange(steps[index - 1])}>‹</${Button}>
    <input type="range" min="0" max=${steps.length - 1} value=${index} aria-label=${label} aria-valuetext=${`${label} ${steps[index]}`} disabled=${steps.length < 2}
      onInput=${(event) => onChange(steps[+event.target.value])} />
    <${Button} kind="quiet" label="Next step" disabled=${index >= steps.length - 1} onClick=${() => onChange(steps[index + 1])}>›</${Button}>
    <output class="number">${label.toLowerCase()} ${steps[index]} <span class="faint">${index + 1} of ${steps.length}</span></output>
  </div>`;
}

/** @param {number[]} steps @param {number} value */
export function nearest(steps, value) {
  if (value < 0 || value === undefined) return steps.length - 1;
  let best = 0;
  for (let i = 1; i < steps.length; i++) if (Math.abs(steps[i] - value) <= Math.abs(steps[best] - value)) best = i;
  return best;
}

/** Pictures side by side. @param {{pictures: Picture[], size?: number, onOpen?: (picture: Picture) => void, frame?: Frame, onFrame?: (frame: Frame) => void, pixelated?: boolean}} props */
export function ImageGrid({ pictures, size = 220, onOpen, frame, onFrame, pixelated }) {
  if (!pictures.length) return html`<${Empty} title="No images" />`;
  return html`<div class="images" style=${{ gridTemplateColumns: `repeat(auto-fill, minmax(min(${size}px, 100%), 1fr))` }}>
    ${pictures.map((picture) => html`<${Tile} key=${picture.key} picture=${picture} onOpen=${onOpen} frame=${frame} onFrame=${onFrame} pixelated=${pixelated} />`)}
  </div>`;
}

/** @param {any} props */
function Tile({ picture, onOpen, frame, onFrame, pixelated }) {
  return html`<figure class=${cls("tile", picture.isMissing && "missing")}>
    <${View} picture=${picture} frame=${frame} onFrame=${onFrame} pixelated=${pixelated} />
    <figcaption>${picture.color && html`<span class="swatch" style=${{ color: picture.color }}></span>`}
      ${onOpen ? html`<button type="button" class="link" onClick=${() => onOpen(picture)}>${visible(picture.title)}</button>` : html`<span>${visible(picture.title)}</span>`}
      ${picture.caption && html`<span class="faint caption">${visible(picture.caption)}</span>`}</figcaption>
  </figure>`;
}

/** The pixel of an image under a pointer: its place, and its value as the browser decodes it, 8 bits a channel.
 * @param {HTMLImageElement} img @param {{clientX: number, clientY: number}} at */
export function pixel(img, at) {
  const { left, top, width, height } = img.getBoundingClientRect();
  const { naturalWidth: w, naturalHeight: h } = img;
  const scale = Math.min(width / w, height / h); // the image lies in the middle of its element, whole
  const x = Math.floor((at.clientX - left - (width - w * scale) / 2) / scale), y = Math.floor((at.clientY - top - (height - h * scale) / 2) / scale);
  if (!(x >= 0 && y >= 0 && x < w && y < h)) return "";
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 1;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.drawImage(img, x, y, 1, 1, 0, 0, 1, 1);
  const [r, g, b, a] = context.getImageData(0, 0, 1, 1).data;
  return `x ${x}, y ${y}: ${r === g && g === b ? r : `${r} ${g} ${b}`}${a < 255 ? `, alpha ${a}` : ""}`;
}

/** One picture that zooms with the wheel and moves by dragging; `frame` is shared by the views that move together. */
export function View({ picture, frame, onFrame, pixelated = false, height }) {
  const [url, setUrl] = useState("");
  const [error, setError] = useState("");
  const [real, setReal] = useState(/** @type {{w: number, h: number}|null} */ (null));
  const box = useRef(null);
  const [isSeen, setSeen] = useState(false);
  useEffect(() => {
    const observer = new IntersectionObserver((entries) => entries.some((e) => e.isIntersecting) && setSeen(true), { rootMargin: "300px" });
    observer.observe(box.current);
    return () => observer.disconnect();
  }, []);
  useEffect(() => {
    if (!isSeen) return undefined;
    let isGone = false;
    picture.url().then((to) => !isGone && (setUrl(to), setError("")), (e) => !isGone && setError(String(e.message ?? e)));
    return () => {
      isGone = true;
    };
  }, [picture.key, isSeen]);
  const now = frame ?? { scale: 1, x: 0, y: 0 };
  useEffect(() => {
    const element = box.current;
    if (!onFrame) return undefined;
    const wheel = (event) => {
      if (!event.ctrlKey && now.scale === 1 && !event.shiftKey) return;
      event.preventDefault();
      const scale = Math.max(1, Math.min(40, now.scale * (event.deltaY < 0 ? 1.2 : 1 / 1.2)));
      onFrame(scale === 1 ? { scale: 1, x: 0, y: 0 } : { ...now, scale });
    };
    element.addEventListener("wheel", wheel, { passive: false });
    return () => element.removeEventListener("wheel", wheel);
  });
  const drag = (event) => {
    if (!onFrame || now.scale === 1) return;
    event.preventDefault();
    const start = { x: event.clientX, y: event.clientY };
    const element = event.currentTarget;
    element.setPointerCapture(event.pointerId);
    const moved = (e) => onFrame({ ...now, x: now.x + (e.clientX - start.x) / element.clientWidth, y: now.y + (e.clientY - start.y) / element.clientHeight });
    element.addEventListener("pointermove", moved);
    element.addEventListener("pointerup", () => element.removeEventListener("pointermove", moved), { once: true });
  };
  const [under, setUnder] = useState("");
  const pointer = useRef(null); // it may come to rest here before the image is there, or while another takes its place
  const look = (event) => {
    pointer.current = event;
    const img = box.current.querySelector("img");
    setUnder(event && img?.complete && img.naturalWidth ? pixel(img, event) : "");
  };
  const zoomed = now.scale > 1;
  return html`<div class="view" ref=${box} onPointerDown=${drag} onPointerMove=${look} onPointerLeave=${() => look(null)} style=${height ? { height } : undefined}>
    ${picture.isMissing ? html`<span class="faint">nothing at this step</span>` : error ? html`<span class="bad-text">${error}</span>`
      : url ? html`<img src=${url} alt=${picture.caption || picture.title} draggable=${false} class=${cls((pixelated || (real && Math.max(real.w, real.h) <= 64) || now.scale >= 4) && "pixelated")}
        onLoad=${(event) => {
          setReal({ w: event.target.naturalWidth, h: event.target.naturalHeight });
          look(pointer.current);
        }}
        onError=${() => setError("The browser cannot show this image.")}
        style=${zoomed ? { transform: `translate(${now.x * 100}%, ${now.y * 100}%) scale(${now.scale})` } : undefined} />`
      : html`<${Skeleton} lines=${2} label="Loading image" />`}${under && html`<output class="pixel number">${under}</output>`}
  </div>`;
}

/** Zoom of views that move together. @param {{frame: Frame, onFrame: (frame: Frame) => void}} props */
export const FrameControls = ({ frame, onFrame }) => html`<span class="frame-controls">
  <${Button} kind="quiet" label="Zoom in" onClick=${() => onFrame({ ...frame, scale: Math.min(40, frame.scale * 1.5) })}>+</${Button}>
  <${Button} kind="quiet" label="Zoom out" onClick=${() => onFrame(frame.scale <= 1.5 ? { scale: 1, x: 0, y: 0 } : { ...frame, scale: frame.scale / 1.5 })}>−</${Button}>
  ${frame.scale > 1 && html`<${Button} kind="quiet" label="Whole images" onClick=${() => onFrame({ scale: 1, x: 0, y: 0 })}>${frame.scale.toFixed(1)}×</${Button}>`}
</span>`;

/** Two pictures in one place, with a divider, or their difference. @param {{left: Picture, right: Picture, mode: string}} props */
export function Swipe({ left, right, mode }) {
  const [at, setAt] = useState(50);
  const [urls, setUrls] = useState(["", ""]);
  useEffect(() => {
    let isGone = false;
    Promise.all([left.url(), right.url()]).then((found) => !isGone && setUrls(found), () => undefined);
    return () => {
      isGone = true;
    };
  }, [left.key, right.key]);
  if (!urls[0]) return html`<${Skeleton} lines=${3} />`;
  return html`<div class="swipe">
    <div class=${cls("swipe-box", mode === "difference" && "difference")}>
      <img src=${urls[0]} alt=${left.title} /><img class="over" src=${urls[1]} alt=${right.title} style=${mode === "difference" ? undefined : { clipPath: `inset(0 0 0 ${at}%)` }} />
    </div>
    ${mode !== "difference" && html`<input type="range" min="0" max="100" value=${at} aria-label=${`Divider between ${left.title} and ${right.title}`} onInput=${(e) => setAt(+e.target.value)} />`}
    <div class="faint">${visible(left.title)} | ${visible(right.title)}</div>
  </div>`;
}
