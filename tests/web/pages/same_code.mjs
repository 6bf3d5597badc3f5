/** Print the names of files of which two versions differ in more than comments: [[name, one, other], ...] in a JSON file. */
import { readFileSync } from "node:fs";
import ts from "typescript";

const printer = ts.createPrinter({ removeComments: true });
const printed = (text) => printer.printFile(ts.createSourceFile("a.js", text, ts.ScriptTarget.Latest, false, ts.ScriptKind.JS));
for (const [name, one, other] of JSON.parse(readFileSync(process.argv[2], "utf8"))) {
  if (printed(one) !== printed(other)) console.log(name);
}
