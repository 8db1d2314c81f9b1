import { element, escapeText } from "./markup.ts";

/** How many colours series may have; more begin again. */
export const seriesColors = 8;

const light = [
  "#0060a8",
  "#d55e00",
  "#00805e",
  "#b0497f",
  "#8a6d00",
  "#3a9ad9",
  "#6a4fb3",
  "#6b6b6b",
];
const dark = [
  "#5fb0f0",
  "#ff8a3c",
  "#2cc79a",
  "#e58bbb",
  "#e2c04a",
  "#9ad4ff",
  "#b39cf5",
  "#b0b0b0",
];

const variables = (colors: readonly string[]): string =>
  colors.map((color, n) => `--c${n}:${color}`).join(";");
const classes = light
  .map((_, n) => `.f${n}{fill:var(--c${n})}.l${n}{stroke:var(--c${n});fill:none}`)
  .join("");

const style = `
:root{color-scheme:light dark;--bg:#fff;--fg:#1b1b1b;--dim:#666;--line:#ddd;--bad:#c00020;--wait:#b07000;--good:#00703c;${variables(light)}}
@media (prefers-color-scheme:dark){:root{--bg:#16181b;--fg:#e6e6e6;--dim:#9a9a9a;--line:#3a3d42;--bad:#ff6b78;--wait:#f0b840;--good:#5fd39a;${variables(dark)}}}
@media print{:root{--bg:#fff;--fg:#000;--dim:#444;--line:#bbb;--bad:#c00020;--wait:#b07000;--good:#00703c;${variables(light)}}
figure,tr{break-inside:avoid}*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
body{background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:1000px;padding:0 1em}
h1{font-size:1.5em}h2{font-size:1.25em;margin-top:2em;border-top:1px solid var(--line);padding-top:1em}h3{font-size:1em;margin:1.5em 0 .3em}
p.note,figcaption{color:var(--dim);font-size:.9em;max-width:75ch}
figure{margin:1.2em 0}svg{width:100%;height:auto}svg text{fill:var(--fg);font:11px system-ui,sans-serif}svg .dim{fill:var(--dim)}
svg .grid{stroke:var(--line);stroke-width:1}svg .axis{stroke:var(--dim);stroke-width:1}svg .series{stroke-width:1.8;stroke-linejoin:round}
svg .ideal{stroke:var(--dim);stroke-dasharray:5 4;fill:none}svg .bad{fill:var(--bad)}svg .wait{stroke:var(--wait);fill:var(--wait);stroke-width:2}
svg .name{paint-order:stroke;stroke:var(--bg);stroke-width:3px}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.85em;font-variant-numeric:tabular-nums}
th,td{padding:.2em .7em;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}th:first-child,td:first-child{text-align:left}
td.best{color:var(--good);font-weight:600}td.worst{color:var(--bad)}pre{overflow-x:auto;font-size:.85em}.alarm{color:var(--bad);font-weight:600}
${classes}`;

/** A whole HTML page that needs nothing from anywhere else. @param body markup */
export function page(title: string, body: readonly string[]): string {
  const head = [
    '<meta charset="utf-8">',
    '<meta name="viewport" content="width=device-width,initial-scale=1">',
    element("title", {}, escapeText(title)),
    `<style>${style}</style>`,
  ];
  return `<!doctype html>\n<html lang="en"><head>${head.join("\n")}</head>\n<body>\n${body.join("\n")}\n</body></html>\n`;
}

export function heading(level: 1 | 2 | 3, text: string): string {
  return element(`h${level}`, {}, escapeText(text));
}

export function note(text: string): string {
  return element("p", { class: "note" }, escapeText(text));
}

/** A picture with what it shows. @param svg markup */
export function figure(svg: string, caption: string): string {
  return element("figure", {}, svg, element("figcaption", {}, escapeText(caption)));
}
