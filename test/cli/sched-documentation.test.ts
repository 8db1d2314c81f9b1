import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { schedCommand } from "../../src/cli/sched-command.ts";
import { builtInScenarios } from "../../src/hypervisor/scenarios/built-in.ts";
import { projectFile } from "../../src/machine/project-files.ts";
import { figures } from "../../src/machine/scheduling/bench-figures.ts";

const page = readFileSync(projectFile("docs", "scheduling-benchmark.md"), "utf8");
const command = schedCommand({
  print: async () => undefined,
  terminal: { write: () => undefined },
  now: () => 0,
  onInterrupt: () => () => undefined,
  setStatus: () => undefined,
});

it("every option of vmxon sched is on the page of the benchmark", () => {
  for (const one of command.commands) {
    expect(page).toContain(`vmxon sched ${one.name()}`);
    for (const { long } of one.options)
      expect(page, `${one.name()} ${long}`).toContain(`\`${long}`);
  }
});

it("every figure of the table and every workload is on it", () => {
  for (const { title } of Object.values(figures)) {
    if (title !== "of solo") expect(page).toContain(title);
  }
  const types = builtInScenarios.flatMap(({ vms }) =>
    vms.flatMap(({ workloads }) => workloads.map(({ type }) => type)),
  );
  for (const type of new Set(types)) expect(page).toContain(`| \`${type}\` |`);
});
