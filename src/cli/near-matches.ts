/** How many names an error offers. */
const offersMax = 5;

/** A name without case, spaces and punctuation. */
export const plain = (name: string): string => name.toLowerCase().replaceAll(/[^a-z0-9]/g, "");

/** The names most like what was typed, best first. */
export function nearMatches(typed: string, names: readonly string[]): readonly string[] {
  const wanted = plain(typed);
  const limit = Math.max(2, Math.ceil(wanted.length / 3));
  return names
    .map((name) => ({ name, distance: distanceTo(wanted, plain(name)) }))
    .filter(({ distance }) => distance <= limit)
    .sort((a, b) => a.distance - b.distance)
    .slice(0, offersMax)
    .map(({ name }) => name);
}

/** A part of a name counts as one change; otherwise characters added, left out and replaced. */
function distanceTo(wanted: string, name: string): number {
  if (wanted.length >= 3 && name.includes(wanted)) return 1;
  let row = Array.from({ length: name.length + 1 }, (_, n) => n);
  for (const [n, character] of [...wanted].entries()) {
    const next = [n + 1];
    for (let k = 0; k < name.length; k++) {
      const replaced = (row[k] ?? 0) + (name[k] === character ? 0 : 1);
      next.push(Math.min(replaced, (row[k + 1] ?? 0) + 1, (next[k] ?? 0) + 1));
    }
    row = next;
  }
  return row[name.length] ?? 0;
}
