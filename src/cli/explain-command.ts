import { Argument, Command } from "commander";
import { explain, type SubjectName, subjects } from "./explain.ts";
import { formatExplanation } from "./explanation.ts";

const examples = `
Examples:
  vmxon explain exit 48
  vmxon explain field guestRip
  vmxon explain control enableEpt
  vmxon explain check CTL-14
  vmxon explain msr 0x48b --json
`;

/** Describes the command. @param print writes to standard output */
export function explainCommand(print: (text: string) => Promise<void>): Command {
  const names = Object.keys(subjects) as SubjectName[];
  return new Command("explain")
    .summary("tell what an exit, a VMCS field, a control, a check or an MSR is")
    .description(
      "Tells what something is, which models have it, and which rules, fields, controls and exits go with it.",
    )
    .addArgument(new Argument("<subject>", "what sort of thing").choices(names))
    .argument("<name-or-number>", "its name, or its number, encoding or id")
    .option("--json", "print JSON")
    .addHelpText("after", examples)
    .action(async (subject: SubjectName, text: string, options: { readonly json?: boolean }) => {
      const found = explain(subject, text);
      await print(
        options.json
          ? `${JSON.stringify(found, undefined, 2)}\n`
          : found.map(formatExplanation).join("\n"),
      );
    });
}
