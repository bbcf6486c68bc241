// The timeline of versions: what the head came from on the first line, what rollbacks left behind below it.

import { byId, setText, svg, title } from "./dom.js";
import { ago, count, loss, plural, signed } from "./format.js";

const [LEFT, RIGHT, TOP, LANE] = [20, 26, 24, 26];
const [NARROW, WIDE] = [20, 44];

export class Timeline {
  constructor() {
    this.node = byId("timeline");
    this.scroller = byId("timeline-scroller");
    this.versions = [];
    this.chosen = null; // null follows the head
    this.scroller.addEventListener("keydown", (event) => this.onKey(event));
  }

  show(versions, now) {
    const atEnd = this.scroller.scrollLeft + this.scroller.clientWidth >= this.scroller.scrollWidth - 4;
    const key = JSON.stringify([versions, Math.round(this.scroller.clientWidth)]);
    if (key !== this.drawnFor && this.scroller.clientWidth > 0) {
      const first = this.drawnFor === undefined;
      this.drawnFor = key;
      this.versions = versions;
      if (!versions.some((version) => version.number === this.chosen)) this.chosen = null;
      this.draw();
      if (atEnd || first) this.scroller.scrollLeft = this.scroller.scrollWidth;
    }
    this.tell(now);
  }

  draw() {
    const versions = this.versions;
    const byNumber = new Map(versions.map((version) => [version.number, version]));
    const first = versions[0].number;
    const span = versions.length - 1 || 1;
    const step = Math.max(NARROW, Math.min(WIDE, (this.scroller.clientWidth - LEFT - RIGHT) / span));
    const lowest = Math.max(...versions.map((version) => version.lane));
    const width = Math.max(LEFT + RIGHT + span * step, Math.min(this.scroller.clientWidth, 120));
    const height = TOP + lowest * LANE + 40;
    const x = (version) => LEFT + (version.number - first) * step;
    const y = (version) => TOP + version.lane * LANE;
    this.node.setAttribute("width", width);
    this.node.setAttribute("height", height);
    this.node.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const [edges, marks] = [svg("g", {}), svg("g", {})];
    for (const version of versions) {
      const parent = byNumber.get(version.parent);
      if (parent) edges.append(edge([x(parent), y(parent)], [x(version), y(version)], version));
      marks.append(this.mark(version, x(version), y(version)));
    }
    const every = [1, 2, 5, 10, 20, 50].find((size) => size * step >= 40) ?? 100;
    const labels = versions.filter((version) => version.number % every === 0)
      .map((version) => svg("text", { x: x(version), y: height - 8, "text-anchor": "middle", class: "tick" }, `v${version.number}`));
    this.node.replaceChildren(edges, marks, ...labels);
    this.markChosen();
  }

  mark(version, x, y) {
    const head = version === this.versions.at(-1);
    const kind = version.abandoned ? "gone" : version.kind;
    const group = svg("g", { class: `version ${kind}${head ? " head" : ""}`, "data-number": version.number });
    group.append(title(`version ${version.number}`));
    group.append(svg("circle", { cx: x, cy: y, r: 11, class: "halo" }));
    if (version.kind === "rollback") {
      group.append(svg("rect", { x: x - 5.5, y: y - 5.5, width: 11, height: 11, transform: `rotate(45 ${x} ${y})`, class: "dot" }));
    } else {
      group.append(svg("circle", { cx: x, cy: y, r: head ? 7.5 : 5.5, class: "dot" }));
    }
    group.addEventListener("click", () => this.choose(version.number));
    return group;
  }

  onKey(event) {
    const last = this.versions.length - 1;
    const at = this.chosen === null ? last : this.versions.findIndex((version) => version.number === this.chosen);
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: last }[event.key];
    if (to === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    const version = this.versions[Math.max(0, Math.min(last, to))];
    if (version) this.choose(version.number);
  }

  choose(number) {
    this.chosen = number === this.versions.at(-1).number ? null : number;
    this.markChosen();
    this.tell(this.now);
    const mark = this.node.querySelector(".version.chosen");
    mark?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  markChosen() {
    const number = String(this.chosen ?? this.versions.at(-1).number);
    for (const mark of this.node.querySelectorAll(".version")) {
      mark.classList.toggle("chosen", mark.dataset.number === number);
    }
  }

  tell(now) {
    this.now = now;
    const version = this.versions.find((it) => it.number === this.chosen) ?? this.versions.at(-1);
    if (!version) return;
    setText(byId("version-words"), describe(version)); // read out when it changes; its age, which always does, is not
    setText(byId("version-age"), `\u00b7 ${ago(version.created_at, now)}`);
  }
}

function edge([x1, y1], [x2, y2], version) {
  const kind = version.abandoned ? "edge gone" : version.kind === "rollback" ? "edge rollback" : "edge";
  if (version.kind === "rollback" && y1 === y2 && x2 - x1 > 30) {
    const bow = Math.min(20, (x2 - x1) / 4);
    return svg("path", { d: `M${x1},${y1}C${x1 + bow},${y1 - 21} ${x2 - bow},${y2 - 21} ${x2},${y2}`, class: kind });
  }
  const bend = Math.min(20, x2 - x1);
  const d = y1 === y2 ? `M${x1},${y1}L${x2},${y2}` : `M${x1},${y1}C${x1 + bend / 2},${y1} ${x1 + bend / 2},${y2} ${x1 + bend},${y2}L${x2},${y2}`;
  return svg("path", { d, class: kind });
}

function describe(version) {
  const parts = [`Version ${version.number}`];
  if (version.kind === "initial") parts.push("the initial adapter");
  if (version.kind === "rollback") parts.push(`rollback to version ${version.parent}`);
  if (version.kind === "merge") {
    parts.push(`made from version ${version.parent}`, `${plural(version.deltas, "delta")} of ${plural(version.agents, "agent")}`);
    if (version.staleness_mean !== null) {
      parts.push(`staleness ${version.staleness_mean.toFixed(1)} on average, at most ${count(version.staleness_max)}`);
    }
  }
  if (version.loss !== null) {
    const change = version.loss_before === null ? "" : ` (${signed(version.loss - version.loss_before)})`;
    parts.push(`calibration loss ${loss(version.loss)}${change}`);
  }
  if (version.abandoned) parts.push("abandoned by a rollback");
  parts.push(`digest ${version.digest}\u2026`);
  return parts.join(" \u00b7 ");
}
