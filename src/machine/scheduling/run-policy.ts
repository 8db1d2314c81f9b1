import { ParameterError, resolveParameters } from "../../hypervisor/schedulers/parameters.ts";
import { findPolicy, policies } from "../../hypervisor/schedulers/registry.ts";
import type { Policy, Scheduler, SchedulerHost } from "../../hypervisor/schedulers/scheduler.ts";
import { UserError } from "../user-error.ts";
import type { PolicySource, SchedulingJob } from "./job.ts";
import { importUserModule } from "./user-module.ts";

/**
 * What makes the scheduler of a job.
 * @throws {UserError} no such policy, a module that exports none, a parameter it does not have
 */
export async function schedulerOf({
  policy: source,
  parameters,
  scenario,
}: Pick<SchedulingJob, "policy" | "parameters" | "scenario">): Promise<
  (host: SchedulerHost) => Scheduler
> {
  const policy = await findOrLoad(source);
  const table = policy.parameters ?? {};
  // A policy that can choose whom a PAUSE loop helps does as the scenario says, unless it is told otherwise.
  const { directedYield } = scenario.features;
  const fromScenario = Object.hasOwn(table, "directedYield") ? { directedYield } : {};
  try {
    const values = resolveParameters(table, { ...fromScenario, ...parameters });
    return (host) => policy.create(host, values);
  } catch (error) {
    if (!(error instanceof ParameterError)) throw error;
    throw new UserError(`policy ${source.name}: ${error.message}`);
  }
}

async function findOrLoad(source: PolicySource): Promise<Policy> {
  if (source.type === "file") return loadPolicy(source.path, source.name);
  const policy = findPolicy(source.name);
  if (policy !== undefined) return policy;
  const known = policies.map(({ name }) => name).join(", ");
  throw new UserError(`no policy is called ${source.name}: there are ${known}`);
}

async function loadPolicy(path: string, name: string): Promise<Policy> {
  let exports: { readonly policy?: unknown };
  try {
    exports = await importUserModule(path);
  } catch (error) {
    throw new UserError(`${name}: cannot be loaded: ${String(error)}`);
  }
  const policy = exports.policy as Partial<Policy> | undefined;
  if (typeof policy?.create !== "function") {
    throw new UserError(`${name}: exports no policy with a function create`);
  }
  return policy as Policy;
}
