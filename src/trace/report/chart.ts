import type { Axis } from "./axes.ts";
import { element, escapeText } from "./markup.ts";
import { seriesColors } from "./page.ts";

const width = 960;
const left = 64;
const right = 32;
const legendHeight = 22;
const bottom = 42;

/** The part of a picture where values are drawn, in pixels. */
export interface Plot {
  readonly x: (value: number) => number;
  readonly y: (value: number) => number;
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly bottom: number;
}

export interface LegendEntry {
  readonly text: string;
  /** Class of the sample: `f0` for a filled one. */
  readonly swatch: string;
}

/** A picture with axes, grid and legend. @param draw makes what is within, as markup */
export function chart(
  title: string,
  x: Axis,
  y: Axis,
  legend: readonly LegendEntry[],
  draw: (plot: Plot) => readonly string[],
  height = 300,
): string {
  const lines = legendLines(legend);
  const top = 10 + lines.length * legendHeight;
  const total = top + height + bottom;
  const plot: Plot = {
    x: (value) => left + x.place(value) * (width - left - right),
    y: (value) => top + (1 - y.place(value)) * height,
    left,
    right: width - right,
    top,
    bottom: top + height,
  };
  return element(
    "svg",
    { viewBox: `0 0 ${width} ${total}`, role: "img", "aria-label": title },
    ...lines.flatMap((entries, line) => drawLegend(entries, line)),
    ...grid(plot, x, y),
    ...draw(plot),
    line("axis", plot.left, plot.bottom, plot.right, plot.bottom),
    label((plot.left + plot.right) / 2, total - 6, x.label, "middle"),
    element(
      "text",
      {
        transform: `translate(14 ${(plot.top + plot.bottom) / 2}) rotate(-90)`,
        "text-anchor": "middle",
      },
      escapeText(y.label),
    ),
  );
}

function grid(plot: Plot, x: Axis, y: Axis): readonly string[] {
  return [
    ...y.ticks.flatMap(({ value, text }) => [
      line("grid", plot.left, plot.y(value), plot.right, plot.y(value)),
      label(plot.left - 6, plot.y(value) + 4, text, "end", "dim"),
    ]),
    ...x.ticks.flatMap(({ value, text }) => [
      line("grid", plot.x(value), plot.top, plot.x(value), plot.bottom),
      label(plot.x(value), plot.bottom + 15, text, "middle", "dim"),
    ]),
  ];
}

/** Entries in as many lines as they need. */
function legendLines(legend: readonly LegendEntry[]): readonly (readonly LegendEntry[])[] {
  const lines: LegendEntry[][] = [];
  let used = Number.POSITIVE_INFINITY;
  for (const entry of legend) {
    if (used + entryWidth(entry) > width - left - right) {
      lines.push([]);
      used = 0;
    }
    lines.at(-1)?.push(entry);
    used += entryWidth(entry);
  }
  return lines;
}

const entryWidth = ({ text }: LegendEntry): number => 34 + text.length * 6.5;

function drawLegend(entries: readonly LegendEntry[], line: number): readonly string[] {
  let x = left;
  const y = 6 + line * legendHeight;
  return entries.flatMap((entry) => {
    const at = x;
    x += entryWidth(entry);
    return [
      element("rect", { class: entry.swatch, x: at, y, width: 14, height: 10 }),
      label(at + 19, y + 9, entry.text, "start"),
    ];
  });
}

export function line(kind: string, x1: number, y1: number, x2: number, y2: number): string {
  return element("line", { class: kind, x1, y1, x2, y2 });
}

export function label(
  x: number,
  y: number,
  text: string,
  anchor: "start" | "middle" | "end",
  kind?: string,
): string {
  return element("text", { x, y, "text-anchor": anchor, class: kind }, escapeText(text));
}

/** Points joined by lines. */
export function polyline(
  kind: string,
  points: readonly (readonly [x: number, y: number])[],
): string {
  const text = points.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" ");
  return element("polyline", { class: kind, points: text });
}

/** Class of a series' line or area. */
export const lineClass = (n: number): string => `series l${n % seriesColors}`;
export const fillClass = (n: number): string => `f${n % seriesColors}`;
