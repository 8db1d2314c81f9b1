import { z } from "zod";
import {
  affinityRules,
  defaultFeatures,
  defaultVm,
  directedYieldRules,
  guestKinds,
  ioDevices,
  lockKinds,
  lpsMax,
  millisecond,
  type Scenario,
  shootdownModes,
  vcpusMax,
} from "../hypervisor/scenario.ts";

const units = { ns: 1, us: 1e3, ms: 1e6, s: 1e9 } as const;
const durationForm = /^(\d+(?:\.\d+)?) ?(ns|us|ms|s)$/;
/** An hour: longer ones are mistakes. */
const longest = 3600e9;

/** Nanoseconds of a text such as `20us` or `1.5 ms`; undefined if it is none. */
export function durationOf(text: string): number | undefined {
  const match = durationForm.exec(text);
  if (match === null) return undefined;
  const nanoseconds = Math.round(Number(match[1]) * units[match[2] as keyof typeof units]);
  return nanoseconds <= longest ? nanoseconds : undefined;
}

const duration = z
  .string("must be a time with its unit, such as 20us, 1.5ms or 2s")
  .transform((text, context) => {
    const nanoseconds = durationOf(text);
    if (nanoseconds !== undefined) return nanoseconds;
    context.addIssue({
      code: "custom",
      message: "must be a time of at most an hour with its unit, such as 20us, 1.5ms or 2s",
    });
    return z.NEVER;
  });
const someTime = duration.refine((value) => value > 0, "must be more than 0");
const count = (least: number, most: number): z.ZodNumber =>
  z
    .int(`must be a whole number from ${least} to ${most}`)
    .min(least, `must be from ${least} to ${most}`)
    .max(most, `must be from ${least} to ${most}`);
const oneOf = <const T extends readonly [string, ...string[]]>(values: T) =>
  z.enum(values, `must be one of ${values.join(", ")}`);
const text = z.string("must be text").min(1, "must not be empty");

/** By `type`. What is left out is as in the built-in scenarios. */
const workload = z.discriminatedUnion(
  "type",
  [
    z.strictObject({ type: z.literal("hog"), unit: someTime.prefault("100us") }),
    z.strictObject({
      type: z.literal("bursts"),
      run: someTime.prefault("1ms"),
      sleep: someTime.prefault("1ms"),
    }),
    z.strictObject({
      type: z.literal("spinlock"),
      lock: oneOf(lockKinds).default("ticket"),
      locks: count(1, 256).default(1),
      hold: someTime.prefault("2us"),
      think: duration.prefault("20us"),
      spins: count(1, 2 ** 20).default(2048),
      guest: oneOf(guestKinds).default("script"),
    }),
    z.strictObject({
      type: z.literal("barrier"),
      phase: someTime.prefault("500us"),
      imbalance: z
        .number("must be a number from 0 to 1")
        .min(0, "must be from 0 to 1")
        .max(1, "must be from 0 to 1")
        .default(0.1),
      spins: count(0, 2 ** 20).default(0),
    }),
    z.strictObject({
      type: z.literal("shootdown"),
      mode: oneOf(shootdownModes).default("ipi-wait"),
      think: someTime.prefault("200us"),
      handler: someTime.prefault("1us"),
    }),
    z.strictObject({
      type: z.literal("producer-consumer"),
      produce: someTime.prefault("20us"),
      consume: someTime.prefault("15us"),
      depth: count(1, 1024).default(4),
    }),
    z.strictObject({
      type: z.literal("io"),
      device: oneOf(ioDevices).default("posted"),
      service: someTime.prefault("10us"),
      think: duration.prefault("30us"),
      connections: count(1, 1024).default(2),
    }),
    z.strictObject({
      type: z.literal("ticks"),
      period: someTime.prefault("4ms"),
      handler: someTime.prefault("5us"),
    }),
    z.strictObject({ type: z.literal("latency-probe"), period: someTime.prefault("1ms") }),
  ],
  "must have a type: hog, bursts, spinlock, barrier, shootdown, producer-consumer, io, ticks or latency-probe",
);

const isMachineCode = (one: z.infer<typeof workload>): boolean =>
  one.type === "spinlock" && one.guest === "machine-code";

const vm = z.strictObject({
  name: text,
  copies: z
    .union(
      [z.literal("overcommit"), count(1, vcpusMax)],
      `must be "overcommit" or a whole number from 1 to ${vcpusMax}`,
    )
    .default(defaultVm.copies),
  vcpus: z
    .union(
      [z.literal("lps"), count(1, vcpusMax)],
      `must be "lps" or a whole number from 1 to ${vcpusMax}`,
    )
    .default(defaultVm.vcpus),
  weight: count(1, 65_535).default(defaultVm.weight),
  cap: count(0, 100 * lpsMax).default(defaultVm.cap),
  affinity: z
    .union(
      [z.enum(affinityRules), z.array(count(0, lpsMax - 1)).min(1)],
      `must be ${affinityRules.join(", ")}, or a list of LPs from 0 to ${lpsMax - 1}`,
    )
    .default(defaultVm.affinity),
  workloads: z
    .array(workload, "must be a list of workloads")
    .min(1, "must have a workload")
    .refine(
      (all) => all.length === 1 || !all.some(isMachineCode),
      "must be one alone when it is machine code",
    ),
});

const features = z.strictObject({
  posting: z.boolean("must be true or false").default(defaultFeatures.posting),
  ipiVirtualization: z.boolean("must be true or false").default(defaultFeatures.ipiVirtualization),
  haltPollMax: duration.prefault("0ns"),
  pauseGap: count(1, 2 ** 31 - 1).default(defaultFeatures.pauseGap),
  pauseWindow: count(0, 2 ** 31 - 1).default(defaultFeatures.pauseWindow),
  directedYield: oneOf(directedYieldRules).default(defaultFeatures.directedYield),
});

const topology = z.strictObject({
  sockets: count(1, 8).default(1),
  coresPerSocket: count(1, lpsMax).default(4),
  threadsPerCore: count(1, 2).default(1),
});

/** A scenario file, its defaults filled in. */
export const scenarioSchema: z.ZodType<Scenario> = z
  .strictObject(
    {
      name: text,
      description: z.string("must be text").default(""),
      topology: topology.prefault({}),
      duration: someTime.prefault(`${500 * millisecond}ns`),
      warmup: duration.prefault(`${50 * millisecond}ns`),
      features: features.prefault({}),
      vms: z.array(vm, "must be a list of VMs").min(1, "must have a VM"),
    },
    "must be a scenario: name, vms, and what else docs/schedulers.md tells",
  )
  .refine((scenario) => scenario.warmup < scenario.duration, {
    path: ["warmup"],
    message: "must be shorter than the duration",
  })
  .refine(
    ({ topology: { sockets, coresPerSocket, threadsPerCore } }) =>
      sockets * coresPerSocket * threadsPerCore <= lpsMax,
    { path: ["topology"], message: `must have at most ${lpsMax} LPs` },
  );
