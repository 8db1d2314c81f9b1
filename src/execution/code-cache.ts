import { pageBytes } from "../memory/physical-memory.ts";
import { codeMode } from "./code-mode.ts";
import type { CodePagePort, CodePages } from "./code-pages.ts";
import { BlockDecoder, blockInstructionsMax, type DecodedBlock } from "./decoder.ts";
import { recordBytes } from "./instruction-record.ts";
import {
  blockEntries,
  blockEntryBytes,
  blockEntryOffset,
  lpOffset,
  recordAreaBytes,
} from "./lp-window.ts";

interface Block {
  readonly rip: bigint;
  readonly mode: number;
  readonly record: number;
  readonly records: number;
}

interface CodePage {
  /** Generation of the page when its blocks were decoded. */
  generation: number;
  readonly blocks: Block[];
}

/** An instruction on two pages: found again only while both still translate to the same places. */
interface Straddler {
  readonly mode: number;
  readonly first: number;
  readonly second: number;
  readonly firstGeneration: number;
  readonly secondGeneration: number;
  readonly record: number;
}

const roomForBlock = (blockInstructionsMax + 1) * recordBytes;
const straddlersMax = 4096;
const pageOf = (physical: number): number => physical - (physical % pageBytes);

/**
 * The decoded blocks of one LP. Blocks lie in the window's record area, in the order they were decoded; a hash table in the
 * window finds them by RIP, physical address and decode mode. When the area is full everything is dropped.
 */
export class CodeCache {
  readonly #decoder: BlockDecoder;
  readonly #pages = new Map<number, CodePage>();
  readonly #straddlers = new Map<bigint, Straddler>();
  readonly #codePages: CodePages;
  readonly #port: CodePagePort;
  readonly #u8: Uint8Array;
  readonly #u32: Uint32Array;
  readonly #u64: BigUint64Array;
  readonly #blocksBase: number;
  readonly #recordsBase: number;
  #next: number;

  constructor(
    memory: WebAssembly.Memory,
    windowBase: number,
    codePages: CodePages,
    port: CodePagePort,
    offers: (code: number) => boolean,
  ) {
    this.#decoder = new BlockDecoder(memory, windowBase, offers);
    this.#codePages = codePages;
    this.#port = port;
    this.#u8 = new Uint8Array(memory.buffer);
    this.#u32 = new Uint32Array(memory.buffer);
    this.#u64 = new BigUint64Array(memory.buffer);
    this.#blocksBase = windowBase + lpOffset.blocks;
    this.#recordsBase = windowBase + lpOffset.records;
    this.#next = this.#recordsBase;
  }

  /** Before anything is decoded: instructions of this encoding have an assistant at a place of the interpreter's table. */
  assist(code: number, place: number): void {
    this.#decoder.assist(code, place);
  }

  /**
   * Decodes the block at `rip` and enters it.
   * @param lastOffset CS.limit as far as it restricts fetching
   * @param secondPage translates the page after the one `physical` is in: called for an instruction on two pages
   */
  decode(
    physical: number,
    rip: bigint,
    mode: number,
    lastOffset: bigint,
    secondPage: () => number,
  ): number {
    if (this.#next + roomForBlock > this.#recordsBase + recordAreaBytes) {
      this.flush();
    }
    for (;;) {
      const page = this.#page(physical);
      const block = this.#decoder.decode(
        physical,
        rip,
        mode,
        this.#codePages.version(physical),
        lastOffset,
        this.#next,
      );
      if (!block) {
        return this.#straddler(physical, rip, mode, lastOffset, secondPage());
      }
      this.#codePages.mark(physical, block.bytes);
      if (this.#isStill(page, physical, this.#decoder.bytesOf(physical, block.bytes))) {
        this.#enter(page, block, physical, rip, mode);
        return block.record;
      }
      this.#decoder.forget();
    }
  }

  /**
   * The page has not been freed since it was claimed, and the bytes that have been decoded, and marked since, are there. A
   * store between decoding and marking told nobody (see `CodePages`).
   */
  #isStill(page: CodePage, physical: number, decoded: Uint8Array): boolean {
    const same = decoded.every((byte, n) => byte === this.#u8[physical + n]);
    return same && this.#codePages.generation(physical) === page.generation;
  }

  /** Drops what was decoded of a page that has been written to. */
  drop(physical: number): void {
    const base = pageOf(physical);
    const page = this.#pages.get(base);
    if (!page) {
      return;
    }
    for (const block of page.blocks) {
      this.#decoder.invalidate(block.record, block.records);
      this.#forget(block);
    }
    this.#pages.delete(base);
  }

  /** Drops every page that another LP or a device has written to since it was decoded. */
  dropChanged(): void {
    for (const [base, page] of this.#pages) {
      if (this.#codePages.generation(base) !== page.generation) {
        this.drop(base);
      }
    }
  }

  /** Drops everything. */
  flush(): void {
    for (const page of this.#pages.values()) {
      for (const block of page.blocks) {
        this.#decoder.invalidate(block.record, block.records);
      }
    }
    this.#pages.clear();
    this.#straddlers.clear();
    this.#u8.fill(0, this.#blocksBase, this.#blocksBase + blockEntries * blockEntryBytes);
    this.#next = this.#recordsBase;
  }

  /** The page's entry, made or remade for its present generation. No LP stores to the page unheard when this returns. */
  #page(physical: number): CodePage {
    const base = pageOf(physical);
    const known = this.#pages.get(base);
    if (known && known.generation === this.#codePages.generation(base)) {
      return known;
    }
    this.drop(base);
    const generation = this.#codePages.claim(physical, () => this.#port.claim(base));
    const page: CodePage = { generation, blocks: [] };
    this.#pages.set(base, page);
    return page;
  }

  #enter(page: CodePage, block: DecodedBlock, physical: number, rip: bigint, mode: number): void {
    this.#next = block.record + block.records * recordBytes;
    page.blocks.push({ rip, mode, record: block.record, records: block.records });
    const entry = this.#entryOf(rip, mode);
    this.#u64[(entry + blockEntryOffset.rip) >>> 3] = rip;
    this.#u32[(entry + blockEntryOffset.key) >>> 2] = physical;
    this.#u32[(entry + blockEntryOffset.key + 4) >>> 2] = mode;
    this.#u32[(entry + blockEntryOffset.record) >>> 2] = block.record;
  }

  #forget(block: Block): void {
    const entry = this.#entryOf(block.rip, block.mode);
    if (this.#u32[(entry + blockEntryOffset.record) >>> 2] === block.record) {
      this.#u8.fill(0, entry, entry + blockEntryBytes);
    }
  }

  /** Same hash as the generated look-up. */
  #entryOf(rip: bigint, mode: number): number {
    const low = Number(BigInt.asUintN(32, rip));
    const hash = low ^ (low >>> 14) ^ (mode << 8);
    return this.#blocksBase + (hash & (blockEntries - 1)) * blockEntryBytes;
  }

  #straddler(
    physical: number,
    rip: bigint,
    mode: number,
    lastOffset: bigint,
    second: number,
  ): number {
    for (;;) {
      const firstPage = this.#page(physical);
      const secondPage = this.#page(second);
      const known = this.#straddlers.get(rip);
      if (
        known &&
        known.mode === mode &&
        known.first === physical &&
        known.second === second &&
        known.firstGeneration === firstPage.generation &&
        known.secondGeneration === secondPage.generation
      ) {
        return known.record;
      }
      const head = pageBytes - (physical % pageBytes);
      const code = new Uint8Array(15);
      code.set(this.#u8.subarray(physical, physical + head));
      code.set(this.#u8.subarray(second, second + 15 - head), head);
      const block = this.#decoder.decodeOne(
        code,
        rip,
        mode | codeMode.single,
        lastOffset,
        this.#next,
      );
      this.#codePages.mark(physical, head);
      this.#codePages.mark(second, 15 - head);
      if (
        this.#isStill(firstPage, physical, code.subarray(0, head)) &&
        this.#isStill(secondPage, second, code.subarray(head))
      ) {
        this.#next = block.record + block.records * recordBytes;
        for (const page of [firstPage, secondPage]) {
          page.blocks.push({ rip, mode, record: block.record, records: block.records });
        }
        this.#remember(rip, {
          mode,
          first: physical,
          second,
          firstGeneration: firstPage.generation,
          secondGeneration: secondPage.generation,
          record: block.record,
        });
        return block.record;
      }
    }
  }

  #remember(rip: bigint, straddler: Straddler): void {
    if (this.#straddlers.size >= straddlersMax) {
      this.#straddlers.clear();
    }
    this.#straddlers.set(rip, straddler);
  }
}
