/** Print the names of files of which two versions are different programs: [[name, one, other], ...] in a JSON file.
 *
 * They are compared as node's own parser has them, which `node --expose-internals` gives out. Blanks count as one in the
 * templates of elements, where a browser shows them as one, and as they are in all other texts. */
const { readFileSync } = require("node:fs");
const { parse } = require("internal/deps/acorn/acorn/dist/acorn");

function plain(node, isOfElements = false) {
  if (Array.isArray(node)) return node.map((one) => plain(one, isOfElements));
  if (typeof node === "bigint" || node instanceof RegExp) return String(node);
  if (!node || typeof node !== "object") return node;
  if (node.type === "TemplateElement") return isOfElements ? node.value.raw.replace(/\s+/g, " ") : node.value.raw;
  const isTag = node.type === "TaggedTemplateExpression" && node.tag.name === "html";
  return Object.entries(node).filter(([key]) => key !== "start" && key !== "end")
    .map(([key, value]) => [key, key === "quasi" || key === "quasis" ? plain(value, isTag || isOfElements) : plain(value)]);
}

const program = (text) => JSON.stringify(plain(parse(text, { sourceType: "module", ecmaVersion: "latest" })));
for (const [name, one, other] of JSON.parse(readFileSync(process.argv[2], "utf8"))) {
  if (program(one) !== program(other)) console.log(name);
}
