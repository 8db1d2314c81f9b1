import { bucketStart, type LogHistogramData } from "../../base/log-histogram.ts";
import { formatNanoseconds, linearAxis, logAxis } from "./axes.ts";
import { chart, fillClass, line, lineClass, polyline } from "./chart.ts";
import { element } from "./markup.ts";

export interface Series {
  readonly name: string;
  readonly points: readonly (readonly [x: number, y: number])[];
}

/** Lines over a linear x. @param ideal a line to compare with */
export function lineChart(
  labels: { readonly title: string; readonly x: string; readonly y: string },
  series: readonly Series[],
  options: {
    readonly ideal?: Series;
    /** Half-widths of confidence intervals, point by point. */
    readonly spread?: readonly (readonly number[])[];
    readonly formatX?: (value: number) => string;
    readonly yMax?: number;
  } = {},
): string {
  const { ideal, spread = [], formatX, yMax } = options;
  const points = [...series, ...(ideal === undefined ? [] : [ideal])].flatMap((one) => one.points);
  const xs = points.map(([x]) => x);
  const top = yMax ?? points.reduce((most, [, y]) => Math.max(most, y), 0);
  const x = linearAxis(labels.x, Math.min(...xs), Math.max(...xs), formatX);
  const y = linearAxis(labels.y, 0, top);
  const legend = [
    ...series.map(({ name }, n) => ({ text: name, swatch: fillClass(n) })),
    ...(ideal === undefined ? [] : [{ text: `${ideal.name} (dashed)`, swatch: "ideal" }]),
  ];
  return chart(labels.title, x, y, legend, (plot) => [
    ...(ideal === undefined
      ? []
      : [
          polyline(
            "ideal",
            ideal.points.map(([a, b]) => [plot.x(a), plot.y(b)] as const),
          ),
        ]),
    ...series.flatMap(({ points: own }, n) => [
      polyline(
        lineClass(n),
        own.map(([a, b]) => [plot.x(a), plot.y(b)] as const),
      ),
      ...own.flatMap(([a, b], k) => {
        const half = spread[n]?.[k] ?? 0;
        if (half === 0) return [];
        return [
          line(
            lineClass(n),
            plot.x(a),
            plot.y(Math.max(0, b - half)),
            plot.x(a),
            plot.y(Math.min(top, b + half)),
          ),
        ];
      }),
    ]),
  ]);
}

/** Part of the values that are not above x, over a logarithmic x, for some distributions. Those of nothing are left out. */
export function distributionChart(
  title: string,
  labelX: string,
  distributions: readonly { readonly name: string; readonly data: LogHistogramData }[],
  format = formatNanoseconds,
): string {
  const shown = distributions.filter(({ data }) => data.count > 0);
  const highest = Math.max(10, ...shown.map(({ data }) => data.max));
  const x = logAxis(labelX, Math.min(1000, highest / 10), highest, format);
  const y = linearAxis("% of all", 0, 100);
  const legend = shown.map(({ name }, n) => ({ text: name, swatch: fillClass(n) }));
  return chart(title, x, y, legend, (plot) =>
    shown.map(({ data }, n) =>
      polyline(
        lineClass(n),
        cumulative(data).map(([value, part]) => [plot.x(value), plot.y(part * 100)] as const),
      ),
    ),
  );
}

/** Steps of the cumulative distribution: value, and the part of all that is not above it. */
export function cumulative({ count, max, buckets }: LogHistogramData): readonly [number, number][] {
  let seen = 0;
  return buckets.flatMap(([index, many]): [number, number][] => {
    const before = seen / count;
    seen += many;
    const end = Math.min(max, bucketStart(index + 1));
    return [
      [Math.min(end, bucketStart(index)), before],
      [end, seen / count],
    ];
  });
}

/** How many values lie in each logarithmic bucket, as bars over a logarithmic x, counts on a logarithmic y. */
export function bucketChart(
  title: string,
  labelX: string,
  { max, buckets }: LogHistogramData,
  format = formatNanoseconds,
): string {
  const most = buckets.reduce((greatest, [, many]) => Math.max(greatest, many), 1);
  const least = Math.max(1, bucketStart(buckets[0]?.[0] ?? 0));
  const x = logAxis(labelX, least, Math.max(max, least * 10), format);
  const y = logAxis("count", 0.5, most);
  return chart(title, x, y, [], (plot) =>
    buckets.map(([index, many]) => {
      const left = plot.x(Math.max(1, bucketStart(index)));
      const right = plot.x(Math.max(1, bucketStart(index + 1)));
      const top = plot.y(many);
      return element(
        "rect",
        {
          class: "f0",
          x: left,
          y: top,
          width: Math.max(0.5, right - left - 0.5),
          height: plot.bottom - top,
        },
        element("title", {}, `${format(bucketStart(index))}: ${many}`),
      );
    }),
  );
}

/** Bars made of parts, one below the other. `parts` of a bar are in percent. */
export function stackedBars(
  title: string,
  partNames: readonly string[],
  bars: readonly { readonly name: string; readonly parts: readonly number[] }[],
): string {
  const rowHeight = 24;
  const x = linearAxis("% of the vCPUs' time", 0, 100);
  const y = {
    label: "",
    place: (row: number) => 1 - (row + 0.5) / bars.length,
    ticks: [],
  };
  const legend = partNames.map((text, n) => ({ text, swatch: fillClass(n) }));
  return chart(
    title,
    x,
    y,
    legend,
    (plot) =>
      bars.flatMap(({ name, parts }, row) => {
        let before = 0;
        const boxes = parts.map((part, n) => {
          const left = plot.x(before);
          before += part;
          return element(
            "rect",
            {
              class: fillClass(n),
              x: left,
              y: plot.y(row) - 8,
              width: plot.x(before) - left,
              height: 16,
            },
            element("title", {}, `${partNames[n]}: ${part.toFixed(2)} %`),
          );
        });
        const text = element("text", { x: plot.left + 4, y: plot.y(row) + 4, class: "name" }, name);
        return [...boxes, text];
      }),
    Math.max(1, bars.length) * rowHeight,
  );
}
