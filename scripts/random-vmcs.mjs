#!/usr/bin/env node
/**
 * The long campaign of random VMCSs: each must end in success, VMfail or an architected exit.
 *
 *   node scripts/random-vmcs.mjs [COUNT] [MODEL...]     COUNT VMCSs (100000) on each model (skylake-server)
 */
import { spawnSync } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const [count = "100000", ...given] = process.argv.slice(2);
const models = given.length === 0 ? ["skylake-server"] : given;
if (!/^[1-9]\d*$/.test(count)) {
  process.stderr.write(`random-vmcs: ${count} is not a number of VMCSs\n`);
  process.exit(2);
}
const vitest = join(root, "node_modules", "vitest", "vitest.mjs");
for (const model of models) {
  process.stdout.write(`${count} random VMCSs on ${model}\n`);
  const { status } = spawnSync(process.execPath, [vitest, "run", "test/vmx/random-vmcs.test.ts"], {
    cwd: root,
    stdio: "inherit",
    env: { ...process.env, VMXON_RANDOM_VMCS: count, VMXON_RANDOM_CPU: model },
  });
  if (status !== 0) process.exit(1);
}
