import type { InterruptFabric, TraceSink } from "../../cpu/ports.ts";
import { allOnes, type MmioDevice } from "../device.ts";
import type { RequesterPort } from "../requester.ts";
import { serverCapabilities, type VtdCapabilities } from "./capabilities.ts";
import { DeviceTlbCache } from "./device-tlb-cache.ts";
import type { DeviceTlb } from "./device-tlbs.ts";
import { blocked, DmaRemapping } from "./dma-remapping.ts";
import { EventInterrupt } from "./event-interrupt.ts";
import { FaultLog } from "./fault-log.ts";
import {
  type EntryFetch,
  InterruptRemapping,
  noRequester,
  type RemappingOutpost,
} from "./interrupt-remapping.ts";
import { InvalidationQueue } from "./invalidation-queue.ts";
import { contextCommand, iotlbCommand } from "./register-invalidation.ts";
import { GlobalBit, RegisterFile, VtdRegister, vtdAddress, vtdBytes } from "./registers.ts";
import { pageOfAddress, RemappedPort } from "./remapped-port.ts";
import { Permission } from "./second-stage.ts";
import { TableMemory, type VtdMemory } from "./table-memory.ts";

export interface VtdUnitOptions {
  readonly memory: VtdMemory;
  readonly fabric: InterruptFabric;
  /** Defaults to those of server parts. */
  readonly capabilities?: VtdCapabilities;
  /** Defaults to 128 bits at once. */
  readonly fetch?: EntryFetch;
  readonly outposts?: readonly RemappingOutpost[];
  readonly trace?: TraceSink | undefined;
}

/**
 * The remapping unit of "Intel Virtualization Technology for Directed I/O": a page of registers, and what it does to the
 * requests of all functions. Everything is done when it is asked for: a command's status has changed when the write returns.
 *
 * ```
 *   function ─ port ─▶ DMA ──────────▶ context cache, IOTLB ─▶ tables ─▶ memory
 *                └───▶ FEEx_xxxxH ──▶ interrupt entry cache ─▶ table ─▶ fabric, or descriptor and fabric
 *   I/O APIC ─────────────────────────────▲          both ─▶ fault log ─▶ fabric
 * ```
 */
export class VtdUnit implements MmioDevice {
  readonly mmio = [{ start: vtdAddress, bytes: vtdBytes }];
  readonly #memory: VtdMemory;
  readonly #registers: RegisterFile;
  readonly #faults: FaultLog;
  readonly #faultEvent: EventInterrupt;
  readonly #completion: EventInterrupt;
  readonly #remapping: DmaRemapping;
  readonly #interrupts: InterruptRemapping;
  readonly #queue: InvalidationQueue;
  readonly #deviceTlbs = new Map<number, DeviceTlb>();
  /** IVA_REG, which cannot be read: low and high half. */
  readonly #invalidateAddress: [number, number] = [0, 0];

  constructor(options: VtdUnitOptions) {
    const {
      memory,
      fabric,
      capabilities = serverCapabilities,
      fetch = {},
      outposts = [],
      trace,
    } = options;
    const { deviceTlb, interruptPosting: posting, faultRegisters } = capabilities;
    const tables = new TableMemory(memory);
    const registers = new RegisterFile(capabilities);
    const event = (control: number): EventInterrupt =>
      new EventInterrupt(registers, fabric, control, () => this.#interrupts.isWide);
    this.#memory = memory;
    this.#registers = registers;
    this.#faultEvent = event(VtdRegister.FaultEventControl);
    this.#completion = event(VtdRegister.CompletionEventControl);
    const faults = new FaultLog(registers, this.#faultEvent, faultRegisters, trace);
    this.#faults = faults;
    this.#remapping = new DmaRemapping(tables, faults, capabilities);
    this.#interrupts = new InterruptRemapping({
      ...{ memory, tables, faults, fabric, posting, fetch, outposts, trace },
    });
    this.#queue = new InvalidationQueue({
      ...{ registers, memory, tables, faults, deviceTlb, trace },
      completion: this.#completion,
      remapping: this.#remapping,
      interrupts: this.#interrupts,
      deviceTlbs: this.#deviceTlbs,
    });
    this.reset();
  }

  reset(): void {
    this.#registers.reset();
    this.#invalidateAddress.fill(0);
    this.#faults.reset();
    this.#faultEvent.reset();
    this.#completion.reset();
    this.#remapping.reset();
    this.#interrupts.reset();
    this.#queue.reset();
  }

  /** The way to memory and to the interrupt bus of the function with that id. */
  port(requester: number): RequesterPort {
    const remapping = this.#remapping;
    return this.#port(requester, (page, need) => remapping.translate(requester, page, need));
  }

  /** The same for a function that has a TLB of its own, and uses it while `tlb` is enabled. */
  cachingPort(requester: number): { readonly port: RequesterPort; readonly tlb: DeviceTlbCache } {
    const tlb = new DeviceTlbCache(requester, this.#remapping);
    this.attachDeviceTlb(requester, tlb);
    return { tlb, port: this.#port(requester, (page, need) => tlb.translate(page, need)) };
  }

  /** A function with a TLB of its own: invalidations are sent to it. */
  attachDeviceTlb(requester: number, tlb: DeviceTlb): void {
    this.#deviceTlbs.set(requester, tlb);
  }

  #port(requester: number, translate: (page: number, need: number) => number): RequesterPort {
    return new RemappedPort({
      ...{ requester, translate },
      memory: this.#memory,
      interrupts: this.#interrupts,
    });
  }

  /**
   * Where a DMA request of one byte would go; faults are recorded as for the request itself.
   * @returns the host's address, undefined when it is blocked
   */
  translate(requester: number, address: bigint, isWrite: boolean): bigint | undefined {
    const page = pageOfAddress(address);
    const need = isWrite ? Permission.Write : Permission.Read;
    const frame = Number.isNaN(page) ? blocked : this.#remapping.translate(requester, page, need);
    return frame === blocked ? undefined : BigInt(frame) * 4096n + (address & 0xfffn);
  }

  /**
   * An interrupt of an I/O APIC, as its redirection entry has it.
   * @param alias a function that may also own the interrupt remapping entry: the one whose INTx pin this is
   * @returns false: the interrupt is not remapped, the I/O APIC sends it itself
   */
  ioapicMessage(requester: number, low: number, high: number, alias = noRequester): boolean {
    return this.#interrupts.ioapicMessage(requester, alias, low, high);
  }

  // ---- Registers ---------------------------------------------------------------------------------------------------

  /** Registers are read and written by aligned doublewords; anything else reads as all ones and writes nothing. */
  readMmio(address: number, size: number): number {
    const offset = address - vtdAddress;
    return size === 4 && offset % 4 === 0 ? this.#registers.get(offset) : allOnes(size);
  }

  writeMmio(address: number, size: number, value: number): void {
    const offset = address - vtdAddress;
    if (size === 4 && offset % 4 === 0) {
      this.#write(offset, value);
    }
  }

  #write(offset: number, value: number): void {
    const registers = this.#registers;
    switch (offset) {
      case VtdRegister.GlobalCommand:
        this.#command(value);
        break;
      case VtdRegister.FaultStatus:
        this.#faults.writeStatus(value);
        this.#queue.run();
        break;
      case VtdRegister.FaultEventControl:
        this.#faultEvent.writeControl(value);
        break;
      case VtdRegister.CompletionEventControl:
        this.#completion.writeControl(value);
        break;
      case VtdRegister.CompletionStatus:
        this.#queue.writeCompletionStatus(value);
        break;
      case VtdRegister.QueueTail:
        registers.write(offset, value);
        this.#queue.run();
        break;
      case VtdRegister.ContextCommand + 4:
        if (!this.#queue.enabled) {
          contextCommand(registers, this.#remapping, value);
        }
        break;
      case VtdRegister.InvalidateAddress:
      case VtdRegister.InvalidateAddress + 4:
        this.#invalidateAddress[offset === VtdRegister.InvalidateAddress ? 0 : 1] = value;
        break;
      case VtdRegister.IotlbInvalidate + 4:
        if (!this.#queue.enabled) {
          iotlbCommand(registers, this.#remapping, this.#invalidateAddress, value);
        }
        break;
      default:
        if (offset >= VtdRegister.FaultRecord) {
          this.#faults.writeRecord(offset, value);
        } else {
          registers.write(offset, value);
        }
    }
  }

  /**
   * GCMD_REG: pointers are taken over, then what is switched on or off. Bits for what the unit does not have (write buffers, an
   * advanced fault log) do nothing.
   */
  #command(value: number): void {
    const registers = this.#registers;
    if ((value & GlobalBit.RootTable) !== 0) {
      this.#remapping.rootTable = registers.page(VtdRegister.RootTable);
      this.#setStatus(GlobalBit.RootTable, true);
    }
    let { table, tableRegister } = this.#interrupts.state;
    if ((value & GlobalBit.InterruptTable) !== 0) {
      tableRegister = registers.get(VtdRegister.InterruptTable);
      table = registers.page(VtdRegister.InterruptTable);
      this.#setStatus(GlobalBit.InterruptTable, true);
    }
    const has = (bit: number): boolean => (value & bit) !== 0;
    this.#remapping.enabled = has(GlobalBit.Translation);
    this.#interrupts.state = {
      enabled: has(GlobalBit.InterruptRemapping),
      compatibilityFormat: has(GlobalBit.CompatibilityFormat),
      ...{ table, tableRegister },
    };
    for (const bit of [
      GlobalBit.Translation,
      GlobalBit.InterruptRemapping,
      GlobalBit.CompatibilityFormat,
      GlobalBit.Queue,
    ]) {
      this.#setStatus(bit, has(bit));
    }
    if (has(GlobalBit.Queue) !== this.#queue.enabled) {
      if (has(GlobalBit.Queue)) {
        this.#queue.enable();
      } else {
        this.#queue.disable();
      }
    }
  }

  #setStatus(bit: number, set: boolean): void {
    const status = this.#registers.get(VtdRegister.GlobalStatus);
    this.#registers.set(VtdRegister.GlobalStatus, set ? status | bit : status & ~bit);
  }
}
