/** Text as it stands in HTML and SVG. */
export function escapeText(text: string): string {
  return text
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;");
}

type Attributes = Readonly<Record<string, string | number | undefined>>;

/** An element. Children are markup already; numbers are kept short. */
export function element(
  name: string,
  attributes: Attributes,
  ...children: readonly string[]
): string {
  const written = Object.entries(attributes)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => ` ${key}="${escapeText(attributeText(value))}"`)
    .join("");
  return children.length === 0 && !["p", "td", "th", "div"].includes(name)
    ? `<${name}${written}/>`
    : `<${name}${written}>${children.join("")}</${name}>`;
}

function attributeText(value: string | number | undefined): string {
  return typeof value === "number" ? String(Math.round(value * 100) / 100) : (value ?? "");
}

/** A table with a head. The first column is text, the others are numbers. */
export function table(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  marks: (row: number, column: number) => string | undefined = () => undefined,
): string {
  const cells = (tag: string, row: readonly string[], n: number): string =>
    element(
      "tr",
      {},
      ...row.map((cell, column) => element(tag, { class: marks(n, column) }, escapeText(cell))),
    );
  return element(
    "div",
    { class: "wide" },
    element(
      "table",
      {},
      element("thead", {}, cells("th", head, -1)),
      element("tbody", {}, ...rows.map((row, n) => cells("td", row, n))),
    ),
  );
}
