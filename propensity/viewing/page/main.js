// State, controls and what follows from them; everything a user sees is a function of `state`.

const data = readData();
const find = (id) => document.getElementById(id);
const fieldNames = Object.keys(data.frames[0].fields);
const state = {
  frame: 0, time: data.time_index, field: fieldNames[0], scale: data.species.length > 1 ? "own" : "all", map: Object.keys(data.maps)[0],
  fastest: 100, slab: "", depth: 0.5, picked: -1, hovered: -1,
};
let view = null;
try {
  view = new ParticleView(find("particles"), data);
} catch (error) {
  find("nothing").hidden = false;
}

// Changes what is shown; everything follows.
function change(values) {
  Object.assign(state, values);
  if ("frame" in values && state.picked >= data.frames[state.frame].n) state.picked = -1;
  update();
}

function update() {
  const frame = data.frames[state.frame];
  if (view) {
    if (view.frame !== frame) view.setFrame(frame);
    const direction = state.slab === "" ? -1 : Number(state.slab);
    view.setSlab(direction, state.depth, direction < 0 ? 1 : Math.min(0.5, data.slab / 2 / frame.heights[direction]));
    coloursOf(data, state, view.colours);
    view.mark(state.picked, state.hovered);
    view.draw();
  }
  find("frame").value = state.frame;
  find("frame-text").value = `${frame.name} (${state.frame + 1} of ${data.frames.length})`;
  find("time").value = state.time;
  find("time-text").value = `t = ${number(data.times[state.time])} ${data.time_unit}`;
  find("fastest-text").value = state.fastest === 100 ? "all" : `${state.fastest} %`;
  find("depth").disabled = state.slab === "";
  for (const name of ["field", "scale", "map", "fastest", "slab", "depth"]) find(name).value = state[name];
  find("picked").textContent = state.picked >= 0 ? describe(state.picked).replaceAll("\n", " · ") : "Point at a particle, or click it to keep it.";
  if (!waiting) waiting = requestAnimationFrame(drawFigures);
}

// Each figure is drawn anew only when what it depends on has changed, and at most once for each refresh of the screen.
const FIGURES = [
  [drawLegend, ["time", "field", "scale", "map"]],
  [drawScores, ["time"]],
  [drawScatter, ["frame", "time", "picked"]],
  [drawHistogram, ["frame", "time", "field", "picked"]],
  [drawCorrelation, ["time"]],
];
const drawn = new Map();
let waiting = 0;

function drawFigures() {
  waiting = 0;
  for (const [draw, names] of FIGURES) {
    const key = names.map((name) => state[name]).join();
    if (drawn.get(draw) === key || (draw === drawLegend && !view)) continue;
    drawn.set(draw, key);
    draw(data, state);
  }
}

function describe(i) {
  const frame = data.frames[state.frame];
  const lines = [`particle ${frame.ids[i]}, species ${data.species[frame.types[i]]}`];
  for (const field of fieldNames) lines.push(`${data.fields[field]} ${number(valuesOf(frame, field, state.time)[i])} ${data.units[field]}`);
  return lines.join("\n");
}

function fill() {
  find("title").textContent = data.title;
  find("subtitle").textContent = data.subtitle;
  for (const text of data.facts) find("facts").append(Object.assign(document.createElement("li"), { textContent: text }));
  for (const name of fieldNames) find("field").append(new Option(data.fields[name], name));
  for (const name of Object.keys(data.maps)) find("map").append(new Option(name, name));
  find("frame").max = data.frames.length - 1;
  find("time").max = data.times.length - 1;
  find("slab").parentElement.hidden = data.dimension === 2;
  find("frame-row").hidden = data.frames.length < 2;
  find("time-row").hidden = data.times.length < 2;
  find("scale").disabled = !fieldNames.length;
  if (data.species.length < 2) find("scale").querySelector('[value="own"]').remove();
  const list = find("card").querySelector("dl");
  for (const [name, text] of data.card) {
    const entry = Object.assign(document.createElement("div"), { className: text.length > 44 ? "long" : "" });
    entry.append(Object.assign(document.createElement("dt"), { textContent: name }), Object.assign(document.createElement("dd"), { textContent: text }));
    list.append(entry);
  }
  find("card").hidden = !data.card.length;
}

let timer = 0;
function play() {
  const going = timer !== 0;
  clearInterval(timer);
  timer = going ? 0 : setInterval(() => change({ frame: (state.frame + 1) % data.frames.length }), 120);
  find("play").textContent = going ? "▶" : "❚❚";
  find("play").setAttribute("aria-label", going ? "play frames" : "pause");
}

function step(name, by, length) {
  change({ [name]: (state[name] + by + length) % length });
}

function listen() {
  for (const name of ["frame", "time", "fastest", "depth"]) find(name).addEventListener("input", (e) => change({ [name]: Number(e.target.value) }));
  for (const name of ["field", "map", "slab"]) find(name).addEventListener("input", (e) => change({ [name]: e.target.value }));
  // A diverging map for values around a mean, a sequential one otherwise; the user may change either.
  find("scale").addEventListener("input", (e) => change({ scale: e.target.value, map: e.target.value === "relative" ? data.diverging : Object.keys(data.maps)[0] }));
  find("controls").addEventListener("submit", (e) => e.preventDefault());
  find("play").addEventListener("click", play);
  find("particle").addEventListener("input", (e) => {
    const i = e.target.value === "" ? -1 : data.frames[state.frame].ids.indexOf(Number(e.target.value));
    e.target.setCustomValidity(i < 0 && e.target.value !== "" ? "no particle of this frame has that id" : "");
    change({ picked: i });
  });
  addEventListener("keydown", (e) => {
    if (/^(INPUT|SELECT|BUTTON)$/.test(e.target.tagName) && e.key !== "Escape") return;
    if (e.key === " " && data.frames.length > 1) play();
    else if (e.key === "[") step("time", -1, data.times.length);
    else if (e.key === "]") step("time", 1, data.times.length);
    else if (e.key === "Escape") change({ picked: -1 });
    else return;
    e.preventDefault();
  });
  if (view) listenToCanvas(find("particles"));
}

function listenToCanvas(canvas) {
  const turn = { ArrowLeft: [-0.09, 0], ArrowRight: [0.09, 0], ArrowUp: [0, -0.09], ArrowDown: [0, 0.09], "+": [0, 0, 0.9], "=": [0, 0, 0.9], "-": [0, 0, 1.11] };
  canvas.addEventListener("keydown", (e) => {
    if (e.key === "0") view.home();
    else if (turn[e.key]) view.turn(...turn[e.key]);
    else return;
    e.preventDefault();
  });
  let down = [0, 0];
  canvas.addEventListener("pointerdown", (e) => (down = [e.clientX, e.clientY]));
  canvas.addEventListener("pointerup", (e) => {
    if (Math.hypot(e.clientX - down[0], e.clientY - down[1]) < 5) change({ picked: view.pick(e.offsetX, e.offsetY) });
  });
  canvas.addEventListener("pointermove", (e) => {
    if (e.pointerType === "mouse" && e.buttons === 0) hover(view.pick(e.offsetX, e.offsetY), e.offsetX, e.offsetY);
  });
  canvas.addEventListener("pointerleave", () => hover(-1));
  find("home").addEventListener("click", () => view.home());
  find("picture").addEventListener("click", () => {
    view.drawNow();
    canvas.toBlob((blob) => {
      const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: "particles.png" });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    });
  });
}

function hover(i, x = 0, y = 0) {
  const tip = find("tooltip");
  tip.hidden = i < 0;
  if (i >= 0) {
    tip.textContent = describe(i);
    tip.style.left = `${Math.min(x, find("particles").clientWidth - 190)}px`;
    tip.style.top = `${y}px`;
  }
  if (i === state.hovered) return;
  state.hovered = i;
  view.mark(state.picked, i);
  view.draw();
}

fill();
listen();
update();
// For scripts and tests: what is shown, and a way to change it.
window.propensityReport = { data, state, change, view, value: (i, field = state.field) => valuesOf(data.frames[state.frame], field, state.time)[i] };
