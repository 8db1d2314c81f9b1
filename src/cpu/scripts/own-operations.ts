import {
  compute,
  type Operation,
  type OwnOperations,
  type Steps,
  VmxResult,
  vmread,
  vmwrite,
} from "../../isa/operations.ts";
import type { Clock, CurrentFields } from "../ports.ts";
import { ScriptError } from "./script-streams.ts";

export interface OwnOperationsOptions {
  readonly clock: Clock;
  /** The fields of the current VMCS. */
  readonly fields: () => CurrentFields | undefined;
  /** An instruction that does not go through a handler has been executed. */
  readonly retire: () => void;
  /** Executes an operation of the script that is being asked for its next one. @throws ScriptError it does not go on behind itself */
  readonly execute: (operation: Operation) => bigint;
}

const wordMask = 0xffff_ffffn;
const wordBits = 32n;

/** Operations that the scripts of one LP carry out without yielding them. */
export class LpOwnOperations implements OwnOperations {
  readonly #clock: Clock;
  readonly #fields: OwnOperationsOptions["fields"];
  readonly #retire: OwnOperationsOptions["retire"];
  readonly #execute: OwnOperationsOptions["execute"];

  constructor({ clock, fields, retire, execute }: OwnOperationsOptions) {
    this.#clock = clock;
    this.#fields = fields;
    this.#retire = retire;
    this.#execute = execute;
  }

  vmreadLow(field: number): number {
    const fields = this.#openFields();
    const position = fields?.find(field) ?? -1;
    if (fields === undefined || position < 0) {
      return Number(this.#execute(vmread(field)) & wordMask);
    }
    this.#charge("vmread");
    return fields.low(position);
  }

  vmread(field: number): bigint {
    const fields = this.#openFields();
    const position = fields?.find(field) ?? -1;
    if (fields === undefined || position < 0) return this.#execute(vmread(field));
    this.#charge("vmread");
    return (BigInt(fields.high(position)) << wordBits) | BigInt(fields.low(position));
  }

  vmwriteLow(field: number, value: number): void {
    const fields = this.#openFields();
    const position = fields?.findWritable(field) ?? -1;
    if (fields === undefined || position < 0) {
      this.#write(field, BigInt(value));
      return;
    }
    this.#charge("vmwrite");
    fields.write(position, value, 0);
  }

  vmwrite(field: number, value: bigint): void {
    const fields = this.#openFields();
    const position = fields?.findWritable(field) ?? -1;
    if (fields === undefined || position < 0) {
      this.#write(field, value);
      return;
    }
    this.#charge("vmwrite");
    fields.write(position, Number(value & wordMask), Number(value >> wordBits));
  }

  compute(cycles: number): void {
    const whole = Math.max(0, Math.round(cycles));
    if (this.#clock.pass === undefined) this.#execute(compute(whole));
    else this.#clock.pass(whole);
  }

  execute(operation: Operation): bigint {
    return this.#execute(operation);
  }

  run<Result>(steps: Steps<Result>): Result {
    let step = steps.next();
    while (step.done !== true) step = steps.next(this.#execute(step.value));
    return step.value;
  }

  #openFields(): CurrentFields | undefined {
    const fields = this.#fields();
    return fields?.isOpen ? fields : undefined;
  }
  #charge(operation: "vmread" | "vmwrite"): void {
    this.#clock.charge?.(operation);
    this.#retire();
  }
  #write(field: number, value: bigint): void {
    if (this.#execute(vmwrite(field, value)) !== VmxResult.Success) {
      throw new ScriptError(`VMWRITE of field 0x${field.toString(16)} failed`);
    }
  }
}
