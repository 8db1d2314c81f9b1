/** One direction of a chart. */
export interface Axis {
  readonly label: string;
  /** From a value to a place between 0 and 1. */
  readonly place: (value: number) => number;
  readonly ticks: readonly { readonly value: number; readonly text: string }[];
}

type Format = (value: number) => string;
const plain: Format = (value) => String(Number(value.toPrecision(6)));

/** An axis from `least` to `most` with round steps. */
export function linearAxis(label: string, least: number, most: number, format = plain): Axis {
  const span = most > least ? most - least : 1;
  const step = roundStep(span / 5);
  const ticks: number[] = [];
  for (let n = Math.ceil(least / step - 1e-9); n * step <= least + span * 1.000001; n++) {
    ticks.push(n * step);
  }
  return {
    label,
    place: (value) => (value - least) / span,
    ticks: ticks.map((value) => ({ value, text: format(value) })),
  };
}

/** The next 1, 2 or 5 times a power of ten. */
function roundStep(wanted: number): number {
  const power = 10 ** Math.floor(Math.log10(wanted));
  return ([1, 2, 5].find((factor) => factor * power >= wanted * 0.999) ?? 10) * power;
}

/** A logarithmic axis over whole decades around its values, which must be above 0. */
export function logAxis(label: string, least: number, most: number, format = plain): Axis {
  const first = Math.floor(Math.log10(least) + 1e-9);
  const last = Math.max(first + 1, Math.ceil(Math.log10(most) - 1e-9));
  const ticks = Array.from({ length: last - first + 1 }, (_, n) => 10 ** (first + n));
  return {
    label,
    place: (value) => (Math.log10(Math.max(value, 10 ** first)) - first) / (last - first),
    ticks: ticks.map((value) => ({ value, text: format(value) })),
  };
}

/** Nanoseconds in their largest unit: `20 us`. */
export function formatNanoseconds(value: number): string {
  const units = [
    { size: 1e9, name: "s" },
    { size: 1e6, name: "ms" },
    { size: 1e3, name: "us" },
  ];
  const unit = units.find(({ size }) => Math.abs(value) >= size) ?? { size: 1, name: "ns" };
  return `${plain(Number((value / unit.size).toPrecision(4)))} ${unit.name}`;
}
