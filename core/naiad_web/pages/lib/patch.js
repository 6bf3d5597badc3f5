/** Unified patches, as `git diff` prints them, as files with hunks; and what changed inside a pair of lines. */

/** @typedef {[" "|"-"|"+", string]} DiffLine */
/** @typedef {{left: number, right: number, lines: DiffLine[], head?: string}} Hunk */

/** @param {string} text @returns {{name: string, hunks: Hunk[], added: number, removed: number}[]} */
export function parsed(text) {
  /** @type {any[]} */
  const files = [];
  let file = /** @type {any} */ (null), hunk = /** @type {any} */ (null);
  for (const line of text.split("\n")) {
    const header = /^@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@ ?(.*)$/.exec(line);
    if (line.startsWith("diff --git ")) {
      file = { name: / b\/(.*)$/.exec(line)?.[1] ?? line.slice(11), hunks: [], added: 0, removed: 0 };
      files.push(file);
      hunk = null;
    } else if (header) {
      if (!file) files.push(file = { name: "", hunks: [], added: 0, removed: 0 });
      hunk = { left: +header[1], right: +header[2], lines: [], head: header[3] };
      file.hunks.push(hunk);
    } else if (hunk && /^[ +-]/.test(line)) {
      hunk.lines.push([line[0], line.slice(1)]);
      if (line[0] === "+") file.added += 1;
      if (line[0] === "-") file.removed += 1;
    } else if (line.startsWith("+++ ") && file && !hunk) {
      const name = line.slice(4).replace(/^b\//, "").split("\t")[0];
      if (name !== "/dev/null") file.name = name;
    } else if (!line.startsWith("\\")) hunk = line === "" ? hunk : null;
  }
  return files;
}

/** The middle of two lines that differs: lengths of the common start and end. @param {string} a @param {string} b */
export function changed(a, b) {
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start += 1;
  let end = 0;
  while (end < a.length - start && end < b.length - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end += 1;
  return { start, end };
}
