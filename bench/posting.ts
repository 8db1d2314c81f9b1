/**
 * `node dist/bench/posting.js [--seconds N] [--runs N] [--lps N,…] [--devices N,…]`: posted interrupts alone, in other shapes or for
 * longer than `npm run bench -- --only posting` measures them.
 */
import { cpus as hostCpus } from "node:os";
import { parseArgs } from "node:util";
import { benchPosting, type DeliveryShape, formatPostingRates } from "./posting-rates.ts";

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "4" },
    runs: { type: "string", default: "3" },
    lps: { type: "string", default: "1,2" },
    devices: { type: "string", default: "1,2" },
  },
});
const seconds = Number(values.seconds);
const numbers = (text: string): number[] => text.split(",").map(Number);
const lpCounts = numbers(values.lps);
const shapes: DeliveryShape[] = [
  ...numbers(values.devices).flatMap((devices) => lpCounts.map((lps) => ({ devices, lps }))),
  ...lpCounts.filter((lps) => lps > 1).map((lps) => ({ devices: 0, lps })),
  ...lpCounts.filter((lps) => lps > 1).map((lps) => ({ devices: 0, lps, toFirst: true })),
];
const rates = await benchPosting({ runs: Number(values.runs), seconds }, shapes);
const host = hostCpus()[0]?.model ?? "unknown host";
process.stdout.write(`${host}, ${hostCpus().length} CPUs; ${seconds} s each\n\n`);
process.stdout.write(formatPostingRates(rates));
