/** The clock registers' fields of a time, in the formats that register B selects. Times are seconds since 1970, UTC. */
export type TimeField =
  | "second"
  | "minute"
  | "hour"
  | "weekday"
  | "day"
  | "month"
  | "year"
  | "century";

/** Register that shows each field. */
export const timeFields: ReadonlyMap<number, TimeField> = new Map([
  [0x00, "second"],
  [0x02, "minute"],
  [0x04, "hour"],
  [0x06, "weekday"],
  [0x07, "day"],
  [0x08, "month"],
  [0x09, "year"],
  [0x32, "century"],
]);

const format = { binary: 0x04, hours24: 0x02 } as const;
const afternoon = 0x80;

export function readTimeField(field: TimeField, time: number, registerB: number): number {
  const value = fieldOf(field, new Date(time * 1000));
  if (field !== "hour" || registerB & format.hours24) {
    return encode(value, registerB);
  }
  return encode(value % 12 === 0 ? 12 : value % 12, registerB) | (value >= 12 ? afternoon : 0);
}

/** @returns `time` with one field replaced; a day that the month does not have runs on into the next */
export function writeTimeField(
  field: TimeField,
  time: number,
  value: number,
  registerB: number,
): number {
  const date = new Date(time * 1000);
  setField(field, date, decodeField(field, value, registerB));
  return Math.floor(date.getTime() / 1000);
}

function decodeField(field: TimeField, value: number, registerB: number): number {
  if (field !== "hour" || registerB & format.hours24) {
    return decode(value, registerB);
  }
  return (decode(value & ~afternoon, registerB) % 12) + (value & afternoon ? 12 : 0);
}

function fieldOf(field: TimeField, date: Date): number {
  switch (field) {
    case "second":
      return date.getUTCSeconds();
    case "minute":
      return date.getUTCMinutes();
    case "hour":
      return date.getUTCHours();
    case "weekday":
      return date.getUTCDay() + 1;
    case "day":
      return date.getUTCDate();
    case "month":
      return date.getUTCMonth() + 1;
    case "year":
      return date.getUTCFullYear() % 100;
    case "century":
      return Math.floor(date.getUTCFullYear() / 100);
  }
}

function setField(field: TimeField, date: Date, value: number): void {
  const year = date.getUTCFullYear();
  switch (field) {
    case "second":
      date.setUTCSeconds(value);
      break;
    case "minute":
      date.setUTCMinutes(value);
      break;
    case "hour":
      date.setUTCHours(value);
      break;
    case "weekday":
      // Follows from the date.
      break;
    case "day":
      date.setUTCDate(value);
      break;
    case "month":
      date.setUTCMonth(value - 1);
      break;
    case "year":
      date.setUTCFullYear(year - (year % 100) + value);
      break;
    case "century":
      date.setUTCFullYear(value * 100 + (year % 100));
      break;
  }
}

const encode = (value: number, registerB: number): number =>
  registerB & format.binary ? value : (Math.floor(value / 10) << 4) | (value % 10);
const decode = (value: number, registerB: number): number =>
  registerB & format.binary ? value : (value >>> 4) * 10 + (value & 0xf);
