import { bytesOf, type DescriptorChain, readPieces, writePieces } from "./descriptor-chain.ts";
import { featureBit } from "./virtio-bits.ts";
import type { VirtioModel, VirtioQueues } from "./virtio-model.ts";

/** "Network Device". */
const feature = { mac: 5, status: 16 } as const;
const queue = { receive: 0, transmit: 1 } as const;
const queueSize = 256;
/** Flags, sizes and offsets that no offered feature uses, then how many buffers a received frame takes: always one. */
const headerBytes = 12;
const bufferCountOffset = 10;
/** Header and frame; what is longer is dropped. */
const packetBytesMax = 65536;
/** Locally administered. */
const mac = [0x52, 0x54, 0x00, 0x76, 0x6d, 0x78] as const;
const linkUp = [1, 0] as const;

/** A network card whose cable leads back to it: each frame sent is received, once there is a buffer for it. */
export class VirtioNet implements VirtioModel {
  readonly deviceType = 1;
  readonly classCode = 0x02_0000;
  readonly features = featureBit(feature.mac) | featureBit(feature.status);
  readonly queueSizes = [queueSize, queueSize];
  readonly configuration = Uint8Array.from([...mac, ...linkUp]);
  readonly #packet = new Uint8Array(packetBytesMax);

  /** A frame under way needs both queues, so either may have been what was missing. */
  step(_which: number, queues: VirtioQueues): boolean {
    if (!queues.hasChain(queue.transmit) || !queues.hasChain(queue.receive)) {
      return false;
    }
    const sent = queues.take(queue.transmit);
    if (sent === undefined) {
      return false;
    }
    const bytes = bytesOf(sent.readable);
    if (bytes < headerBytes) {
      queues.fail();
      return false;
    }
    if (bytes <= packetBytesMax) {
      const packet = this.#packet.subarray(0, bytes);
      if (!readPieces(queues.port, sent.readable, 0, packet)) {
        queues.fail();
        return false;
      }
      this.#receive(packet, queues);
    }
    queues.give(queue.transmit, sent, 0);
    return true;
  }

  #receive(packet: Uint8Array, queues: VirtioQueues): void {
    const room: DescriptorChain | undefined = queues.take(queue.receive);
    if (room === undefined) {
      return;
    }
    packet.fill(0, 0, headerBytes);
    packet[bufferCountOffset] = 1;
    const fits = packet.length <= bytesOf(room.writable);
    if (fits && !writePieces(queues.port, room.writable, 0, packet)) {
      queues.fail();
      return;
    }
    // A frame that does not fit is lost, and its buffer comes back empty.
    queues.give(queue.receive, room, fits ? packet.length : 0);
  }
}
