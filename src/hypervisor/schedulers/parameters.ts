/** One parameter of a policy. Its type is that of the default. */
export interface Parameter {
  readonly default: number | boolean | string;
  /** What it does, in half a line. */
  readonly about: string;
  readonly unit?: string;
  /** Smallest and largest number allowed; without them a number is at least 0. */
  readonly minimum?: number;
  readonly maximum?: number;
  /** The strings allowed. */
  readonly choices?: readonly string[];
}

export type ParameterTable = Readonly<Record<string, Parameter>>;
export type ParameterValues = Readonly<Record<string, number | boolean | string>>;

type Widened<T> = T extends number ? number : T extends boolean ? boolean : string;

/** The choices of a string parameter are its type. */
type ValueOf<P extends Parameter> = P extends { readonly choices: readonly (infer C)[] }
  ? C
  : Widened<P["default"]>;

export type ValuesOf<Table extends ParameterTable> = {
  readonly [Name in keyof Table]: ValueOf<Table[Name]>;
};

/** A parameter a user gave is wrong; the message names it and says what would be right. */
export class ParameterError extends Error {
  override readonly name = "ParameterError";
}

/**
 * One value for each parameter: the given one or the default.
 * @throws ParameterError for a name that is not in the table, and for a value of the wrong type or out of bounds
 */
export function resolveParameters(table: ParameterTable, given: ParameterValues): ParameterValues {
  for (const name of Object.keys(given)) {
    if (!Object.hasOwn(table, name)) {
      const names = Object.keys(table);
      const known = names.length === 0 ? "there are none" : `there are ${names.join(", ")}`;
      throw new ParameterError(`no parameter ${name}: ${known}`);
    }
  }
  return Object.fromEntries(
    Object.entries(table).map(([name, parameter]) => {
      const value = given[name] ?? parameter.default;
      const complaint = complaintOf(parameter, value);
      if (complaint !== undefined) {
        throw new ParameterError(`${name} = ${value}: ${complaint}`);
      }
      return [name, value];
    }),
  );
}

function complaintOf(parameter: Parameter, value: unknown): string | undefined {
  const { default: standard, minimum = 0, maximum = Number.POSITIVE_INFINITY, choices } = parameter;
  if (typeof value !== typeof standard) {
    return `must be a ${typeof standard}`;
  }
  if (typeof value === "number" && !(value >= minimum && value <= maximum)) {
    return maximum === Number.POSITIVE_INFINITY
      ? `must be at least ${minimum}`
      : `must be from ${minimum} to ${maximum}`;
  }
  if (choices !== undefined && !choices.some((choice) => choice === value)) {
    return `must be one of ${choices.join(", ")}`;
  }
  return undefined;
}
