import { describe, expect, it } from "vitest";
import { CodePages } from "../../src/execution/code-pages.ts";
import { lpWindowBytes } from "../../src/execution/lp-window.ts";
import { createMemory, layOutMemory } from "../../src/memory/physical-memory.ts";

const page = 0x3000;
const nothing = (): void => undefined;
function pages(): CodePages {
  const layout = layOutMemory(1024 ** 2, 1, lpWindowBytes);
  return new CodePages(createMemory(layout), layout);
}

describe("claiming a page for decoding", () => {
  it("marks the page before permissions are dropped, and drops them once", () => {
    const all = pages();
    let drops = 0;
    const drop = (): void => {
      expect(all.holdsCode(page)).toBe(true);
      drops += 1;
    };
    const generation = all.claim(page + 0x100, drop);
    expect(all.claim(page, drop)).toBe(generation);
    expect(drops).toBe(1);
  });

  it("is void when the page is freed meanwhile: permissions are dropped again", () => {
    const all = pages();
    let drops = 0;
    const generation = all.claim(page, () => {
      drops += 1;
      if (drops === 1) {
        expect(all.written(page, 8, nothing)).toBe(true);
      }
    });
    expect(drops).toBe(2);
    expect(all.holdsCode(page)).toBe(true);
    expect(all.generation(page)).toBe(generation);
  });
});

describe("a store to a claimed page", () => {
  it("frees it when it touches a marked line, after everybody has been told", () => {
    const all = pages();
    const generation = all.claim(page, nothing);
    all.mark(page + 0x40, 16);
    const told: boolean[] = [];
    const announce = (): void => {
      told.push(all.holdsCode(page));
      expect(all.generation(page)).not.toBe(generation);
    };
    expect(all.written(page + 0x4f, 1, announce)).toBe(true);
    expect(told).toEqual([true]);
    expect(all.holdsCode(page)).toBe(false);
  });

  it("changes nothing but the version when it touches no marked line", () => {
    const all = pages();
    const generation = all.claim(page, nothing);
    const version = all.version(page);
    expect(all.written(page + 0x80, 8, nothing)).toBe(false);
    expect(all.generation(page)).toBe(generation);
    expect(all.version(page)).not.toBe(version);
  });
});
