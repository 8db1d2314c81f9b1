const setCount = 1024;
const ways = 4;
const entryCount = setCount * ways;
const free = -1;
/** Below this many pages a selective invalidation looks each of them up. */
const probesMax = 64;

/**
 * Translations by domain and page, 4096 of them in sets of four; they stay until they are invalidated or pushed out. A part of a
 * large page takes an entry per 4 KiB that is used, and goes when any part of that page is invalidated.
 */
export class Iotlb {
  /** By entry: the page of the host, and the permissions (1 read, 2 write). */
  readonly frames = new Float64Array(entryCount);
  readonly permissions = new Uint8Array(entryCount);
  readonly #pages = new Float64Array(entryCount).fill(free);
  readonly #domains = new Uint16Array(entryCount);
  /** Level of the table that maps the page: 1, or 2 and 3 for a large one. */
  readonly #levels = new Uint8Array(entryCount);
  readonly #victims = new Uint8Array(setCount);
  #hasLargePages = false;

  /** @returns the entry, -1 for none */
  find(domain: number, page: number): number {
    const first = firstOf(domain, page);
    for (let entry = first; entry < first + ways; entry++) {
      if (this.#pages[entry] === page && this.#domains[entry] === domain) {
        return entry;
      }
    }
    return -1;
  }

  insert(domain: number, page: number, frame: number, permissions: number, level: number): void {
    const entry = this.#place(domain, page);
    this.#pages[entry] = page;
    this.#domains[entry] = domain;
    this.frames[entry] = frame;
    this.permissions[entry] = permissions;
    this.#levels[entry] = level;
    this.#hasLargePages ||= level > 1;
  }

  invalidateAll(): void {
    this.#pages.fill(free);
    this.#hasLargePages = false;
  }

  invalidateDomain(domain: number): void {
    for (let entry = 0; entry < entryCount; entry++) {
      if (this.#domains[entry] === domain) {
        this.#pages[entry] = free;
      }
    }
  }

  /** The 2^mask pages, naturally aligned, in which `page` lies. */
  invalidatePages(domain: number, page: number, mask: number): void {
    const count = 2 ** mask;
    const first = page - (page % count);
    if (count <= probesMax && !this.#hasLargePages) {
      for (let each = first; each < first + count; each++) {
        const entry = this.find(domain, each);
        if (entry >= 0) {
          this.#pages[entry] = free;
        }
      }
      return;
    }
    for (let entry = 0; entry < entryCount; entry++) {
      if (this.#domains[entry] === domain && this.#overlaps(entry, first, first + count)) {
        this.#pages[entry] = free;
      }
    }
  }

  #overlaps(entry: number, start: number, end: number): boolean {
    const page = this.#pages[entry] ?? free;
    const span = 512 ** ((this.#levels[entry] ?? 1) - 1);
    const first = page - (page % span);
    return page !== free && first < end && first + span > start;
  }

  /** An entry for a translation: the one it has, a free one, or each in turn. */
  #place(domain: number, page: number): number {
    const found = this.find(domain, page);
    if (found >= 0) {
      return found;
    }
    const first = firstOf(domain, page);
    for (let entry = first; entry < first + ways; entry++) {
      if (this.#pages[entry] === free) {
        return entry;
      }
    }
    const set = first / ways;
    const victim = this.#victims[set] ?? 0;
    this.#victims[set] = (victim + 1) % ways;
    return first + victim;
  }
}

/** The first entry of the set that a translation belongs to. */
function firstOf(domain: number, page: number): number {
  const low = page | 0;
  return ((low ^ (low >>> 10) ^ Math.imul(domain, 0x9e37)) & (setCount - 1)) * ways;
}
