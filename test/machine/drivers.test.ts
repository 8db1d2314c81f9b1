import { describe, expect, it } from "vitest";
import { driverNames } from "../../src/machine/configuration.ts";
import { statusOf } from "../../src/machine/run-result.ts";
import {
  capitals,
  changesCode,
  countsTogether,
  deviceTicks,
  floodsSerial,
  hello,
  powerOff,
  resets,
  sleepsForEver,
  spins,
  tellsTime,
  timerLateness,
  timerTicks,
  tripleFault,
  writesNowhere,
} from "./guests.ts";
import { runGuest } from "./run-guest.ts";

describe.each(driverNames)("under the %s driver", (driver) => {
  it("a guest prints and chooses the exit status", async () => {
    const { result, serial } = await runGuest(hello(21), { driver });
    expect(serial).toBe("hello\n");
    expect(result.ending).toEqual({ type: "exit", value: 21 });
    expect(statusOf(result.ending)).toBe(43);
    const [lp] = result.lps;
    expect(lp?.statistics.instructions).toBeGreaterThan(20);
    expect(lp?.statistics.deviceAccesses).toBe(7);
  });

  it("a time-stamp counter starts as far ahead as was asked", async () => {
    const tscSkew = [5 * 2 ** 40];
    const { result } = await runGuest(tellsTime, { driver, tscSkew });
    expect(result.ending).toEqual({ type: "exit", value: 5 });
  });

  it("a guest switches the machine off", async () => {
    const { result } = await runGuest(powerOff, { driver });
    expect(result.ending).toEqual({ type: "power-off" });
    expect(statusOf(result.ending)).toBe(0);
  });

  it("a reset ends the run", async () => {
    const { result } = await runGuest(resets, { driver });
    expect(result.ending).toEqual({ type: "reset" });
  });

  it("a triple fault is a shutdown, with the LP as it was", async () => {
    const { result } = await runGuest(tripleFault, { driver, lpCount: 2 });
    expect(result.ending).toEqual({ type: "shutdown", lp: 0 });
    expect(result.lps[0]?.state).toMatchObject({ activity: "shutdown", bits: 32 });
    expect(result.lps[0]?.state.registers["RBX"]).toBe(0x1234_5678n);
    expect(result.lps[1]?.state.activity).toBe("waitforsipi");
  });

  it("a guest that spins is stopped by the timeout", async () => {
    const { result } = await runGuest(spins, { driver, timeoutSeconds: 1 });
    expect(result.ending).toEqual({ type: "timeout" });
    expect(result.lps[0]?.state).toMatchObject({ activity: "active", rip: 0x10_0021n });
  });

  it("a guest that sleeps with interrupts off has come to its end", async () => {
    const { result } = await runGuest(sleepsForEver, { driver, lpCount: 3 });
    expect(result.ending).toEqual({ type: "dead" });
  });

  it("a guest receives what comes in by its serial line, by interrupts, and loses nothing", async () => {
    const typed = "abcdefghij".repeat(1000);
    const serialInput = new TextEncoder().encode(`${typed}.`);
    const { result, serial } = await runGuest(capitals, { driver }, { serialInput });
    expect(result.ending).toEqual({ type: "exit", value: 0 });
    expect(serial).toBe(typed.toUpperCase());
  });
  it("a guest that floods its serial line is held back, not the machine", async () => {
    let waiting = 0;
    let most = 0;
    const serial = async (bytes: Uint8Array): Promise<void> => {
      waiting += bytes.length;
      most = Math.max(most, waiting);
      await new Promise((resolve) => setTimeout(resolve, 20));
      waiting -= bytes.length;
    };
    const { result } = await runGuest(floodsSerial, { driver, timeoutSeconds: 1 }, { serial });
    expect(result.ending).toEqual({ type: "timeout" });
    expect(most).toBeGreaterThan(0);
    expect(most).toBeLessThan(3 * 2 ** 20);
  });

  it("accesses that nobody answers read as ones and are reported", async () => {
    const { result } = await runGuest(writesNowhere, { driver });
    expect(result.ending).toEqual({ type: "exit", value: 0x3f });
    expect(result.unowned).toEqual({ "page D0000000H": 2, "port 9999H": 1 });
  });

  it("can be stopped from outside", async () => {
    const abort = new AbortController();
    setTimeout(() => abort.abort("interrupted"), 200);
    const { result } = await runGuest(spins, { driver, lpCount: 2 }, { signal: abort.signal });
    expect(result.ending).toEqual({ type: "interrupted" });
    expect(statusOf(result.ending)).toBe(130);
  });

  it("a halted LP is woken by its local timer", async () => {
    const { result, serial } = await runGuest(timerTicks, { driver });
    expect(serial).toBe("ten\n");
    expect(result.lps[0]?.statistics.secondsHalted).toBeGreaterThan(0);
  });

  it("a halted LP is woken by a device through the I/O APIC", async () => {
    const { result } = await runGuest(deviceTicks, { driver });
    expect(result.ending).toEqual({ type: "exit", value: 5 });
    expect(result.lps[0]?.statistics.interruptsReceived).toBeGreaterThanOrEqual(5);
  });

  it.each([2, 4])("%i LPs start and count together", async (lpCount) => {
    const { result, serial } = await runGuest(countsTogether(lpCount), { driver, lpCount });
    expect(serial).toBe(String(1000 * lpCount));
    expect(result.ending).toEqual({ type: "exit", value: 1 });
    expect(result.lps[0]?.statistics.interruptsSent).toBe(2);
    expect(result.lps.slice(1).map((lp) => lp.statistics.interruptsReceived)).toEqual(
      Array(lpCount - 1).fill(2),
    );
  });

  it("an LP executes what another has written into its code", async () => {
    const { result } = await runGuest(changesCode(200), { driver, lpCount: 2 });
    expect(result.ending).toEqual({ type: "exit", value: 2 });
  });
});

it("in virtual time a timer interrupts a guest that runs when it is due", async () => {
  for (const seed of [1, 2, 3]) {
    const { result } = await runGuest(timerLateness, { driver: "deterministic", seed });
    expect(result.ending).toEqual({ type: "exit", value: expect.toSatisfy((late) => late < 200) });
  }
});
