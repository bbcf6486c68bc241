// The fleet table: the server sorts, filters and cuts into pages; this asks for one page and keeps its rows up to date.

import { byId, el, keyed, setAttribute, setText, show } from "./dom.js";
import { ago, count, dateTime, percent, plural } from "./format.js";

const COLUMNS = [
  { key: "agent", name: "Agent", cell: (row) => row.agent_id, row: true },
  { key: "tier", name: "Tier", cell: (row) => row.tier || "\u2013" },
  { key: "device", name: "Device", cell: (row) => row.device || "\u2013" },
  { key: "last_seen", name: "Last seen", cell: (row, now) => ago(row.last_seen_at, now), hint: (row) => dateTime(row.last_seen_at), first: "-" },
  { key: "lag", name: "Lag", cell: (row) => (row.lag_versions === null ? "\u2013" : count(row.lag_versions)), hint: lagHint, number: true, first: "-" },
  { key: "merged", name: "Merged", cell: (row) => count(row.merged), number: true, first: "-" },
  { key: "weight", name: "Weight", cell: (row) => percent(row.weight_share), number: true, first: "-" },
  { key: "rejected", name: "Rejected", cell: (row) => count(row.rejected), number: true, first: "-" },
];
const STATES = { recent: "seen this hour", active: "seen today", away: "not seen today", revoked: "revoked" };

function lagHint(row) {
  return row.merged_in === null ? "no delta in the versions shown" : `in version ${row.merged_in}`;
}

export class Fleet {
  constructor(onChange) {
    this.sort = "agent";
    this.page = 1;
    this.filter = "";
    this.rows = [];
    this.onChange = onChange;
    this.makeHead();
    let waiting = 0;
    byId("filter").addEventListener("input", (event) => {
      clearTimeout(waiting);
      waiting = setTimeout(() => this.want({ filter: event.target.value, page: 1 }), 200);
    });
    byId("sort").addEventListener("change", (event) => this.want({ sort: event.target.value, page: 1 }));
    byId("previous").addEventListener("click", () => this.want({ page: this.page - 1 }));
    byId("next").addEventListener("click", () => this.want({ page: this.page + 1 }));
  }

  get query() {
    return new URLSearchParams({ sort: this.sort, page: this.page, filter: this.filter }).toString();
  }

  want(changes) {
    Object.assign(this, changes);
    this.onChange();
  }

  makeHead() {
    for (const column of COLUMNS) {
      const button = el("button", { type: "button" }, column.name, el("span", { class: "arrow", "aria-hidden": "true" }));
      button.addEventListener("click", () => {
        const up = this.sort === `-${column.key}`;
        const down = this.sort === column.key;
        this.want({ sort: up ? column.key : down ? `-${column.key}` : `${column.first ?? ""}${column.key}`, page: 1 });
      });
      byId("fleet-head").append(el("th", { scope: "col", role: "columnheader", class: column.number ? "number" : null, "data-sort": column.key }, button));
      const first = `${column.first ?? ""}${column.key}`;
      byId("sort").append(el("option", { value: first }, column.name + (column.first ? ", most first" : "")));
    }
  }

  show(answer, now) {
    this.page = answer.page;
    this.answer = answer;
    for (const head of byId("fleet-head").children) {
      const order = this.sort === head.dataset.sort ? "ascending" : this.sort === `-${head.dataset.sort}` ? "descending" : null;
      setAttribute(head, "aria-sort", order);
    }
    byId("sort").value = this.sort;
    keyed(byId("fleet-rows"), answer.agents, (row) => row.agent_id, makeRow, (node, row) => updateRow(node, row, now));
    const all = answer.found === answer.registered;
    setText(byId("fleet-note"), all ? plural(answer.registered, "agent") : `${count(answer.found)} of ${plural(answer.registered, "agent")}`);
    show(byId("pager"), answer.pages > 1);
    setText(byId("page-of"), `Page ${count(answer.page)} of ${count(answer.pages)}`);
    byId("previous").disabled = answer.page <= 1;
    byId("next").disabled = answer.page >= answer.pages;
  }

  tick(now) {
    if (!this.answer) return;
    const rows = new Map(this.answer.agents.map((row) => [row.agent_id, row]));
    for (const node of byId("fleet-rows").children) updateRow(node, rows.get(node.dataset.key), now);
  }
}

function makeRow() {
  const cells = COLUMNS.map((column) => {
    const tag = column.row ? "th" : "td";
    const role = column.row ? "rowheader" : "cell";
    const attributes = { role, class: column.number ? `${column.key} number` : column.key, "data-label": column.name, scope: column.row ? "row" : null };
    if (!column.row) return el(tag, attributes);
    return el(tag, attributes, el("span", { class: "state", role: "img" }), el("span", { class: "id" }), el("span", { class: "tag" }));
  });
  return el("tr", { role: "row" }, ...cells);
}

function updateRow(node, row, now) {
  COLUMNS.forEach((column, i) => {
    const cell = node.children[i];
    const words = column.cell(row, now);
    if (column.row) {
      const [state, id, tag] = cell.children;
      setAttribute(state, "data-state", row.state);
      setAttribute(state, "aria-label", STATES[row.state]);
      setAttribute(state, "title", STATES[row.state]);
      setText(id, words);
      setText(tag, row.state === "revoked" ? "revoked" : "");
    } else {
      setText(cell, words);
    }
    if (column.hint) setAttribute(cell, "title", column.hint(row));
  });
}
