/**
 * What a user can mend: a file, an option, a machine that cannot be built. The message is one line that names the thing, the
 * place in it, and what to do. Never thrown for what a guest does, nor for a bug of ours.
 */
export class UserError extends Error {
  override readonly name = "UserError";
}
