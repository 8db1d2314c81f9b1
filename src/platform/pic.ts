import type { Line, PortDevice } from "./device.ts";

/** Ports of the master and the slave chip: command, data; and the edge/level registers of both. */
const picPort = { master: 0x20, slave: 0xa0, edgeLevel: 0x4d0 } as const;

/** The master's input that the slave's output drives. */
const cascadeInput = 2;
const spuriousInput = 7;

/** Inputs that can be level-triggered: not the timer, keyboard and cascade, nor the clock and coprocessor. */
const edgeLevelWritable = { master: 0xf8, slave: 0xde } as const;

/** Initialization command words. */
const icw1 = { isIcw1: 0x10, level: 0x08, single: 0x02, needsIcw4: 0x01 } as const;
const icw4 = { autoEoi: 0x02, fullyNested: 0x10 } as const;

/** Bits 7:5 of operation command word 2. */
const ocw2 = {
  rotateInAutoEoiClear: 0,
  nonSpecificEoi: 1,
  specificEoi: 3,
  rotateInAutoEoiSet: 4,
  rotateOnNonSpecificEoi: 5,
  setPriority: 6,
  rotateOnSpecificEoi: 7,
} as const;

const ocw3 = {
  isOcw3: 0x08,
  readIsr: 0x01,
  read: 0x02,
  poll: 0x04,
  maskMode: 0x20,
  setMaskMode: 0x40,
} as const;

/** One 8259A interrupt controller. */
class Pic {
  readonly #isMaster: boolean;
  readonly #edgeLevelWritable: number;
  #requests = 0;
  #inService = 0;
  #mask = 0;
  #lines = 0;
  #edgeLevel = 0;
  /** ICW1 bit 3: all inputs are level-triggered. */
  #allLevel = false;
  #vectorBase = 0;
  /** Input of lowest priority; the next one has the highest. */
  #lowest = 7;
  /** Next initialization word expected, 0 when initialized. */
  #expect = 0;
  #single = false;
  #needsIcw4 = false;
  #autoEoi = false;
  #rotateInAutoEoi = false;
  #fullyNested = false;
  #specialMask = false;
  #readsInService = false;
  #poll = false;

  constructor(isMaster: boolean) {
    this.#isMaster = isMaster;
    this.#edgeLevelWritable = isMaster ? edgeLevelWritable.master : edgeLevelWritable.slave;
  }

  setLine(input: number, high: boolean): void {
    const bit = 1 << input;
    const rising = high && (this.#lines & bit) === 0;
    this.#lines = high ? this.#lines | bit : this.#lines & ~bit;
    if (rising) {
      this.#requests |= bit;
    } else if (!high && (this.#levelInputs & bit) !== 0) {
      this.#requests &= ~bit;
    }
  }

  /** An input that is another chip's output: requested exactly as long as that is high. */
  follow(input: number, high: boolean): void {
    this.#requests = high ? this.#requests | (1 << input) : this.#requests & ~(1 << input);
  }

  /** Input to be served now, -1 when none. */
  pending(): number {
    const requested = this.#highest(this.#requests & ~this.#mask);
    if (requested < 0) {
      return -1;
    }
    let serving = this.#inService;
    if (this.#specialMask) {
      serving &= ~this.#mask;
    }
    if (this.#fullyNested && this.#isMaster) {
      serving &= ~(1 << cascadeInput);
    }
    const current = this.#highest(serving);
    return current < 0 || this.#rank(requested) < this.#rank(current) ? requested : -1;
  }

  /** The processor acknowledges. @returns the input served; 7, and nothing in service, when the request has gone */
  acknowledge(): number {
    const input = this.pending();
    if (input < 0) {
      return spuriousInput;
    }
    const bit = 1 << input;
    if ((this.#levelInputs & bit) === 0) {
      this.#requests &= ~bit;
    }
    if (!this.#autoEoi) {
      this.#inService |= bit;
    } else if (this.#rotateInAutoEoi) {
      this.#lowest = input;
    }
    return input;
  }

  get vectorBase(): number {
    return this.#vectorBase;
  }

  read(isData: boolean): number {
    if (this.#poll) {
      this.#poll = false;
      const input = this.pending();
      return input < 0 ? 0 : 0x80 | this.acknowledge();
    }
    if (isData) {
      return this.#mask;
    }
    return this.#readsInService ? this.#inService : this.#requests;
  }

  writeCommand(value: number): void {
    if (value & icw1.isIcw1) {
      this.#initialize(value);
    } else if (value & ocw3.isOcw3) {
      this.#writeOcw3(value);
    } else {
      this.#writeOcw2(value >>> 5, value & 7);
    }
  }

  writeData(value: number): void {
    switch (this.#expect) {
      case 2:
        this.#vectorBase = value & 0xf8;
        this.#expect = this.#single ? this.#afterIcw3() : 3;
        break;
      case 3:
        this.#expect = this.#afterIcw3();
        break;
      case 4:
        this.#autoEoi = (value & icw4.autoEoi) !== 0;
        this.#fullyNested = (value & icw4.fullyNested) !== 0;
        this.#expect = 0;
        break;
      default:
        this.#mask = value;
    }
  }

  get edgeLevel(): number {
    return this.#edgeLevel;
  }
  set edgeLevel(value: number) {
    this.#edgeLevel = value & this.#edgeLevelWritable;
  }

  #afterIcw3(): number {
    return this.#needsIcw4 ? 4 : 0;
  }

  #initialize(value: number): void {
    this.#allLevel = (value & icw1.level) !== 0;
    this.#single = (value & icw1.single) !== 0;
    this.#needsIcw4 = (value & icw1.needsIcw4) !== 0;
    this.#requests = this.#lines & this.#levelInputs;
    this.#inService = 0;
    this.#mask = 0;
    this.#lowest = 7;
    this.#autoEoi = false;
    this.#rotateInAutoEoi = false;
    this.#fullyNested = false;
    this.#specialMask = false;
    this.#readsInService = false;
    this.#poll = false;
    this.#expect = 2;
  }

  #writeOcw2(operation: number, input: number): void {
    switch (operation) {
      case ocw2.rotateInAutoEoiClear:
      case ocw2.rotateInAutoEoiSet:
        this.#rotateInAutoEoi = operation === ocw2.rotateInAutoEoiSet;
        break;
      case ocw2.nonSpecificEoi:
      case ocw2.rotateOnNonSpecificEoi: {
        const served = this.#highest(this.#inService);
        if (served >= 0) {
          this.#end(served, operation === ocw2.rotateOnNonSpecificEoi);
        }
        break;
      }
      case ocw2.specificEoi:
      case ocw2.rotateOnSpecificEoi:
        this.#end(input, operation === ocw2.rotateOnSpecificEoi);
        break;
      case ocw2.setPriority:
        this.#lowest = input;
        break;
      default:
    }
  }

  #end(input: number, rotate: boolean): void {
    this.#inService &= ~(1 << input);
    if (rotate) {
      this.#lowest = input;
    }
  }

  #writeOcw3(value: number): void {
    this.#poll = (value & ocw3.poll) !== 0;
    if (value & ocw3.read) {
      this.#readsInService = (value & ocw3.readIsr) !== 0;
    }
    if (value & ocw3.setMaskMode) {
      this.#specialMask = (value & ocw3.maskMode) !== 0;
    }
  }

  get #levelInputs(): number {
    return this.#allLevel ? 0xff : this.#edgeLevel;
  }

  /** 0 for the input of highest priority. */
  #rank(input: number): number {
    return (input - this.#lowest - 1) & 7;
  }

  #highest(inputs: number): number {
    for (let rank = 0; rank < 8; rank++) {
      const input = (this.#lowest + 1 + rank) & 7;
      if (inputs & (1 << input)) {
        return input;
      }
    }
    return -1;
  }
}

/** The two 8259A of a PC: inputs 0 to 7 on the master, 8 to 15 on the slave, whose output is the master's input 2. */
export class PicPair implements PortDevice {
  readonly ports = [
    { first: picPort.master, count: 2, widest: 1 },
    { first: picPort.slave, count: 2, widest: 1 },
    { first: picPort.edgeLevel, count: 2, widest: 1 },
  ] as const;
  readonly #output: Line;
  #master = new Pic(true);
  #slave = new Pic(false);
  #isHigh = false;

  /** @param output INTR; called when its level changes */
  constructor(output: Line) {
    this.#output = output;
  }

  reset(): void {
    this.#master = new Pic(true);
    this.#slave = new Pic(false);
    this.#update();
  }

  /** @param input 0..15; 2 is not an input of the pair */
  setLine(input: number, high: boolean): void {
    if (input < 8) {
      this.#master.setLine(input, high);
    } else {
      this.#slave.setLine(input - 8, high);
    }
    this.#update();
  }

  /** The processor's interrupt acknowledge cycle. @returns vector */
  acknowledge(): number {
    const input = this.#master.acknowledge();
    const vector =
      input === cascadeInput
        ? this.#slave.vectorBase + this.#slave.acknowledge()
        : this.#master.vectorBase + input;
    this.#update();
    return vector;
  }

  readPort(port: number): number {
    const value = this.#read(port);
    this.#update();
    return value;
  }

  writePort(port: number, _size: number, value: number): void {
    const chip = this.#chip(port);
    if (port >= picPort.edgeLevel) {
      chip.edgeLevel = value;
    } else if (port & 1) {
      chip.writeData(value);
    } else {
      chip.writeCommand(value);
    }
    this.#update();
  }

  #read(port: number): number {
    const chip = this.#chip(port);
    return port >= picPort.edgeLevel ? chip.edgeLevel : chip.read((port & 1) !== 0);
  }

  #chip(port: number): Pic {
    const isSlave = port >= picPort.edgeLevel ? port & 1 : port & 0x80;
    return isSlave ? this.#slave : this.#master;
  }

  /** Lets the slave's output reach the master, and the master's the processor. */
  #update(): void {
    this.#master.follow(cascadeInput, this.#slave.pending() >= 0);
    const high = this.#master.pending() >= 0;
    if (high !== this.#isHigh) {
      this.#isHigh = high;
      this.#output(high);
    }
  }
}
