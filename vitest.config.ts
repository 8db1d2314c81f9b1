import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    // A machine is a shared memory of tens of megabytes and, under the threads driver, a thread per processor: few at a time.
    pool: "forks",
    maxWorkers: 2,
    testTimeout: 120_000,
  },
});
