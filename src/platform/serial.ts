import type { Line, PortDevice } from "./device.ts";

/** Register offsets; DLAB (line control bit 7) replaces the first two by the divisor latch. */
const register = {
  data: 0,
  interruptEnable: 1,
  /** Read: interrupt identification. Write: FIFO control. */
  identification: 2,
  lineControl: 3,
  modemControl: 4,
  lineStatus: 5,
  modemStatus: 6,
  scratch: 7,
} as const;

const enable = { received: 1, transmitterEmpty: 2, lineStatus: 4, modemStatus: 8 } as const;
const identification = {
  none: 0x01,
  modemStatus: 0x00,
  transmitterEmpty: 0x02,
  received: 0x04,
  lineStatus: 0x06,
  timeout: 0x0c,
  fifosEnabled: 0xc0,
} as const;
const fifoControl = { enable: 0x01, clearReceiver: 0x02 } as const;
const divisorLatch = 0x80;
const modemControl = {
  dtr: 0x01,
  rts: 0x02,
  out1: 0x04,
  out2: 0x08,
  loopback: 0x10,
  writable: 0x1f,
} as const;
const lineStatus = { dataReady: 0x01, overrun: 0x02, transmitterIdle: 0x60 } as const;
/** Modem status, high nibble: clear to send, data set ready, ring, carrier. Low nibble: what changed. */
const modemStatus = { cts: 0x10, dsr: 0x20, ring: 0x40, carrier: 0x80, ringEnded: 0x04 } as const;
const connected = modemStatus.cts | modemStatus.dsr | modemStatus.carrier;

const fifoBytes = 16;
/** Receiver FIFO level that raises the interrupt, by FIFO control bits 7:6. */
const triggerLevels = [1, 4, 8, 14] as const;

export interface SerialOptions {
  readonly firstPort: number;
  readonly interrupt: Line;
  /** A byte that the guest has sent. */
  readonly output: (byte: number) => void;
  /** The next byte for the guest, if there is one by now. Not given: there never is. */
  readonly input?: (() => number | undefined) | undefined;
}

/**
 * 16550A. A byte written is sent at once. What is at the other end sends when the guest says that it is ready (DTR), and when the
 * receiver has room, so that nothing is overrun and nothing is lost while the guest sets the receiver up.
 */
export class Serial implements PortDevice {
  readonly ports;
  readonly #options: SerialOptions;
  #interruptEnable = 0;
  #fifoControl = 0;
  #lineControl = 0;
  #modemControl = 0;
  #lineErrors = 0;
  #modemDeltas = 0;
  #scratch = 0;
  /** 9600 baud. */
  #divisor = 12;
  #transmitterInterrupt = false;
  #received: number[] = [];

  constructor(options: SerialOptions) {
    this.#options = options;
    this.ports = [{ first: options.firstPort, count: 8, widest: 1 }] as const;
  }

  /** The scratch register and the divisor are kept. */
  reset(): void {
    this.#interruptEnable = 0;
    this.#fifoControl = 0;
    this.#lineControl = 0;
    this.#modemControl = 0;
    this.#lineErrors = 0;
    this.#modemDeltas = 0;
    this.#transmitterInterrupt = false;
    this.#received = [];
    this.#update();
  }

  /** Takes input that has come. @returns whether there was any */
  receive(): boolean {
    const hasCome = this.#refill();
    if (hasCome) this.#update();
    return hasCome;
  }

  readPort(port: number): number {
    const value = this.#read(port - this.#options.firstPort);
    this.#update();
    return value;
  }

  writePort(port: number, _size: number, value: number): void {
    this.#write(port - this.#options.firstPort, value);
    this.#update();
  }

  #read(index: number): number {
    switch (index) {
      case register.data:
        return this.#latchOpen ? this.#divisor & 0xff : (this.#received.shift() ?? 0);
      case register.interruptEnable:
        return this.#latchOpen ? this.#divisor >>> 8 : this.#interruptEnable;
      case register.identification:
        return this.#readIdentification();
      case register.lineControl:
        return this.#lineControl;
      case register.modemControl:
        return this.#modemControl;
      case register.lineStatus: {
        const status = this.#lineStatus();
        this.#lineErrors = 0;
        return status;
      }
      case register.modemStatus: {
        const status = this.#modemLines() | this.#modemDeltas;
        this.#modemDeltas = 0;
        return status;
      }
      default:
        return this.#scratch;
    }
  }

  #write(index: number, value: number): void {
    switch (index) {
      case register.data:
        this.#writeData(value);
        break;
      case register.interruptEnable:
        this.#writeInterruptEnable(value);
        break;
      case register.identification:
        this.#writeFifoControl(value);
        break;
      case register.lineControl:
        this.#lineControl = value;
        break;
      case register.modemControl:
        this.#writeModemControl(value);
        break;
      case register.scratch:
        this.#scratch = value;
        break;
      default:
    }
  }

  #writeData(value: number): void {
    if (this.#latchOpen) {
      this.#divisor = (this.#divisor & 0xff00) | value;
      return;
    }
    this.#transmitterInterrupt = true;
    if (!this.#isLoopback) {
      this.#options.output(value);
    } else if (this.#received.length < this.#receiverRoom) {
      this.#received.push(value);
    } else {
      this.#lineErrors |= lineStatus.overrun;
    }
  }

  /** Enabling the transmitter interrupt while the transmitter is empty, as it always is here, raises it. */
  #writeInterruptEnable(value: number): void {
    if (this.#latchOpen) {
      this.#divisor = (this.#divisor & 0xff) | (value << 8);
      return;
    }
    if (value & ~this.#interruptEnable & enable.transmitterEmpty) {
      this.#transmitterInterrupt = true;
    }
    this.#interruptEnable = value & 0xf;
  }

  #writeFifoControl(value: number): void {
    const toggled = (value ^ this.#fifoControl) & fifoControl.enable;
    if (toggled || value & fifoControl.clearReceiver) {
      this.#received = [];
    }
    this.#fifoControl = value & fifoControl.enable ? value : 0;
  }

  #writeModemControl(value: number): void {
    const before = this.#modemLines();
    this.#modemControl = value & modemControl.writable;
    const after = this.#modemLines();
    const changed = (before ^ after) & connected;
    // Of the ring line only its end is reported.
    const ringEnded = before & ~after & modemStatus.ring ? modemStatus.ringEnded : 0;
    this.#modemDeltas |= (changed >>> 4) | ringEnded;
  }

  #readIdentification(): number {
    const cause = this.#cause();
    if (cause === identification.transmitterEmpty) {
      this.#transmitterInterrupt = false;
    }
    return cause | (this.#fifosEnabled ? identification.fifosEnabled : 0);
  }

  /** What interrupts, highest priority first. */
  #cause(): number {
    const enabled = this.#interruptEnable;
    if (enabled & enable.lineStatus && this.#lineErrors !== 0) {
      return identification.lineStatus;
    }
    if (enabled & enable.received && this.#received.length > 0) {
      // Bytes below the trigger level do not get more by waiting: the line is idle at once.
      return this.#received.length >= this.#triggerLevel
        ? identification.received
        : identification.timeout;
    }
    if (enabled & enable.transmitterEmpty && this.#transmitterInterrupt) {
      return identification.transmitterEmpty;
    }
    return enabled & enable.modemStatus && this.#modemDeltas !== 0
      ? identification.modemStatus
      : identification.none;
  }

  #lineStatus(): number {
    const ready = this.#received.length > 0 ? lineStatus.dataReady : 0;
    return lineStatus.transmitterIdle | this.#lineErrors | ready;
  }

  /** In loopback the modem inputs are the modem control outputs. */
  #modemLines(): number {
    if (!this.#isLoopback) {
      return connected;
    }
    const control = this.#modemControl;
    return (
      (control & modemControl.rts ? modemStatus.cts : 0) |
      (control & modemControl.dtr ? modemStatus.dsr : 0) |
      (control & modemControl.out1 ? modemStatus.ring : 0) |
      (control & modemControl.out2 ? modemStatus.carrier : 0)
    );
  }

  /** @returns whether anything has come */
  #refill(): boolean {
    const before = this.#received.length;
    while (this.#isReady && this.#received.length < this.#receiverRoom) {
      const byte = this.#options.input?.();
      if (byte === undefined) {
        break;
      }
      this.#received.push(byte);
    }
    return this.#received.length > before;
  }

  /** Refills the receiver and drives the interrupt line, which a PC gates by OUT2. */
  #update(): void {
    this.#refill();
    const gated = (this.#modemControl & modemControl.out2) !== 0 && !this.#isLoopback;
    this.#options.interrupt(gated && this.#cause() !== identification.none);
  }

  get #latchOpen(): boolean {
    return (this.#lineControl & divisorLatch) !== 0;
  }
  get #isLoopback(): boolean {
    return (this.#modemControl & modemControl.loopback) !== 0;
  }
  /** DTR is set, as the other end sees it. */
  get #isReady(): boolean {
    return (this.#modemControl & modemControl.dtr) !== 0 && !this.#isLoopback;
  }
  get #fifosEnabled(): boolean {
    return (this.#fifoControl & fifoControl.enable) !== 0;
  }
  get #receiverRoom(): number {
    return this.#fifosEnabled ? fifoBytes : 1;
  }
  get #triggerLevel(): number {
    return this.#fifosEnabled ? (triggerLevels[(this.#fifoControl >>> 6) & 3] ?? 1) : 1;
  }
}
