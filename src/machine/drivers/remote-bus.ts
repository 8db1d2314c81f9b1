import type { Bus } from "../../cpu/ports.ts";
import { DeviceOperation, type RequestSlot, RequestState } from "../../protocol/device-request.ts";
import { type ControlRegion, Presence } from "../control-region.ts";

/** Looks at the slot before going to sleep: an answer usually comes within microseconds. */
const spins = 2000;
/** A sleep is never longer: the machine may have been finished meanwhile. */
const sleepMs = 50;

/** Unwinds an LP whose devices are gone. */
export const machineGone: unique symbol = Symbol("machine gone");

/** The devices of a machine whose platform lives on another thread. */
export class RemoteBus implements Bus {
  readonly #control: ControlRegion;
  readonly #lp: number;
  readonly #slot: RequestSlot;
  /** Called while the LP waits: it must go on emptying its mailbox, or the platform could wait for it in turn. */
  whileWaiting: () => void = () => undefined;
  /** Accesses so far. */
  accesses = 0;

  constructor(control: ControlRegion, lp: number) {
    this.#control = control;
    this.#lp = lp;
    this.#slot = control.requestSlot(lp);
  }

  readPort(port: number, size: number): number {
    return this.#access(DeviceOperation.ReadPort, port, size, 0);
  }
  writePort(port: number, size: number, value: number): void {
    this.#access(DeviceOperation.WritePort, port, size, value);
  }
  readMmio(address: number, size: number): number {
    return this.#access(DeviceOperation.ReadMmio, address, size, 0);
  }
  writeMmio(address: number, size: number, value: number): void {
    this.#access(DeviceOperation.WriteMmio, address, size, value);
  }
  endOfInterrupt(vector: number): void {
    this.#access(DeviceOperation.EndOfInterrupt, vector, 0, 0);
  }
  acknowledgeExternal(): number {
    return this.#access(DeviceOperation.AcknowledgeExternal, 0, 0, 0);
  }

  #access(operation: DeviceOperation, address: number, size: number, value: number): number {
    this.accesses += 1;
    this.#slot.request(operation, address, size, value);
    this.#control.platformDoorbell.ring();
    for (let n = 0; n < spins; n++) {
      if (this.#slot.state === RequestState.Answered) return this.#slot.take();
    }
    this.#sleep();
    return this.#slot.take();
  }

  #sleep(): void {
    this.#control.setPresence(this.#lp, Presence.Away);
    while (this.#slot.state !== RequestState.Answered) {
      if (this.#control.isFinished) throw machineGone;
      this.#slot.assertRequested();
      this.whileWaiting();
      this.#slot.sleep(sleepMs);
    }
    this.#control.setPresence(this.#lp, Presence.Running);
  }
}
