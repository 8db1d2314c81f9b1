import { exchange, type Steps } from "../../isa/operations.ts";
import { requestWords } from "../vmx/posted-interrupts.ts";
import type { LpContext } from "./context.ts";
import { scanLines } from "./interrupt-lines.ts";
import { post } from "./posting.ts";
import { request, vcpuBlock, vcpuField } from "./posting-memory.ts";

/** Does what has been asked of a vCPU, whose VMCS is current: vectors handed over are posted here. */
export function* handleRequests(context: LpContext, vcpu: number): Steps<void> {
  const block = vcpuBlock(vcpu);
  const asked = yield exchange(block + vcpuField.request, 8, 0n);
  if ((asked & request.scan) !== 0n) yield* scanLines(context, vcpu);
  if ((asked & request.interrupts) === 0n) return;
  for (let group = 0; group < requestWords; group++) {
    let bits = yield exchange(block + vcpuField.vectors + BigInt(group * 8), 8, 0n);
    for (let vector = group * 64; bits !== 0n; vector++, bits >>= 1n) {
      if ((bits & 1n) !== 0n) yield* post(context, vcpu, vector, "request");
    }
  }
}
