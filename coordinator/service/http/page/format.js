// Numbers and times for people.

const counts = new Intl.NumberFormat("en");
const STEPS = [[60, "s", 1], [3600, "min", 60], [86400, "h", 3600], [Infinity, "d", 86400]];

export const count = (value) => counts.format(value);

export const plural = (value, one, many = `${one}s`) => `${count(value)} ${value === 1 ? one : many}`;

export function duration(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const [, unit, size] = STEPS.find(([below]) => whole < below);
  return `${count(Math.floor(whole / size))} ${unit}`;
}

export const ago = (at, now) => (now - at < 1 ? "just now" : `${duration(now - at)} ago`);

export function percent(ratio) {
  if (ratio === 0) return "0 %";
  return ratio < 0.001 ? "< 0.1 %" : `${(ratio * 100).toFixed(ratio < 0.0995 ? 1 : 0)} %`;
}

export const ratio = (value) => value.toFixed(3);

export const loss = (value) => value.toFixed(4);

export const signed = (value) => `${value > 0 ? "+" : value < 0 ? "\u2212" : "\u00b1"}${Math.abs(value).toFixed(4)}`;

export const clock = (at) => new Date(at * 1000).toLocaleTimeString("en-GB");

export const dateTime = (at) => new Date(at * 1000).toISOString().replace("T", " ").slice(0, 19) + " UTC";

// About `wanted` round numbers that cover low to high.
export function ticks(low, high, wanted) {
  const raw = (high - low) / wanted || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= raw);
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  return Array.from({ length: last - first + 1 }, (_, i) => {
    const value = (first + i) * step;
    return { value, text: value.toFixed(digits) };
  });
}
