import { parentPort, workerData } from "node:worker_threads";
import { expose } from "comlink";
import { present } from "../../base/assert.ts";
import { BytePipe } from "../../protocol/byte-pipe.ts";
import { DeviceChannel } from "../../protocol/device-channel.ts";
import { WallClock } from "../clock.ts";
import { ControlRegion } from "../control-region.ts";
import { PlatformHost } from "../platform-host.ts";
import type { Ending } from "../run-result.ts";
import { awaitRoom } from "./await-room.ts";
import { comlinkEndpoint } from "./comlink-endpoint.ts";
import { LineBuffer } from "./line-buffer.ts";
import { PlatformRunner } from "./platform-runner.ts";
import type {
  PlatformControl,
  PlatformEvent,
  PlatformOutcome,
  PlatformWorkerData,
} from "./worker-messages.ts";

/** Serial bytes are handed on when there are this many, or when the platform has nothing to do. */
const serialPiece = 4096;
/** The guest is held back while more than this waits to be written out. */
const serialBacklogMax = 2 ** 20;
/** A sleep of this length ends by itself: what is waited for may never come once the machine stops. */
const backlogMs = 50;

/** All devices on their worker's thread. */
class PlatformService implements PlatformControl {
  readonly #events: PlatformWorkerData["events"];
  readonly #control: ControlRegion;
  readonly #host: PlatformHost;
  readonly #runner: PlatformRunner;
  readonly #debug: LineBuffer;
  #serial: number[] = [];

  constructor({ blueprint, start, epochSeconds, channels, input, events }: PlatformWorkerData) {
    const pipe = input && new BytePipe(input);
    this.#events = events;
    this.#control = new ControlRegion(blueprint.memory, blueprint.layout);
    this.#debug = new LineBuffer((line) => this.#post({ type: "debug", line }));
    const clock = new WallClock(start);
    this.#host = new PlatformHost({
      blueprint,
      control: this.#control,
      clock,
      epochSeconds,
      channels: channels.map((memory) => memory && new DeviceChannel(memory)),
      serial: (byte) => this.#addSerial(byte),
      serialInput: pipe && (() => pipe.take()),
      debug: (byte) => this.#debug.add(byte),
      end: (ending) => this.#end(ending),
      whenFull: (lp) => awaitRoom(this.#control, lp),
    });
    this.#runner = new PlatformRunner({
      control: this.#control,
      clock,
      platform: this.#host,
      flush: () => this.#flushSerial(),
    });
  }

  ready(): void {
    // Being asked and answering is all.
  }

  run(): PlatformOutcome {
    this.#runner.run();
    this.#host.close();
    this.#debug.flush();
    return { unowned: Object.fromEntries(this.#host.platform.unowned.counts) };
  }

  #end(ending: Ending): void {
    this.#flushSerial();
    this.#post({ type: "ending", ending });
    this.#control.stop();
  }

  #addSerial(byte: number): void {
    this.#serial.push(byte);
    if (this.#serial.length >= serialPiece) this.#flushSerial();
  }

  #flushSerial(): void {
    if (this.#serial.length === 0) return;
    const bytes = Uint8Array.from(this.#serial);
    this.#serial = [];
    this.#control.addSerialBacklog(bytes.length);
    this.#post({ type: "serial", bytes });
    while (!this.#control.isStopping) {
      const backlog = this.#control.serialBacklog;
      if (backlog <= serialBacklogMax) return;
      this.#control.awaitSerialBacklog(backlog, backlogMs);
    }
  }

  #post(event: PlatformEvent): void {
    this.#events.postMessage(event);
  }
}

/** The whole of the platform's worker. */
export function startPlatformService(): void {
  const port = present(parentPort, "the platform service runs in a worker");
  expose(new PlatformService(workerData as PlatformWorkerData), comlinkEndpoint(port));
}
