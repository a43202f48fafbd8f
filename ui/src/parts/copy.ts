// Copies text and says so for a moment.

import { signal } from "@preact/signals";

export const toast = signal("");

export function copy(text: string, what: string): void {
  const done = (message: string): void => {
    toast.value = message;
    window.setTimeout(() => {
      if (toast.value === message) toast.value = "";
    }, 1600);
  };
  navigator.clipboard?.writeText(text).then(
    () => done(`${what} copied`),
    () => done(`could not copy ${what}`),
  );
}
