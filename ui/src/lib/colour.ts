// Colours of services: the same name has the same colour on every page.

const TOKENS = ["var(--s1)", "var(--s2)", "var(--s3)", "var(--s4)", "var(--s5)"];

function hash(text: string): number {
  let value = 2166136261;
  for (let index = 0; index < text.length; index += 1) {
    value = Math.imul(value ^ text.charCodeAt(index), 16777619);
  }
  return value >>> 0;
}

/** Colours for a list of services: the first five in order of name get tokens, others a hue. */
export function coloursOf(services: Iterable<string>): Map<string, string> {
  const colours = new Map<string, string>();
  for (const service of [...new Set(services)].sort()) {
    const token = TOKENS[colours.size];
    colours.set(service, token ?? `hsl(${hash(service) % 360} 55% var(--hue-light))`);
  }
  return colours;
}

/** What a canvas needs: the computed colour of a CSS expression such as `var(--s1)`. */
export function computed(colour: string, element: Element): string {
  const style = getComputedStyle(element);
  return colour.replace(/var\((--[a-z0-9-]+)\)/g, (_, name: string) =>
    style.getPropertyValue(name).trim(),
  );
}

/** The class of a severity: E, W, I or D. */
export function severity(level: string): "E" | "W" | "I" | "D" {
  const lower = level.toLowerCase();
  if (/^(err|fatal|crit|emerg|alert|panic)/.test(lower)) return "E";
  if (lower.startsWith("warn")) return "W";
  return /^(debug|trace|unknown)?$/.test(lower) ? "D" : "I";
}
