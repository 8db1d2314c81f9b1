import { beforeEach, describe, expect, test } from "vitest";
import { Edu } from "../../../src/platform/devices/edu.ts";

const memory = new Uint8Array(0x1_0000);
const messages: number[] = [];
let line = false;
let edu: Edu;

beforeEach(() => {
  memory.fill(0);
  messages.length = 0;
  line = false;
  const inRam = (address: number | bigint, length: number): boolean =>
    Number(address) + length <= memory.length;
  edu = new Edu({
    ...{ bus: 0, device: 4, function: 0 },
    port: {
      read: (address, into) => {
        if (!inRam(address, into.length)) return false;
        into.set(memory.subarray(Number(address), Number(address) + into.length));
        return true;
      },
      write: (address, from) => {
        if (!inRam(address, from.length)) return false;
        memory.set(from, Number(address));
        return true;
      },
      message: (_, data) => messages.push(data),
    },
    interrupt: (high) => {
      line = high;
    },
  });
  edu.function.writeConfiguration(0x10, 4, 0xe000_0000);
  edu.function.writeConfiguration(4, 2, 6);
});

function read(offset: number, size = 4): number {
  return edu.function.decode("memory", 0xe000_0000 + offset)?.bar.read(offset, size) ?? -1;
}
function write(offset: number, value: number, size = 4): void {
  edu.function.decode("memory", 0xe000_0000 + offset)?.bar.write(offset, size, value);
}
function transfer(source: number, destination: number, count: number, command: number): void {
  write(0x80, source);
  write(0x88, destination);
  write(0x90, count);
  write(0x98, command);
}
const start = 1;
const toMemory = 2;
const interrupt = 4;
const buffer = 0x4_0000;

describe("the teaching device", () => {
  test("says who it is, and inverts what it is given", () => {
    expect(edu.function.readConfiguration(0, 4)).toBe(0x11e8_1234);
    expect(read(0)).toBe(0x0100_00ed);
    write(4, 0x1234_5678);
    expect(read(4)).toBe(0xedcb_a987);
    expect(read(4, 2)).toBe(0xffff);
    write(4, 0, 2);
    expect(read(4)).toBe(0xedcb_a987);
  });

  test.each([
    [0, 1],
    [1, 1],
    [5, 120],
    [12, 479_001_600],
    [13, 1_932_053_504],
    [34, 0],
    [0xffff_ffff, 0],
  ])("the factorial of %i is %i, modulo 2^32", (n, product) => {
    write(8, n);
    expect(read(8)).toBe(product);
  });

  test("interrupts when a factorial is computed, if it is told to", () => {
    write(8, 5);
    expect([read(0x24), line]).toEqual([0, false]);
    write(0x20, 0xff);
    expect(read(0x20)).toBe(0x80);
    write(8, 5);
    expect([read(0x24), line]).toEqual([1, true]);
    write(0x64, 1);
    expect([read(0x24), line]).toEqual([0, false]);
  });

  test("interrupts by message when software has enabled that", () => {
    edu.function.writeConfiguration(0x4c, 2, 0x33);
    edu.function.writeConfiguration(0x42, 2, 1);
    write(0x60, 0x10);
    expect([messages, line]).toEqual([[0x33], false]);
  });
});

describe("its DMA", () => {
  test("goes from memory to the buffer and back", () => {
    memory.set([1, 2, 3, 4], 0x100);
    transfer(0x100, buffer + 8, 4, start);
    transfer(buffer + 8, 0x200, 4, start | toMemory | interrupt);
    expect([...memory.subarray(0x200, 0x204)]).toEqual([1, 2, 3, 4]);
    expect([read(0x98), read(0x24), line]).toEqual([6, 0x100, true]);
  });

  test("does nothing that would leave the buffer, and nothing without the start bit", () => {
    memory.fill(0x55, 0, 0x2000);
    transfer(0, buffer + 1, 4096, start);
    transfer(0, buffer - 1, 4, start);
    transfer(0, buffer, 4, 0);
    transfer(buffer, 0x4000, 4096, start | toMemory);
    expect(memory.subarray(0x4000, 0x5000).every((byte) => byte === 0)).toBe(true);
  });

  test("that is blocked changes nothing", () => {
    transfer(buffer, 0xfff0, 4096, start | toMemory);
    transfer(0xfff0, buffer, 4096, start);
    expect([memory[0xfff0], read(0x98)]).toEqual([0, 0]);
    edu.function.writeConfiguration(4, 2, 2);
    memory.fill(7, 0, 4);
    transfer(0, buffer, 4, start);
    edu.function.writeConfiguration(4, 2, 6);
    transfer(buffer, 0x100, 4, start | toMemory);
    expect(memory[0x100]).toBe(0);
  });

  test("is forgotten on reset", () => {
    memory.set([9], 0);
    transfer(0, buffer, 1, start);
    edu.function.reset();
    edu.reset();
    edu.function.writeConfiguration(0x10, 4, 0xe000_0000);
    edu.function.writeConfiguration(4, 2, 6);
    expect([read(0x80), read(0x88), read(0x90), read(0x98)]).toEqual([0, 0, 0, 0]);
    transfer(buffer, 0x10, 1, start | toMemory);
    expect(memory[0x10]).toBe(0);
  });
});
