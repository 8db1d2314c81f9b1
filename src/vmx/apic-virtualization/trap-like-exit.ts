import { exitReason } from "../exit-reasons.ts";

const none = 0;

/** The VM exit that is owed behind the instruction in progress: trap-like, it comes at the next boundary. */
export class TrapLikeExit {
  #reason: number = none;
  /** Exit qualification. */
  qualification = 0;

  get isOwed(): boolean {
    return this.#reason !== none;
  }
  tprBelowThreshold(): void {
    this.#owe(exitReason.tprBelowThreshold, 0);
  }
  virtualizedEoi(vector: number): void {
    this.#owe(exitReason.virtualizedEoi, vector);
  }
  /** @param offset of the register written */
  apicWrite(offset: number): void {
    this.#owe(exitReason.apicWrite, offset);
  }
  #owe(reason: number, qualification: number): void {
    this.#reason = reason;
    this.qualification = qualification;
  }

  /** @returns its reason; nothing is owed any more */
  take(): number {
    const reason = this.#reason;
    this.#reason = none;
    return reason;
  }
}
