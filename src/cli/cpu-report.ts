import type { CpuDescription, VmxDescription, WordDescription } from "./cpu-description.ts";
import { formatTable } from "./table.ts";

const hex32 = (value: number): string => `0x${value.toString(16).padStart(8, "0")}`;
/** Characters of a line that is filled with names. */
const lineMax = 100;

/** What `vmxon cpu list` prints. */
export function formatCpuList(cpus: readonly CpuDescription[]): string {
  const rows = cpus.map(({ name, summary, isDefault }) => [
    `${name.padEnd(Math.max(...cpus.map((cpu) => cpu.name.length)))}  ${summary}${isDefault ? " (default)" : ""}`,
  ]);
  return formatTable(rows);
}

/** What `vmxon cpu show` prints. */
export function formatCpu(cpu: CpuDescription): string {
  const { name, summary, isDefault, family, model, stepping } = cpu;
  const identity = `family ${family}, model ${model.toString(16)}h, stepping ${stepping}`;
  const parts = [
    `${name}${isDefault ? " (default)" : ""}: ${summary}\n${identity}\n` +
      `addresses: ${cpu.physicalAddressBits} bits physical, ${cpu.linearAddressBits} bits linear\n`,
    `features:\n${fill(cpu.features)}`,
    cpu.vmx === undefined ? "no VMX\n" : formatVmx(cpu.vmx),
  ];
  return parts.join("\n");
}

function formatVmx(vmx: VmxDescription): string {
  const limits = Object.entries(vmx.limits).map(([label, value]) => [
    `  ${label}`,
    typeof value === "boolean" ? (value ? "yes" : "no") : String(value),
  ]);
  const msrs = Object.entries(vmx.msrs).map(([label, value]) => [`  ${label}`, value]);
  return [
    `VMX: VMCS revision ${vmx.revision.toString(16)}h\n${formatTable(limits)}`,
    ...vmx.words.filter(({ controls }) => controls.length > 0).map(formatWord),
    `EPT and VPIDs:\n${vmx.translation.length === 0 ? "  none\n" : fill(vmx.translation)}`,
    `capability MSRs:\n${formatTable(msrs)}`,
  ].join("\n");
}

/** A line per control: bit, settings that VM entry accepts, name, what a 1 does. */
function formatWord({ title, mustBeOne, mayBeOne, controls }: WordDescription): string {
  const width = Math.max(...controls.map(({ name }) => name.length));
  const lines = controls.map((control) => {
    const settings = control.notSimulated
      ? "not simulated"
      : `${control.allowed0 ? "0" : "-"} ${control.allowed1 ? "1" : "-"}`;
    const bit = String(control.bit).padStart(3);
    return `${bit}  ${settings.padEnd(13)}  ${control.name.padEnd(width)}  ${control.text}\n`;
  });
  const head = `${title}: must be 1 ${hex32(mustBeOne)}, may be 1 ${hex32(mayBeOne)}\n`;
  return `${head}bit  allowed        control\n${lines.join("")}`;
}

/** Names on as few lines as they need. */
function fill(names: readonly string[]): string {
  const lines: string[] = [];
  for (const name of names) {
    const last = lines.at(-1);
    if (last === undefined || last.length + 1 + name.length > lineMax) lines.push(`  ${name}`);
    else lines[lines.length - 1] = `${last} ${name}`;
  }
  return lines.map((line) => `${line}\n`).join("");
}
