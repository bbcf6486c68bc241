// Building and changing the page. Text always goes in as text: what agents say of themselves is never parsed as markup.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

export const el = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);

export const svg = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS(SVG, tag), attributes, children);

export const title = (text) => svg("title", {}, text);

// Change only what differs, so that nothing flickers and a selection stays.
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function setAttribute(node, name, value) {
  if (value === null || value === false) node.removeAttribute(name);
  else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

export function show(node, wanted) {
  if (node.hidden === wanted) node.hidden = !wanted;
}

// Keep one child per item, in order: children are made once per key, then updated, moved or removed.
export function keyed(parent, items, keyOf, make, update) {
  const known = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let next = parent.firstElementChild;
  for (const item of items) {
    const key = String(keyOf(item));
    let child = known.get(key);
    if (child === undefined) {
      child = make(item);
      child.dataset.key = key;
    }
    known.delete(key);
    if (child === next) next = next.nextElementSibling;
    else parent.insertBefore(child, next);
    update(child, item);
  }
  for (const child of known.values()) child.remove();
}

const NARROWEST = 150; // less is no room, but a page that is still being laid out

// Draw again only when the data or the room for it has changed.
export function redrawn(node, data, draw) {
  const room = getComputedStyle(node.parentElement);
  const width = Math.floor(node.parentElement.clientWidth - parseFloat(room.paddingLeft) - parseFloat(room.paddingRight));
  const key = `${width} ${JSON.stringify(data)}`;
  if (node.drawnFor === key || width < NARROWEST) return;
  node.drawnFor = key;
  draw(node, data, width);
}
