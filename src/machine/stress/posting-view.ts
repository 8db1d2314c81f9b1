import {
  descriptorOf,
  vcpuBlock,
  vcpuField,
  virtualApicOf,
} from "../../hypervisor/posting/posting-memory.ts";

const groupsPerSet = 8;
const wordsPerGroup = 4;
const controlWord = 8;
const registerSet = { inService: 0x100, triggerMode: 0x180, request: 0x200 } as const;
const processorPriority = 0xa0;

/** Index of the words of one vCPU's structures, as 32-bit words of the machine's memory. */
interface Places {
  readonly descriptor: number;
  readonly virtualApic: number;
  readonly state: number;
  readonly request: number;
}

/** What the machine's memory says of interrupts, read from outside. */
export class PostingView {
  #words: Int32Array<ArrayBufferLike> = new Int32Array();
  readonly #places: readonly Places[];

  constructor(vcpus: number) {
    this.#places = Array.from({ length: vcpus }, (_, vcpu) => ({
      descriptor: Number(descriptorOf(vcpu)) >>> 2,
      virtualApic: Number(virtualApicOf(vcpu)) >>> 2,
      state: Number(vcpuBlock(vcpu) + vcpuField.state) >>> 2,
      request: Number(vcpuBlock(vcpu) + vcpuField.request) >>> 2,
    }));
  }

  /** @param memory the machine's own, from address 0 */
  attach(memory: ArrayBufferLike): void {
    this.#words = new Int32Array(memory);
  }

  #of(vcpu: number): Places {
    const places = this.#places[vcpu];
    if (places === undefined) throw new Error(`there is no vCPU ${vcpu}`);
    return places;
  }
  #word(index: number): number {
    return this.#words[index] ?? 0;
  }

  /** Halves of a descriptor's control word, unsigned: ON, SN and NV; NDST. */
  control(vcpu: number): number {
    return this.#word(this.#of(vcpu).descriptor + controlWord) >>> 0;
  }
  destination(vcpu: number): number {
    return this.#word(this.#of(vcpu).descriptor + controlWord + 1) >>> 0;
  }
  /** 32 requests. @param group from 0 */
  requests(vcpu: number, group: number): number {
    return this.#word(this.#of(vcpu).descriptor + group);
  }
  isInPir(vcpu: number, vector: number): boolean {
    return ((this.requests(vcpu, vector >>> 5) >>> (vector & 31)) & 1) !== 0;
  }
  hasPir(vcpu: number): boolean {
    for (let group = 0; group < groupsPerSet; group++) {
      if (this.requests(vcpu, group) !== 0) return true;
    }
    return false;
  }

  isInVirr(vcpu: number, vector: number): boolean {
    return this.#isInSet(vcpu, registerSet.request, vector);
  }
  isInService(vcpu: number, vector: number): boolean {
    return this.#isInSet(vcpu, registerSet.inService, vector);
  }
  isLevel(vcpu: number, vector: number): boolean {
    return this.#isInSet(vcpu, registerSet.triggerMode, vector);
  }
  #isInSet(vcpu: number, set: number, vector: number): boolean {
    const at = this.#of(vcpu).virtualApic + (set >>> 2) + (vector >>> 5) * wordsPerGroup;
    return ((this.#word(at) >>> (vector & 31)) & 1) !== 0;
  }
  processorPriority(vcpu: number): number {
    return this.#word(this.#of(vcpu).virtualApic + (processorPriority >>> 2)) & 0xff;
  }

  /** The hypervisor's own words of a vCPU: its state, and what is asked of it. */
  state(vcpu: number): number {
    return this.#word(this.#of(vcpu).state);
  }
  asked(vcpu: number): number {
    return this.#word(this.#of(vcpu).request);
  }
}
