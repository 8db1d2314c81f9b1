import type { PortDevice } from "./device.ts";
import type { ExitSink } from "./exit-request.ts";

const controllerPort = { data: 0x60, command: 0x64 } as const;

const statusBit = { outputFull: 0x01, system: 0x04, command: 0x08, unlocked: 0x10 } as const;

/** Controller commands. */
const command = {
  readConfiguration: 0x20,
  writeConfiguration: 0x60,
  disableMouse: 0xa7,
  enableMouse: 0xa8,
  testMouse: 0xa9,
  testController: 0xaa,
  testKeyboard: 0xab,
  disableKeyboard: 0xad,
  enableKeyboard: 0xae,
  readOutputPort: 0xd0,
  writeOutputPort: 0xd1,
  /** F0H to FFH: pulse the output port bits whose command bit is 0. */
  pulse: 0xf0,
} as const;

const outputPort = { notReset: 0x01, a20: 0x02, outputFull: 0x10 } as const;
const configuration = { system: 0x04, keyboardOff: 0x10, mouseOff: 0x20, translate: 0x40 } as const;
const testPassed = { controller: 0x55, port: 0x00 } as const;
/** Most answers that wait to be read. */
const answersMax = 16;

/** 8042 with nothing attached: it answers its own commands, and resets the processors. The A20 gate is always open. */
export class KeyboardController implements PortDevice {
  readonly ports = [
    { first: controllerPort.data, count: 1, widest: 1 },
    { first: controllerPort.command, count: 1, widest: 1 },
  ] as const;
  readonly #exit: ExitSink;
  #answers: number[] = [];
  /** Command that waits for its data byte, 0 when none. */
  #awaiting = 0;
  #lastWasCommand = false;
  #configuration: number = configuration.translate | configuration.system;

  constructor(exit: ExitSink) {
    this.#exit = exit;
  }

  reset(): void {
    this.#answers = [];
    this.#awaiting = 0;
    this.#lastWasCommand = false;
    this.#configuration = configuration.translate | configuration.system;
  }

  readPort(port: number): number {
    if (port === controllerPort.data) {
      return this.#answers.shift() ?? 0;
    }
    return (
      (this.#answers.length > 0 ? statusBit.outputFull : 0) |
      statusBit.system |
      (this.#lastWasCommand ? statusBit.command : 0) |
      statusBit.unlocked
    );
  }

  writePort(port: number, _size: number, value: number): void {
    this.#lastWasCommand = port === controllerPort.command;
    if (this.#lastWasCommand) {
      this.#command(value);
    } else {
      this.#data(value);
    }
  }

  #command(value: number): void {
    this.#awaiting = 0;
    switch (value) {
      case command.readConfiguration:
        this.#answer(this.#configuration);
        break;
      case command.writeConfiguration:
      case command.writeOutputPort:
        this.#awaiting = value;
        break;
      case command.disableMouse:
        this.#configuration |= configuration.mouseOff;
        break;
      case command.enableMouse:
        this.#configuration &= ~configuration.mouseOff;
        break;
      case command.testMouse:
      case command.testKeyboard:
        this.#answer(testPassed.port);
        break;
      case command.testController:
        this.#answer(testPassed.controller);
        break;
      case command.disableKeyboard:
        this.#configuration |= configuration.keyboardOff;
        break;
      case command.enableKeyboard:
        this.#configuration &= ~configuration.keyboardOff;
        break;
      case command.readOutputPort:
        this.#answer(outputPort.notReset | outputPort.a20 | outputPort.outputFull);
        break;
      default:
        if ((value & command.pulse) === command.pulse && (value & outputPort.notReset) === 0) {
          this.#exit({ type: "reset", soft: true });
        }
    }
  }

  /** Data for a command; without one it is for a keyboard, and there is none. */
  #data(value: number): void {
    if (this.#awaiting === command.writeConfiguration) {
      this.#configuration = value;
    } else if (this.#awaiting === command.writeOutputPort && (value & outputPort.notReset) === 0) {
      this.#exit({ type: "reset", soft: true });
    }
    this.#awaiting = 0;
  }

  #answer(value: number): void {
    if (this.#answers.length < answersMax) {
      this.#answers.push(value);
    }
  }
}
