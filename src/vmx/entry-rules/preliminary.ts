import { instructionError } from "../instruction-errors.ts";
import { failValid, type RuleDescription } from "./entry-rule.ts";

/** What VMLAUNCH and VMRESUME look at before the contents of the VMCS. */
export interface EntryAttempt {
  readonly isVmxOperation: boolean;
  /** Protected or 64-bit mode: not real, virtual-8086 or compatibility mode. */
  readonly isProperMode: boolean;
  readonly isNonRoot: boolean;
  readonly cpl: number;
  readonly hasCurrentVmcs: boolean;
  readonly isShadowVmcs: boolean;
  readonly isBlockedByMovSs: boolean;
  readonly isLaunch: boolean;
  readonly isLaunched: boolean;
}

export interface PreliminaryRule extends RuleDescription {
  readonly holds: (attempt: EntryAttempt) => boolean;
}

/** The beginning of "VMLAUNCH/VMRESUME — Launch/Resume Virtual Machine", in order. */
export const preliminaryRules: readonly PreliminaryRule[] = [
  {
    id: "PRE-01",
    text: "the processor is in VMX operation and in protected or 64-bit mode",
    when: undefined,
    outcome: { type: "fault", vector: "#UD" },
    holds: (attempt) => attempt.isVmxOperation && attempt.isProperMode,
  },
  {
    id: "PRE-02",
    text: "the processor is in VMX root operation",
    when: undefined,
    outcome: { type: "vm-exit" },
    holds: (attempt) => !attempt.isNonRoot,
  },
  {
    id: "PRE-03",
    text: "the CPL is 0",
    when: undefined,
    outcome: { type: "fault", vector: "#GP" },
    holds: (attempt) => attempt.cpl === 0,
  },
  {
    id: "PRE-04",
    text: "there is a current VMCS",
    when: undefined,
    outcome: { type: "fail-invalid" },
    holds: (attempt) => attempt.hasCurrentVmcs,
  },
  {
    id: "PRE-05",
    text: "the current VMCS is not a shadow VMCS",
    when: undefined,
    outcome: { type: "fail-invalid" },
    holds: (attempt) => !attempt.isShadowVmcs,
  },
  {
    id: "PRE-06",
    text: "MOV SS does not block events",
    when: undefined,
    outcome: failValid(instructionError.entryMovSs),
    holds: (attempt) => !attempt.isBlockedByMovSs,
  },
  {
    id: "PRE-07",
    text: "the launch state is clear",
    when: "the instruction is VMLAUNCH",
    outcome: failValid(instructionError.vmlaunchNotClear),
    holds: (attempt) => !attempt.isLaunch || !attempt.isLaunched,
  },
  {
    id: "PRE-08",
    text: "the launch state is launched",
    when: "the instruction is VMRESUME",
    outcome: failValid(instructionError.vmresumeNotLaunched),
    holds: (attempt) => attempt.isLaunch || attempt.isLaunched,
  },
];
