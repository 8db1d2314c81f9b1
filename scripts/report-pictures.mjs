// Takes pictures out of a report as SVG files that stand alone:
//   node scripts/report-pictures.mjs REPORT.html FOLDER "processors over time=gantt" "throughput against overcommit=throughput"
// A picture is named by its title, and the first of that title is taken.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const [report, folder, ...wanted] = process.argv.slice(2);
if (report === undefined || folder === undefined || wanted.length === 0) {
  throw new Error("give a report, a folder, and title=name for each picture");
}
const html = readFileSync(report, "utf8");
const style = /<style>[\s\S]*?<\/style>/.exec(html)?.[0] ?? "";
mkdirSync(folder, { recursive: true });
for (const text of wanted) {
  const [title = "", name = ""] = text.split("=");
  const picture = [...html.matchAll(/<svg[\s\S]*?<\/svg>/g)]
    .map(([svg]) => svg)
    .find((svg) => svg.includes(`aria-label="${title}"`));
  if (picture === undefined) throw new Error(`${report} has no picture "${title}"`);
  const alone = picture.replace(
    /^<svg ([^>]*)>/,
    `<svg xmlns="http://www.w3.org/2000/svg" $1>${style}<style>svg{background:var(--bg)}</style>`,
  );
  writeFileSync(join(folder, `${name}.svg`), `${alone}\n`);
}
