// Light and dark: the page's CSS variables are the one source of colours, for charts too.

import { computed, effect, signal } from "@preact/signals";

export type Choice = "auto" | "light" | "dark";

const KEY = "opendt.theme";
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const systemDark = signal(dark.matches);
dark.addEventListener("change", (event) => (systemDark.value = event.matches));

function stored(): Choice {
  const value = localStorage.getItem(KEY);
  return value === "light" || value === "dark" ? value : "auto";
}

export const choice = signal<Choice>(stored());
export const isDark = computed(() => (choice.value === "auto" ? systemDark.value : choice.value === "dark"));

effect(() => {
  document.documentElement.dataset["theme"] = isDark.value ? "dark" : "light";
  if (choice.value === "auto") localStorage.removeItem(KEY);
  else localStorage.setItem(KEY, choice.value);
});

const NAMES = [
  "ink", "soft", "line", "card", "simulated", "measured", "given", "persistence", "band", "carbon", "intensity", "good",
  "bad", "heat-0", "heat-1", "heat-2", "heat-3", "heat-4",
] as const;

export type Colours = Record<(typeof NAMES)[number], string>;

/** The colours in force; read again whenever the theme changes. */
export const colours = computed<Colours>(() => {
  void isDark.value;
  const style = getComputedStyle(document.documentElement);
  const pairs = NAMES.map((name) => [name, style.getPropertyValue(`--${name}`).trim()] as const);
  return Object.fromEntries(pairs) as Colours;
});
