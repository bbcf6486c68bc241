// The plots: loss per version, staleness, Lorenz curve, tiers. Each draws one SVG from plain data.

import { svg, title } from "./dom.js";
import { loss, percent, plural, ticks } from "./format.js";

function frame(node, width, height) {
  node.setAttribute("viewBox", `0 0 ${width} ${height}`);
  node.setAttribute("height", height);
  node.replaceChildren();
}

const text = (x, y, anchor, words, kind = "tick") => svg("text", { x, y, "text-anchor": anchor, class: kind }, words);

const path = (points) => points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)},${y.toFixed(1)}`).join("");

export function drawLoss(node, versions, width) {
  const height = 230;
  const area = { left: 46, right: width - 10, top: 10, bottom: height - 26 };
  frame(node, width, height);
  const judged = versions.filter((version) => version.loss !== null);
  if (judged.length === 0) {
    node.append(text(width / 2, height / 2, "middle", "no version was judged on calibration rows yet", "none"));
    return;
  }
  const served = judged.filter((version) => version.loss_served !== null && !version.abandoned);
  const values = [...judged.map((version) => version.loss), ...served.map((version) => version.loss_served)];
  const spread = Math.max(...values) - Math.min(...values) || Math.abs(values[0]) * 0.1 || 1;
  const low = Math.min(...values) - spread * 0.06;
  const high = Math.max(...values) + spread * 0.06;
  const [first, last] = [versions[0].number, versions.at(-1).number];
  const x = (number) => area.left + ((number - first) / (last - first || 1)) * (area.right - area.left);
  const y = (value) => area.bottom - ((value - low) / (high - low)) * (area.bottom - area.top);

  for (const { value, text: words } of ticks(low, high, 5)) {
    node.append(svg("line", { x1: area.left, x2: area.right, y1: y(value), y2: y(value), class: "grid" }));
    node.append(text(area.left - 7, y(value) + 4, "end", words));
  }
  for (const { value } of ticks(first, last, Math.max(2, Math.min(8, width / 90)))) {
    if (Number.isInteger(value)) node.append(text(x(value), height - 8, "middle", `v${value}`));
  }
  const live = judged.filter((version) => !version.abandoned);
  node.append(svg("path", { d: path(served.map((it) => [x(it.number), y(it.loss_served)])), class: "line b" }));
  node.append(svg("path", { d: path(live.map((it) => [x(it.number), y(it.loss)])), class: "line a" }));
  for (const version of judged) {
    const kind = version.abandoned ? "mark gone" : "mark a";
    const words = `version ${version.number}: ${loss(version.loss)}${version.abandoned ? ", abandoned" : ""}`;
    node.append(svg("circle", { cx: x(version.number), cy: y(version.loss), r: 2.6, class: kind }, title(words)));
  }
}

// Pairs of bars, side by side: a share in one colour, a share in the other.
export function drawStaleness(node, buckets, width) {
  const height = 230;
  const area = { left: 40, right: width - 6, top: 10, bottom: height - 42 };
  frame(node, width, height);
  const total = buckets.reduce((sum, bucket) => sum + bucket.deltas, 0);
  if (total === 0) {
    node.append(text(width / 2, height / 2, "middle", "nothing was merged yet", "none"));
    return;
  }
  const rows = buckets.map((bucket) => ({ ...bucket, share: bucket.deltas / total }));
  const high = Math.max(0.1, ...rows.map((row) => Math.max(row.share, row.weight_share))) * 1.05;
  const y = (share) => area.bottom - (share / high) * (area.bottom - area.top);
  for (const { value } of ticks(0, high, 4)) {
    node.append(svg("line", { x1: area.left, x2: area.right, y1: y(value), y2: y(value), class: "grid" }));
    node.append(text(area.left - 7, y(value) + 4, "end", `${Math.round(value * 100)} %`));
  }
  const step = (area.right - area.left) / rows.length;
  const wide = Math.min(26, step * 0.32);
  rows.forEach((row, i) => {
    const middle = area.left + step * (i + 0.5);
    const words = `${row.staleness} versions behind: ${plural(row.deltas, "delta")} (${percent(row.share)}), ` +
      `${percent(row.weight_share)} of the weight`;
    const bar = (left, share, kind) =>
      svg("rect", { x: left, y: y(share), width: wide, height: area.bottom - y(share), rx: 2, class: kind });
    node.append(svg("g", {}, title(words), bar(middle - wide - 1, row.share, "bar a"),
      bar(middle + 1, row.weight_share, "bar b")));
    node.append(text(middle, area.bottom + 17, "middle", row.staleness));
  });
  node.append(text((area.left + area.right) / 2, height - 6, "middle", "versions behind the head when merged"));
}

export function drawLorenz(node, fairness, width) {
  const size = Math.min(230, width - 52);
  const [left, top, height] = [38, 8, size + 48];
  frame(node, size + 52, height);
  node.setAttribute("width", size + 52);
  const x = (share) => left + share * size;
  const y = (share) => top + (1 - share) * size;
  for (const share of [0, 0.25, 0.5, 0.75, 1]) {
    node.append(svg("line", { x1: x(0), x2: x(1), y1: y(share), y2: y(share), class: "grid" }));
    if (share !== 0.25 && share !== 0.75) {
      node.append(text(left - 6, y(share) + 4, "end", `${share * 100} %`));
      node.append(text(x(share), top + size + 17, share === 1 ? "end" : "middle", `${share * 100} %`));
    }
  }
  node.append(svg("path", { d: path([[x(0), y(0)], [x(1), y(1)]]), class: "line even" }));
  for (const [name, kind] of [["weight", "b"], ["merged", "a"]]) {
    node.append(svg("path", { d: path(fairness[name].lorenz.map(([a, b]) => [x(a), y(b)])), class: `line ${kind}` }));
  }
  node.append(text(x(0.5), height - 6, "middle", "agents, least served first"));
}

export function drawTiers(node, tiers, width) {
  const [line, label] = [46, Math.min(110, width * 0.28)];
  const height = Math.max(1, tiers.length) * line + 4;
  frame(node, width, height);
  if (tiers.length === 0) node.append(text(width / 2, 26, "middle", "no agent called within a day", "none"));
  const room = width - label - 58;
  const high = Math.max(0.05, ...tiers.map((tier) => Math.max(tier.agent_share, tier.weight_share)));
  tiers.forEach((tier, i) => {
    const top = i * line + 6;
    const name = tier.rest ? "other tiers" : tier.tier || "no tier";
    node.append(text(0, top + 15, "start", clipped(name, label / 7.2), "name"));
    node.append(text(0, top + 30, "start", plural(tier.agents, "agent")));
    for (const [offset, share, kind] of [[0, tier.agent_share, "a"], [17, tier.weight_share, "b"]]) {
      const wide = Math.max(1, (share / high) * room);
      node.append(svg("rect", { x: label, y: top + offset, width: wide, height: 14, rx: 2, class: `bar ${kind}` }));
      node.append(text(label + wide + 6, top + offset + 11, "start", percent(share)));
    }
  });
}

const clipped = (words, most) => (words.length > most ? `${words.slice(0, Math.max(1, most - 1))}\u2026` : words);
