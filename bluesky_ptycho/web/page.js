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
    const state = await ask();
    document.body.classList.remove("lost");
    say(state);
    offer(state.knobs);
    if (state.picture !== null && state.picture !== shown && await draw(state)) {
      ({ maps } = await ask()); // they are known once the picture is drawn
      document.body.classList.add("drawn");
    }
  } catch (error) {
    document.body.classList.add("lost");
    byId("state").style.color = "";
    byId("state").textContent = error instanceof TypeError ? "not connected" : error.message;
  }
  setTimeout(follow, document.hidden ? 5 * EVERY_MS : EVERY_MS);
}

async function ask() {
  const answer = await fetch("state", { cache: "no-store" });
  if (!answer.ok) throw new Error(answer.status === 401 ? "the token is missing: open the address with ?token=" : `error ${answer.status}`);
  return answer.json();
}

function say(state) {
  document.title = state.title;
  byId("title").textContent = state.title;
  byId("state").textContent = state.state;
  byId("state").style.color = state.colour;
  byId("taken").value = state.planned ? state.taken / state.planned : 0;
  byId("facts").replaceChildren(...state.facts.flatMap(([name, value]) => [element("dt", name), element("dd", value)]));
  byId("messages").replaceChildren(...state.messages.slice(-5).map((text) => element("li", text)));
}

async function draw(state) {
  const answer = await fetch("picture", { cache: "no-store" });
  if (!answer.ok) return false;
  ({ size } = state);
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
  return true;
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
  byId("cursor").classList.remove("hint");
  byId("cursor").textContent = `stage y ${y.toFixed(4)} µm, x ${x.toFixed(4)} µm`;
}

// Knobs are told of only where they may be turned.
function offer(knobs) {
  byId("knobs").hidden = !knobs;
  for (const knob of knobs ?? []) {
    for (const button of document.querySelectorAll(`[data-knob="${knob.name}"]`)) {
      button.title = knob.doc;
      button.disabled = button.dataset.value === knob.value;
    }
    if (document.querySelector(`[data-knob="${knob.name}"]`)) continue;
    const input = byId(`knob-${knob.name}`) ?? addKnob(knob);
    if (input.value === input.shown) input.value = input.shown = knob.value; // else somebody is about to change it
  }
}

function addKnob({ name, choices, takes, doc }) {
  const form = element("form", "");
  const label = element("label", name);
  const input = element(choices.length ? "select" : "input", "");
  input.append(...choices.map((choice) => element("option", choice)));
  input.id = label.htmlFor = `knob-${name}`;
  Object.assign(input, { required: true, autocomplete: "off", spellcheck: false, shown: input.value });
  label.title = doc;
  form.append(label, input, element("small", takes), element("button", "Apply"));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (await turn(name, input.value)) input.shown = input.value;
  });
  byId("settings").append(form);
  return input;
}

async function turn(knob, value) {
  const told = byId("answer");
  let isTurned = false;
  try {
    const answer = await fetch("knobs", {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ knob, value }),
    });
    [told.textContent, isTurned] = [await answer.text(), answer.ok];
  } catch {
    told.textContent = "not connected";
  }
  told.classList.toggle("refused", !isTurned);
  return isTurned;
}

function element(kind, text) {
  const made = document.createElement(kind);
  made.textContent = text;
  return made;
}

for (const button of document.querySelectorAll("[data-knob]")) {
  button.addEventListener("click", () => turn(button.dataset.knob, button.dataset.value));
}
watch(byId("whole"));
follow();
