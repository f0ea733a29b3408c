"use strict";
// Asks for the state every second and for the picture when there is a new one. All names come in as text, never as markup.

const EVERY_MS = 1000;
const SMALLEST_PX = 5; // side of a rectangle that is meant
const byId = (id) => document.getElementById(id);
let shown = null; // number of the picture that is shown
let address = ""; // of the picture's data
let maps = [];
let size = [1, 1];

async function follow() {
  try {
    const answer = await fetch("state", { cache: "no-store" });
    if (!answer.ok) throw new Error(answer.status === 401 ? "the token is missing: open the address with ?token=" : `error ${answer.status}`);
    const state = await answer.json();
    document.body.classList.remove("lost");
    say(state);
    ({ maps = [], size = size } = state); // of the picture that was drawn last
    if (state.picture !== null && state.picture !== shown) await draw(state);
  } catch (error) {
    document.body.classList.add("lost");
    byId("state").textContent = error instanceof TypeError ? "not connected" : error.message;
  }
  setTimeout(follow, document.hidden ? 5 * EVERY_MS : EVERY_MS);
}

function say(state) {
  document.title = state.title;
  byId("title").textContent = state.title;
  byId("state").textContent = state.state;
  byId("taken").value = state.planned ? state.taken / state.planned : 0;
  byId("facts").replaceChildren(...state.facts.flatMap(([name, value]) => [element("dt", name), element("dd", value)]));
  byId("messages").replaceChildren(...state.messages.slice(-5).map((text) => element("li", text)));
}

async function draw(state) {
  const answer = await fetch("picture", { cache: "no-store" });
  if (!answer.ok) return;
  const next = URL.createObjectURL(await answer.blob());
  const image = new Image();
  image.src = next;
  await image.decode();
  byId("whole").querySelector("img").src = next;
  byId("whole").hidden = false;
  arrange(state.parts);
  for (const part of byId("parts").children) part.style.backgroundImage = `url(${next})`;
  if (address) URL.revokeObjectURL(address);
  [address, shown] = [next, state.picture];
  document.body.classList.add("drawn");
}

// One part of the picture each, cut out by the browser.
function arrange(parts) {
  const box = byId("parts");
  if (box.childElementCount === parts.length) return;
  box.replaceChildren(...parts.map(([name, left, top, width, height]) => {
    const part = element("div", "");
    part.className = "picture part";
    part.setAttribute("role", "img");
    part.setAttribute("aria-label", name);
    part.box = [left, top, width, height];
    part.style.aspectRatio = `${width} / ${height}`;
    part.style.backgroundSize = `${100 * size[0] / width}% ${100 * size[1] / height}%`;
    part.style.backgroundPosition = `${100 * left / (size[0] - width)}% ${100 * top / (size[1] - height)}%`;
    watch(part);
    return part;
  }));
}

// Where a pointer is: pixels of the picture, and the map below it.
function place(target, event) {
  const bounds = target.getBoundingClientRect();
  const [left, top, width, height] = target.box ?? [0, 0, ...size];
  const x = left + width * (event.clientX - bounds.left) / bounds.width;
  const y = top + height * (event.clientY - bounds.top) / bounds.height;
  return { x, y, map: maps.find((m) => x >= m.left && x <= m.left + m.width && y >= m.top && y <= m.top + m.height) };
}

function stage(map, x, y) {
  return {
    x: map.x_min + (map.x_max - map.x_min) * (x - map.left) / map.width,
    y: map.y_max - (map.y_max - map.y_min) * (y - map.top) / map.height,
  };
}

function watch(target) {
  let begun = null;
  let mark = null;
  target.addEventListener("pointerdown", (event) => {
    const { x, y, map } = place(target, event);
    if (!map || event.pointerType === "touch" || event.button !== 0) return; // fingers scroll
    event.preventDefault();
    target.setPointerCapture(event.pointerId);
    document.querySelectorAll(".selection").forEach((old) => old.remove());
    begun = { x, y, map, at: [event.clientX, event.clientY] };
    mark = target.appendChild(element("div", ""));
    mark.className = "selection";
  });
  target.addEventListener("pointermove", (event) => {
    const { x, y, map } = place(target, event);
    if (map) tell(stage(map, x, y));
    if (begun) {
      const bounds = target.getBoundingClientRect();
      const [x0, x1] = [begun.at[0], event.clientX].sort((a, b) => a - b);
      const [y0, y1] = [begun.at[1], event.clientY].sort((a, b) => a - b);
      Object.assign(mark.style, { left: `${x0 - bounds.left}px`, top: `${y0 - bounds.top}px`, width: `${x1 - x0}px`, height: `${y1 - y0}px` });
    }
  });
  target.addEventListener("pointerup", async (event) => {
    if (!begun) return;
    const end = place(target, event);
    const { map, at } = begun;
    if (Math.abs(event.clientX - at[0]) < SMALLEST_PX || Math.abs(event.clientY - at[1]) < SMALLEST_PX) { // a click
      mark.remove();
      begun = null;
      return;
    }
    const from = stage(map, begun.x, begun.y);
    const to = stage(map, Math.min(Math.max(end.x, map.left), map.left + map.width), Math.min(Math.max(end.y, map.top), map.top + map.height));
    begun = null;
    const query = new URLSearchParams({
      y_min: Math.min(from.y, to.y), y_max: Math.max(from.y, to.y), x_min: Math.min(from.x, to.x), x_max: Math.max(from.x, to.x),
    });
    const answer = await fetch(`scan-line?${query}`);
    byId("line").textContent = answer.ok ? await answer.text() : "";
  });
  target.addEventListener("click", (event) => {
    const { x, y, map } = place(target, event);
    if (map) tell(stage(map, x, y));
  });
}

function tell({ x, y }) {
  byId("cursor").textContent = `stage y ${y.toFixed(4)} µm, x ${x.toFixed(4)} µm`;
}

function element(kind, text) {
  const made = document.createElement(kind);
  made.textContent = text;
  return made;
}

watch(byId("whole"));
follow();
