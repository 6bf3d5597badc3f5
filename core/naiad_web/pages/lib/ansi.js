/** Terminal output as spans: colours become classes, every other control sequence is left out of the view. */

/** @typedef {{text: string, classes: string}} Span */

// OSC (to BEL or ST), CSI, other two-character escapes.
const ESCAPE = /\u001b\][^\u0007\u001b]*(?:\u0007|\u001b\\|$)|\u001b\[([0-9;:?<=>]*)[ -/]*([@-~])|\u001b[@-Z\\^_]|\u001b/g;

/** @param {string} line @returns {Span[]} */
export function spans(line) {
  if (!line.includes("\u001b")) return [{ text: line, classes: "" }];
  /** @type {Span[]} */
  const found = [];
  let style = { color: "", back: "", bold: false, faint: false, italic: false, under: false };
  let at = 0;
  const push = (text) => {
    if (!text) return;
    const { color, back, bold, faint, italic, under } = style;
    const classes = [color && `ansi-${color}`, back && `ansi-b${back}`, bold && "bold", faint && "dim", italic && "italic", under && "under"];
    found.push({ text, classes: classes.filter(Boolean).join(" ") });
  };
  for (const match of line.matchAll(ESCAPE)) {
    push(line.slice(at, match.index));
    at = /** @type {number} */ (match.index) + match[0].length;
    if (match[2] === "m") style = styled(style, match[1]);
  }
  push(line.slice(at));
  return found;
}

/** @param {any} style @param {string} codes */
function styled(style, codes) {
  const next = { ...style };
  const list = codes.split(/[;:]/).map(Number);
  for (let i = 0; i < list.length; i++) {
    const code = list[i] || 0;
    if (code === 0) Object.assign(next, { color: "", back: "", bold: false, faint: false, italic: false, under: false });
    else if (code === 1) next.bold = true;
    else if (code === 2) next.faint = true;
    else if (code === 3) next.italic = true;
    else if (code === 4) next.under = true;
    else if (code === 22) next.bold = next.faint = false;
    else if (code === 23) next.italic = false;
    else if (code === 24) next.under = false;
    else if (code >= 30 && code <= 37) next.color = String(code - 30);
    else if (code >= 90 && code <= 97) next.color = String(code - 90);
    else if (code === 39) next.color = "";
    else if (code >= 40 && code <= 47) next.back = String(code - 40);
    else if (code >= 100 && code <= 107) next.back = String(code - 100);
    else if (code === 49) next.back = "";
    else if (code === 38 || code === 48) {
      const name = list[i + 1] === 5 ? nearest256(list[i + 2]) : nearestRgb(list[i + 2], list[i + 3], list[i + 4]);
      i += list[i + 1] === 5 ? 2 : 4;
      next[code === 38 ? "color" : "back"] = name;
    }
  }
  return next;
}

/** The one of eight colours nearest to one of 256. @param {number} n */
function nearest256(n) {
  if (n < 16) return String(n % 8);
  if (n >= 232) return n < 244 ? "0" : "7";
  const index = n - 16;
  return nearestRgb(Math.floor(index / 36) * 51, (Math.floor(index / 6) % 6) * 51, (index % 6) * 51);
}

/** @param {number} r @param {number} g @param {number} b */
const nearestRgb = (r, g, b) => String((r > 127 ? 1 : 0) + (g > 127 ? 2 : 0) + (b > 127 ? 4 : 0));

/** A line without its sequences, for searching and copying. @param {string} line */
export const plain = (line) => (line.includes("\u001b") ? line.replace(ESCAPE, "") : line);

/** The level that a log line announces, for its colour. @param {string} line */
export function level(line) {
  const found = /\b(CRITICAL|FATAL|ERROR|WARN(?:ING)?|DEBUG|TRACE)\b|^(Traceback|\w+Error:)/.exec(line.slice(0, 200));
  if (!found) return "";
  if (found[2]) return "bad";
  return { C: "bad", F: "bad", E: "bad", W: "warn", D: "dim", T: "dim" }[found[1][0]] ?? "";
}
