// What the canvases share: their own pixels, and colours from the style sheet.

import { computed } from "../lib/colour";

/** Draws on a canvas of the device's own pixels. */
export function context(
  canvas: HTMLCanvasElement,
  width: number,
  height: number,
): CanvasRenderingContext2D | null {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.max(1, Math.round(width * ratio));
  canvas.height = Math.max(1, Math.round(height * ratio));
  const draw = canvas.getContext("2d");
  draw?.scale(ratio, ratio);
  return draw;
}

/** Colours for a canvas, each looked up in the style sheet once. */
export function painter(element: Element): (colour: string) => string {
  const known = new Map<string, string>();
  return (colour) => {
    const paint = known.get(colour) ?? computed(colour, element);
    known.set(colour, paint);
    return paint;
  };
}
