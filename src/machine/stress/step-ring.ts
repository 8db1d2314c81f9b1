/** Steps kept: a finding is told with the last of them. */
const capacity = 512;

interface Step {
  time: number;
  source: number;
  kind: string;
  detail: Readonly<Record<string, unknown>>;
}

/** The source of steps that software tells of by itself; LPs are 0 and up, devices -1. */
export const softwareSource = -2;

const nameOf = (source: number): string =>
  source >= 0 ? `LP ${source}` : source === softwareSource ? "software" : "devices";

/** The last steps of a run, as they came; they become text only when somebody asks. */
export class StepRing {
  readonly #steps: Step[] = [];
  #next = 0;

  add(time: number, source: number, kind: string, detail: Readonly<Record<string, unknown>>): void {
    const step = this.#steps[this.#next];
    if (step === undefined) {
      this.#steps[this.#next] = { time, source, kind, detail };
    } else {
      step.time = time;
      step.source = source;
      step.kind = kind;
      step.detail = detail;
    }
    this.#next = (this.#next + 1) % capacity;
  }

  /** The last of them that pass, oldest first, one line each. */
  last(count: number, passes: (detail: Readonly<Record<string, unknown>>) => boolean): string[] {
    const inOrder = [...this.#steps.slice(this.#next), ...this.#steps.slice(0, this.#next)];
    return inOrder
      .filter(({ detail }) => passes(detail))
      .slice(-count)
      .map(describeStep);
  }
}

const describeStep = ({ time, source, kind, detail }: Step): string =>
  [
    `${time}`.padStart(10),
    nameOf(source),
    kind,
    ...Object.entries(detail)
      .filter(([name]) => name !== "lp")
      .map(([name, value]) => `${name}=${describeValue(value)}`),
  ].join(" ");

const describeValue = (value: unknown): string =>
  typeof value === "bigint" ? `0x${value.toString(16)}` : String(value);
