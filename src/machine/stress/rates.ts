const cyclesPerSecond = 1e9;

/** Mean cycles between two, by their number per second. */
export const spacing = (rate: number): number =>
  rate === 0 ? Number.POSITIVE_INFINITY : cyclesPerSecond / rate;
