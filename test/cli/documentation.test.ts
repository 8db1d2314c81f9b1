import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { exitStatusTable } from "../../src/cli/exit-statuses.ts";
import { runCommand } from "../../src/cli/run-options.ts";
import { projectFile } from "../../src/machine/project-files.ts";
import { exitStatus } from "../../src/machine/run-result.ts";

const page = readFileSync(projectFile("docs", "command-line.md"), "utf8");

it("every option of vmxon run is on the page of the command line", () => {
  const flags = runCommand(async () => undefined).options.map((option) => option.long ?? "");
  expect(flags.length).toBeGreaterThan(10);
  for (const flag of flags) expect(page, flag).toContain(`| \`${flag}`);
});

it("every exit status is in the help and on the page", () => {
  for (const status of Object.values(exitStatus).map(String)) {
    expect(page, status).toContain(`\n| ${status} |`);
    expect(exitStatusTable.map(([value]) => value)).toContain(status);
  }
});
