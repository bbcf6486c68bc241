// The page: asks the coordinator every few seconds, shows what it says, and says when it has stopped answering.

import { call, now } from "./api.js";
import { drawLorenz, drawLoss, drawStaleness, drawTiers } from "./charts.js";
import { Control } from "./control.js";
import { byId, el, keyed, redrawn, setAttribute, setText, show } from "./dom.js";
import { Fleet } from "./fleet.js";
import { ago, clock, count, duration, loss, percent, plural, ratio, signed } from "./format.js";
import { Timeline } from "./timeline.js";

const EVERY_MS = 5000;
const LATE_SECONDS = 15;

const state = { overview: null, view: null, name: null, trouble: null, asking: null };
const timeline = new Timeline();
const fleet = new Fleet(() => refresh());
const control = new Control(() => refresh());

// One question at a time; whatever was wanted meanwhile is asked right after.
async function refresh() {
  if (state.asking) {
    state.again = true;
    return;
  }
  clearTimeout(state.timer);
  state.asking = ask();
  await state.asking;
  state.asking = null;
  if (state.again) {
    state.again = false;
    refresh();
  } else if (!document.hidden) {
    state.timer = setTimeout(refresh, EVERY_MS);
  }
}

async function ask() {
  try {
    if (!state.sessionKnown) {
      await control.load();
      state.sessionKnown = true;
    }
    state.overview = await call("GET", "api/v1/federations");
    choose();
    if (state.name !== null) {
      const place = `api/v1/federations/${encodeURIComponent(state.name)}`;
      const [view, agents] = await Promise.all([call("GET", place), call("GET", `${place}/agents?${fleet.query}`)]);
      state.view = view;
      state.agents = agents;
    } else {
      state.view = null;
    }
    state.trouble = null;
    render();
  } catch (error) {
    if (error.status === undefined) throw error; // a defect of this page: let the console tell
    state.trouble = error;
  }
  tick();
}

function choose() {
  const names = state.overview.federations.map((it) => it.name);
  const wanted = decodeURIComponent(location.hash.slice(1));
  state.name = wanted && (names.includes(wanted) || state.overview.more) ? wanted : (names[0] ?? null);
  const chooser = byId("federation");
  keyed(chooser, state.overview.federations, (it) => it.name, () => el("option"), (node, it) => {
    node.value = it.name;
    setText(node, `${it.name}  v${it.head}${it.paused ? "  paused" : ""}${it.dead ? `  ${it.dead} dead` : ""}`);
  });
  if (chooser.value !== state.name) chooser.value = state.name;
  show(byId("chooser"), names.length > 1);
}

function render() {
  const view = state.view;
  show(byId("main"), view !== null);
  show(byId("empty"), view === null);
  if (view === null) {
    setText(byId("empty"), "There is no federation yet. Create one with: alignfed federations create federation.toml");
    return;
  }
  document.title = `${view.paused ? "\u23f8 " : ""}${view.name} v${view.head} \u00b7 AlignFed`;
  setText(byId("name"), view.name);
  setText(byId("about"), `${view.recipe} on ${view.base_model} \u00b7 merges ${plural(view.buffer_size, "delta")} at a time`);
  show(byId("paused"), view.paused);
  show(byId("dead"), view.queue.dead > 0);
  const dead = plural(view.queue.dead, "delta");
  setText(byId("dead"), `${dead} could not be merged after several tries. See: alignfed dead-letters list ${view.name}`);
  control.show(view);
  renderTiles(view);
  renderCharts(view);
  fleet.show(state.agents, now());
}

function renderTiles(view) {
  const head = view.versions.at(-1);
  const judged = view.versions.filter((version) => version.loss !== null && !version.abandoned).at(-1);
  const change = judged && judged.loss_before !== null ? judged.loss - judged.loss_before : null;
  const { queue, agents, fairness } = view;
  const tiles = [
    ["Head", `v${count(view.head)}`, `published ${ago(head.created_at, now())}`],
    ["Calibration loss", judged ? loss(judged.loss) : "\u2013", change === null ? "not judged yet" : `${signed(change)} by version ${judged.number}`, change > 0 ? "worse" : change < 0 ? "better" : null],
    ["Queue", count(queue.queued), queue.oldest_accepted_at === null ? "nothing waits" : `oldest waits ${duration(now() - queue.oldest_accepted_at)}, ${count(queue.pending)} being merged`],
    ["Active agents", count(agents.active), `${count(agents.recent)} this hour, ${count(agents.registered)} registered`],
    ["Unserved", count(fairness.unserved), "active agents with nothing merged", fairness.unserved > 0 ? "warn" : null],
    ["Dead letters", count(queue.dead), queue.dead ? "wait for an operator" : "none", queue.dead ? "worse" : null],
  ];
  keyed(byId("tiles"), tiles, ([name]) => name, ([name]) => el("div", { class: "tile" }, el("dt", {}, name), el("dd", { class: "value" }), el("dd", { class: "note" })), (node, [, value, note, tone]) => {
    setText(node.children[1], value);
    setText(node.children[2], note);
    setAttribute(node, "data-tone", tone ?? null);
  });
}

function renderCharts(view) {
  const { versions, fairness } = view;
  timeline.show(versions, now());
  const limit = view.versions_shown_at_most;
  const abandoned = versions.filter((version) => version.abandoned).length;
  setText(byId("timeline-note"), [
    versions[0].number > 0 ? `the newest ${count(limit)} of ${count(view.head + 1)}` : plural(versions.length, "version"),
    abandoned ? `${count(abandoned)} abandoned` : "none abandoned",
  ].join(", "));
  renderLoss(versions);
  renderStaleness(view.staleness);
  renderFairness(fairness);
  redrawn(byId("tiers"), view.tiers, drawTiers);
  describe("tiers", view.tiers.map((tier) => `${tier.rest ? "other tiers" : tier.tier || "no tier"}: ${percent(tier.agent_share)} of agents, ${percent(tier.weight_share)} of weight`));
}

// What a plot shows, for those who do not see it: its heading, its note, and its figures where they are few.
function describe(name, figures = []) {
  const words = [byId(`${name}-title`).textContent, byId(`${name}-note`)?.textContent ?? "", ...figures];
  setAttribute(byId(name), "aria-label", words.filter(Boolean).join(". "));
}

function renderLoss(versions) {
  const judged = versions.filter((version) => version.loss !== null && !version.abandoned);
  setText(byId("loss-note"), judged.length
    ? `From ${loss(judged[0].loss)} in version ${judged[0].number} to ${loss(judged.at(-1).loss)} in version ${judged.at(-1).number}; lower is better.`
    : "Lower is better.");
  show(byId("served-key"), judged.some((version) => version.loss_served !== null));
  const drawn = versions.map(({ number, loss, loss_served, abandoned }) => ({ number, loss, loss_served, abandoned }));
  redrawn(byId("loss"), drawn, drawLoss);
  describe("loss");
}

function renderStaleness(buckets) {
  const deltas = buckets.reduce((sum, bucket) => sum + bucket.deltas, 0);
  setText(byId("staleness-note"), deltas
    ? `${plural(deltas, "delta")} in the versions above; ${percent(buckets[0].deltas / deltas)} were trained from the head.`
    : "How far behind the head deltas were when they were merged.");
  redrawn(byId("staleness"), buckets, drawStaleness);
  describe("staleness", buckets.map((bucket) => `${bucket.staleness} behind: ${plural(bucket.deltas, "delta")}, ${percent(bucket.weight_share)} of weight`));
}

function renderFairness(fairness) {
  setText(byId("lorenz-note"), `How evenly ${plural(fairness.agents, "active agent")} were served; the diagonal is perfectly even.`);
  redrawn(byId("lorenz"), { merged: fairness.merged, weight: fairness.weight }, drawLorenz);
  describe("lorenz");
  for (const name of ["merged", "weight"]) {
    setText(byId(`${name}-jain`), ratio(fairness[name].jain));
    setText(byId(`${name}-gini`), ratio(fairness[name].gini));
  }
}

// Every second: how old everything is.
function tick() {
  const shown = state.view ?? state.overview;
  const age = shown ? now() - shown.as_of : null;
  const lost = state.trouble !== null || (age !== null && age > LATE_SECONDS + (document.hidden ? Infinity : 0));
  setAttribute(byId("connection"), "data-state", lost ? "lost" : shown ? "live" : "waiting");
  setText(byId("connection-text"), lost ? "not connected" : shown ? `live \u00b7 ${ago(shown.as_of, now())}` : "connecting");
  show(byId("lost"), lost);
  if (lost) {
    const answers = (state.trouble?.status ?? 0) > 0;
    const why = state.trouble ? state.trouble.message : "the coordinator has not answered for a while";
    const begin = answers ? "The coordinator cannot tell" : "Connection lost";
    setText(byId("lost-why"), `${begin}: ${why}. Trying again every ${EVERY_MS / 1000} s.`);
    setText(byId("lost-age"), shown ? `What is shown is from ${clock(shown.as_of)}, ${duration(age)} old.` : "");
  }
  setAttribute(document.body, "class", lost ? "lost" : null);
  if (shown) setText(byId("as-of"), `Read from the store at ${clock(shown.as_of)}.`);
  if (state.view) {
    renderTiles(state.view);
    timeline.tell(now());
    fleet.tick(now());
  }
}

byId("federation").addEventListener("change", (event) => { location.hash = encodeURIComponent(event.target.value); });
addEventListener("hashchange", () => {
  fleet.page = 1;
  refresh();
});
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
new ResizeObserver(() => { if (state.view) renderCharts(state.view); }).observe(byId("main"));
setInterval(tick, 1000);
refresh();
