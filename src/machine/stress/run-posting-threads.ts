import { LogHistogram } from "../../base/log-histogram.ts";
import { entriesPerDevice } from "../../hypervisor/posting/device-routes.ts";
import {
  accountField,
  accountOf,
  descriptorOf,
  guestPlace,
  machineField,
  place,
  VcpuState,
  vcpuBlock,
  vcpuField,
  virtualApicOf,
} from "../../hypervisor/posting/posting-memory.ts";
import { configure } from "../configuration.ts";
import { projectFile } from "../project-files.ts";
import { runMachine } from "../run-machine.ts";
import type { RunResult } from "../run-result.ts";
import { latencyBuckets, latencyOfBucket } from "./guest-code.ts";
import {
  createSoftware,
  deviceRecord,
  deviceVector,
  hypervisorVectors,
  ipiVector,
  type PostingModuleParameters,
} from "./posting-module.ts";
import type { PostingOptions } from "./posting-options.ts";
import type { PostingFinding, PostingRun } from "./posting-result.ts";
import type { PostingCallbacks } from "./run-posting.ts";
import { stormDevice } from "./storm-device.ts";
import { Timeline } from "./timeline.ts";

const progressMs = 200;
const secondsAfter = 60;
const interruptRequestOffset = 0x200;
const nanosecondsPerSecond = 1e9;

/** What the machine's memory says of posts; every number is written by one side only. */
interface Account {
  readonly vcpu: number;
  readonly vector: number;
  readonly posts: number;
  readonly deliveries: number;
  /** Number of the last post that the handler can have seen. */
  readonly seen: number;
  /** Vectors still requested: 0 or 1. */
  readonly pending: number;
}

/** The accounts of a machine whose LPs have threads of their own, read from its memory. */
class Accounts {
  readonly #options: PostingOptions;
  /** Devices record what they send. */
  readonly #records: boolean;
  readonly #words: Int32Array;
  readonly #quads: BigUint64Array;

  constructor(memory: ArrayBufferLike, options: PostingOptions, records: boolean) {
    this.#options = options;
    this.#records = records;
    this.#words = new Int32Array(memory);
    this.#quads = new BigUint64Array(memory);
  }

  quad(address: number | bigint): number {
    return Number(this.#quads[Number(address) >>> 3] ?? 0n);
  }
  #field(vcpu: number, vector: number, field: number): number {
    return this.quad(place.guest + accountOf(vcpu, vector) + field);
  }
  #pending(vcpu: number, vector: number): number {
    const group = vector >>> 5;
    const inPir = this.#words[(Number(descriptorOf(vcpu)) >>> 2) + group] ?? 0;
    const at = Number(virtualApicOf(vcpu)) + interruptRequestOffset + group * 16;
    return (((inPir | (this.#words[at >>> 2] ?? 0)) >>> (vector & 31)) & 1) >>> 0;
  }

  /** A record for each vector of each vCPU, and one for each interrupt of a device, whichever vCPUs it has gone to. */
  all(): Account[] {
    const { vcpus, devices } = this.#options;
    const numbers = Array.from({ length: vcpus }, (_, vcpu) => vcpu);
    const posted = numbers.flatMap((vcpu) =>
      [...hypervisorVectors(this.#options), ipiVector].map((vector) => ({
        ...{ vcpu, vector },
        posts: this.#field(vcpu, vector, accountField.posted),
        deliveries: this.#field(vcpu, vector, accountField.delivered),
        seen: this.#field(vcpu, vector, accountField.seen),
        pending: this.#pending(vcpu, vector),
      })),
    );
    if (!this.#records) return [...posted, ...(devices > 0 ? [this.#allDevices(numbers)] : [])];
    const byDevices = Array.from({ length: devices * entriesPerDevice }, (_, index) => {
      const vector = deviceVector(index);
      const sum = (of: (vcpu: number) => number): number =>
        numbers.reduce((total, vcpu) => total + of(vcpu), 0);
      return {
        ...{ vcpu: -1, vector },
        posts: (this.#words[(place.guest + deviceRecord(index)) >>> 2] ?? 0) >>> 0,
        deliveries: sum((vcpu) => this.#field(vcpu, vector, accountField.delivered)),
        seen: Math.max(...numbers.map((vcpu) => this.#field(vcpu, vector, accountField.seen))),
        pending: sum((vcpu) => this.#pending(vcpu, vector)),
      };
    });
    return [...posted, ...byDevices];
  }

  /** Without records: sums alone, and those only when the devices have been stopped. */
  #allDevices(vcpus: readonly number[]): Account {
    const interrupts = Array.from(
      { length: this.#options.devices * entriesPerDevice },
      (_, n) => n,
    );
    const sum = (of: (vcpu: number, vector: number) => number): number =>
      vcpus
        .flatMap((vcpu) => interrupts.map((index) => of(vcpu, deviceVector(index))))
        .reduce((total, value) => total + value, 0);
    const posts = this.quad(machineField.byDevices);
    return {
      ...{ vcpu: -1, vector: deviceVector(0), posts, seen: posts },
      deliveries: sum((vcpu, vector) => this.#field(vcpu, vector, accountField.delivered)),
      pending: sum((vcpu, vector) => this.#pending(vcpu, vector)),
    };
  }

  latency(): LogHistogram {
    const histogram = new LogHistogram();
    for (let vcpu = 0; vcpu < this.#options.vcpus; vcpu++) {
      const at = place.guest + guestPlace.latencies + vcpu * 4096;
      for (let bucket = 8; bucket < latencyBuckets; bucket++) {
        const count = this.quad(at + bucket * 8);
        if (count > 0) histogram.addMany(latencyOfBucket(bucket), count);
      }
    }
    return histogram;
  }

  isAsleep(vcpu: number): boolean {
    const block = vcpuBlock(vcpu);
    const isBlocked = this.quad(block + vcpuField.state) === Number(VcpuState.Blocked);
    return isBlocked && this.quad(block + vcpuField.held) === 0;
  }
}

const sumOf = (accounts: readonly Account[], of: (account: Account) => number): number =>
  accounts.reduce((sum, account) => sum + of(account), 0);
/** Posts behind the last one that a handler can have seen, unless the vector is still requested. */
const lostOf = ({ posts, seen, pending }: Account): number =>
  pending > 0 ? 0 : Math.max(0, posts - seen);

/** The module that LPs' workers load: compiled, also when this one is not. */
const moduleUrl = (): string =>
  new URL(`file://${projectFile("dist", "src", "machine", "stress", "posting-module.js")}`).href;

/** Runs the stress with a thread for each LP, and guests of machine code. */
export async function runPostingThreads(
  options: PostingOptions,
  seed: number,
  { onProgress, signal }: PostingCallbacks = {},
  measures = true,
): Promise<PostingRun> {
  const startedAt = performance.now();
  let accounts: Accounts | undefined;
  const parameters: PostingModuleParameters = { options, seed, measures };
  const software = createSoftware(parameters, (memory) => {
    accounts = new Accounts(memory, options, measures);
  });
  const { seconds, devices, lps } = options;
  const configuration = configure({
    cpuModel: options.cpuModel,
    ramBytes: place.ramBytes,
    lpCount: lps + 1,
    iommu: devices > 0,
    devices: Array.from({ length: devices }, () => stormDevice),
    driver: "threads",
    seed,
    software: { module: moduleUrl(), parameters },
    timeoutSeconds: Number.isFinite(seconds) ? seconds + secondsAfter : undefined,
  });
  const timeline = new Timeline();
  const totals = (all: readonly Account[]) => {
    const posts = sumOf(all, (account) => account.posts);
    const deliveries = sumOf(all, (account) => account.deliveries);
    const lost = sumOf(all, lostOf);
    return { posts, deliveries, lost, coalesced: 0, outstanding: 0 };
  };
  const look = (): void => {
    if (accounts === undefined) return;
    const elapsed = (performance.now() - startedAt) / 1000;
    const sums = totals(accounts.all());
    timeline.at(elapsed * nanosecondsPerSecond, sums);
    onProgress?.({ ...sums, lost: 0, seconds: elapsed });
  };
  const progress = setInterval(look, progressMs);
  const result = await runMachine(configuration, {
    software,
    ...(signal === undefined ? {} : { signal }),
  }).finally(() => clearInterval(progress));
  if (accounts === undefined) throw new Error("the machine was never loaded");
  return summarizeRun(accounts, { options, seed, result, timeline, startedAt });
}

interface RunParts {
  readonly options: PostingOptions;
  readonly seed: number;
  readonly result: RunResult;
  readonly timeline: Timeline;
  readonly startedAt: number;
}

function summarizeRun(accounts: Accounts, parts: RunParts): PostingRun {
  const { options, seed, result, timeline, startedAt } = parts;
  const all = accounts.all();
  const posts = sumOf(all, (account) => account.posts);
  const deliveries = sumOf(all, (account) => account.deliveries);
  const pending = sumOf(all, (account) => account.pending);
  const lost = sumOf(all, lostOf);
  const spurious = sumOf(all, (account) => Math.max(0, account.deliveries - account.posts));
  const hosts = result.lps.slice(0, options.lps);
  const devices = sumOf(
    all.filter(({ vcpu }) => vcpu < 0),
    (account) => account.posts,
  );
  const guests = sumOf(
    all.filter(({ vector }) => vector === ipiVector),
    (account) => account.posts,
  );
  return {
    seed,
    ...{ posts, deliveries, pending, lost, spurious },
    coalesced: Math.max(0, posts - deliveries - pending - lost),
    notifications: hosts.reduce((sum, { statistics }) => sum + statistics.interruptsReceived, 0),
    exits: hosts.reduce((sum, { statistics }) => sum + exitsOf(statistics.exits), 0),
    wakeUps: accounts.quad(machineField.wakeUps),
    migrations: accounts.quad(machineField.migrations),
    seconds: result.runSeconds,
    hostSeconds: (performance.now() - startedAt) / 1000,
    findings: findingsOf(accounts, all, parts),
    perLp: [],
    latency: accounts.latency().data(),
    timeline: timeline.samples,
    bySource: { hypervisor: posts - devices - guests, guest: guests, device: devices },
    disturbances: {},
  };
}

const exitsOf = (exits: Readonly<Record<string, number>>): number =>
  Object.values(exits).reduce((sum, count) => sum + count, 0);

function findingsOf(
  accounts: Accounts,
  all: readonly Account[],
  { options, seed, result }: RunParts,
): readonly PostingFinding[] {
  const numbers = Array.from({ length: options.vcpus }, (_, vcpu) => vcpu);
  const steps = numbers.map((vcpu) => {
    const state = accounts.isAsleep(vcpu) ? "asleep" : "not asleep";
    const control = accounts.quad(descriptorOf(vcpu) + 32n).toString(16);
    return `vCPU ${vcpu}: ${state}; control word 0x${control}`;
  });
  const findings: PostingFinding[] = [];
  const find = (invariant: string, message: string): void => {
    findings.push({ seed, invariant, message, steps });
  };
  const { ending } = result;
  if (ending.type === "interrupted") return findings;
  if (ending.type !== "exit" || ending.value !== 0) {
    find("failed", ending.type === "bug" ? ending.message : `the run has ended by ${ending.type}`);
    return findings;
  }
  for (const account of all) {
    const { vcpu, vector, posts, deliveries, seen, pending } = account;
    const where = vcpu < 0 ? `device vector ${vector}` : `vCPU ${vcpu}, vector ${vector}`;
    const lost = lostOf(account);
    if (lost > 0) find("lost", `${where}: post ${posts} is the last, a handler has seen ${seen}`);
    if (deliveries > posts)
      find("spurious", `${where}: ${deliveries} deliveries of ${posts} posts`);
    if (pending > 0) find("13", `${where}: still requested at rest`);
  }
  for (const vcpu of numbers) {
    if (!accounts.isAsleep(vcpu)) find("failed", `vCPU ${vcpu} has not come to rest`);
  }
  return findings;
}
