import {
  BlockCause,
  DescheduleReason,
  noLp,
  noVcpu,
  type RecordHeader,
  RequestKind,
  type RunRecord,
  RunRecorder,
} from "../../../src/hypervisor/run-record.ts";

export const header = (other: Partial<RecordHeader> = {}): RecordHeader => ({
  policy: "round-robin",
  parameters: {},
  scenario: "sample",
  overcommit: 2,
  seed: 1,
  lps: 2,
  topology: { sockets: 1, coresPerSocket: 2, threadsPerCore: 1 },
  vms: [
    { name: "left", weight: 256, cap: 0 },
    { name: "right", weight: 256, cap: 0 },
  ],
  vcpus: [
    { vm: 0, index: 0, affinity: [0, 1] },
    { vm: 0, index: 1, affinity: [0, 1] },
    { vm: 1, index: 0, affinity: [0] },
  ],
  counters: ["credits"],
  costs: { profile: "test", published: 3, estimate: 5 },
  ...other,
});

export const hltReason = 12;
export const pauseReason = 40;
export const us = 1000;

/**
 * A millisecond of two LPs, written by hand. vCPU 0 (VM left) runs on LP 0 from 0 to 400 us holding lock 7 from 100 on, is
 * preempted, runs again on LP 1 from 700 on, and releases at 750. vCPU 1 (left) runs on LP 1 from 0, waits for the lock from
 * 200, leaves by a PAUSE-loop exit at 600 and gets the lock, and LP 0, at 800. vCPU 2 (right) wakes at 300, runs on LP 0 from 400 to 800, and
 * polls 50 us before it blocks for I/O.
 */
export function sampleRecord(): RunRecord {
  const r = new RunRecorder(header());
  r.wake(0, 0, 0);
  r.dispatch(0, 0, 0, 2 * us);
  r.wake(0, 1, 1);
  r.dispatch(0, 1, 1, 2 * us);
  r.lockWait(100 * us, 0, 0, 7);
  r.lockAcquire(100 * us, 0, 0, 7);
  r.lockWait(200 * us, 1, 1, 7);
  r.ipiSend(250 * us, 1, 1, 1, 0);
  r.wake(300 * us, noLp, 2);
  r.post(300 * us, noLp, 2, 9, 0x40);
  r.requestStart(300 * us, noLp, 2, 5, RequestKind.Io);
  r.counter(300 * us, 0, noVcpu, 0, 12.5);
  r.deschedule(400 * us, 0, 0, DescheduleReason.Slice);
  // Appended when it is over: it began before the event above.
  r.exit(395 * us, 0, 0, 5 * us, 52);
  r.dispatch(400 * us, 0, 2, 4 * us);
  r.deliver(410 * us, 0, 2, 9, 0x40);
  r.exit(597 * us, 1, 1, 3 * us, pauseReason);
  r.deschedule(600 * us, 1, 1, DescheduleReason.PauseLoop);
  r.migrate(700 * us, 1, 0, 1500, 0);
  r.dispatch(700 * us, 1, 0, 4 * us);
  r.ipiAcknowledge(710 * us, 1, 0, 1, 1);
  r.requestComplete(720 * us, 0, 2, 5, RequestKind.Io);
  r.haltPollBegin(750 * us, 0, 2);
  r.lockRelease(750 * us, 1, 0, 7);
  r.lockHandoff(750 * us, 1, 0, 7, 1);
  r.work(750 * us, 1, 0, 3);
  r.haltPollEnd(800 * us, 0, 2, false);
  r.exit(745 * us, 0, 2, 55 * us, hltReason);
  r.deschedule(800 * us, 0, 2, DescheduleReason.Block, BlockCause.Io);
  r.dispatch(800 * us, 0, 1, 4 * us);
  r.lockAcquire(804 * us, 0, 1, 7);
  r.work(900 * us, 0, 1, 1);
  r.tick(950 * us, 1, 0, 30 * us);
  return r.finish(1000 * us, { type: "completed" });
}
