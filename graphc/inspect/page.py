"""The explorer's page: markup, style and script, with nothing from outside and no library.

All text from the model goes through the SVG's escaping or the script's textContent, never into
markup.
"""

from __future__ import annotations

from string import Template

PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>$title</title>
<style>$style</style>
</head>
<body>
<header>
  <h1>$title</h1>
  <input id="search" type="search" placeholder="search names, lines, types, reasons"
         aria-label="search" autocomplete="off">
  <span id="count"></span>
  <span class="hint">drag to move, wheel to zoom, / to search, Esc to clear</span>
  <button id="fit" type="button">whole drawing</button>
</header>
<main>
  <nav id="list" aria-label="boxes"></nav>
  <section id="view">$drawing</section>
  <aside id="facts"><p class="hint">Click a box or a name.</p></aside>
</main>
<script type="application/json" id="data">$facts</script>
<script>$script</script>
</body>
</html>
""")

STYLE = """
* { box-sizing: border-box; }
body { margin: 0; font: 14px system-ui, sans-serif; color: #111; background: #fff;
       display: flex; flex-direction: column; height: 100vh; }
header { display: flex; gap: 12px; align-items: center; padding: 8px 12px;
         border-bottom: 1px solid #ccc; }
h1 { font-size: 16px; margin: 0; white-space: nowrap; }
#search { flex: 0 1 360px; padding: 4px 8px; font: inherit; }
.hint, #count { color: #666; font-size: 12px; white-space: nowrap; }
#fit { margin-left: auto; }
main { flex: 1; display: grid; grid-template-columns: 280px 1fr 380px; min-height: 0; }
nav, aside { overflow: hidden auto; border-right: 1px solid #ccc; }
aside { border-right: 0; border-left: 1px solid #ccc; padding: 10px 12px; }
nav button { display: block; width: 100%; padding: 4px 10px; overflow: hidden;
             border: 0; border-bottom: 1px solid #eee; background: none;
             text-align: left; font: inherit; cursor: pointer; }
nav button:hover, nav button:focus { background: #f0f4ff; }
nav button.chosen { background: #dbe6ff; }
nav small { display: block; color: #666; overflow: hidden; text-overflow: ellipsis;
            white-space: nowrap; }
#view { overflow: hidden; position: relative; cursor: grab; }
#view.moving { cursor: grabbing; }
#view svg { width: 100%; height: 100%; display: block; }
.box { cursor: pointer; }
.box.dim, .arrow.dim { opacity: 0.15; }
.box.near rect { stroke: #26c; stroke-width: 2; }
.box.chosen rect { stroke: #c22; stroke-width: 3; }
.arrow.near, .arrow.far.near { stroke: #26c; stroke-width: 2; }
.box.near, .box.chosen, .arrow.near { opacity: 1; }
aside h2 { font: bold 15px ui-monospace, Menlo, Consolas, monospace; margin: 0 0 8px;
           overflow-wrap: anywhere; }
dt { color: #666; font-size: 12px; margin-top: 8px; }
dd { margin: 0; overflow-wrap: anywhere; }
dd div, dd a { font: 12px ui-monospace, Menlo, Consolas, monospace; }
dd a { display: block; color: #1a4fbf; cursor: pointer; text-decoration: none; }
dd a:hover { text-decoration: underline; }
pre { font: 11px ui-monospace, Menlo, Consolas, monospace; background: #f7f7f7; padding: 8px;
      overflow: auto; max-height: 50vh; }
details { margin-top: 12px; } summary { cursor: pointer; }
"""

SCRIPT = r"""
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const view = document.getElementById("view"), svg = view.querySelector("svg");
const list = document.getElementById("list"), facts = document.getElementById("facts");
const search = document.getElementById("search"), count = document.getElementById("count");
const boxes = new Map(), arrows = [], buttons = new Map();
for (const element of svg.querySelectorAll(".box")) boxes.set(element.dataset.key, element);
for (const element of svg.querySelectorAll(".arrow")) arrows.push(element);
const whole = svg.getAttribute("viewBox").split(" ").map(Number);
let frame = whole.slice(), chosen = null;

function make(tag, text, parent) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (parent) parent.appendChild(element);
  return element;
}
function show() { svg.setAttribute("viewBox", frame.join(" ")); }
function asList(value) { return Array.isArray(value) ? value : [value]; }

for (const box of data.boxes) {
  const button = make("button", box.lines[0], list);
  button.type = "button";
  const lines = box.facts["lines of the model"];
  make("small", lines ? asList(lines).join(", ") : box.lines.slice(1).join(" "), button);
  button.addEventListener("click", () => choose(box.key, true));
  buttons.set(box.key, button);
  box.text = [box.key, ...box.lines, ...Object.values(box.facts).flat()].join("\n").toLowerCase();
}
const byKey = new Map(data.boxes.map(box => [box.key, box]));

function describe(box) {
  facts.replaceChildren();
  make("h2", box.lines[0], facts);
  const table = make("dl", undefined, facts);
  for (const [name, value] of Object.entries(box.facts)) {
    make("dt", name, table);
    const entry = make("dd", undefined, table);
    for (const line of asList(value)) make("div", line, entry);
  }
  neighbours(table, "reads from", box.key, "target", "source");
  neighbours(table, "read by", box.key, "source", "target");
  if (box.code) {
    const more = make("details", undefined, facts);
    more.open = true;
    make("summary", "code", more);
    make("pre", box.code, more);
  }
}
function neighbours(table, title, key, mine, other) {
  const keys = new Set(arrows.filter(a => a.dataset[mine] === key).map(a => a.dataset[other]));
  if (!keys.size) return;
  make("dt", title, table);
  const entry = make("dd", undefined, table);
  for (const near of keys) {
    const link = make("a", byKey.get(near).lines.join("  "), entry);
    link.addEventListener("click", () => choose(near, true));
  }
}
function choose(key, move) {
  if (chosen) for (const map of [boxes, buttons]) map.get(chosen).classList.remove("chosen");
  for (const element of [...boxes.values(), ...arrows]) element.classList.remove("near");
  chosen = key;
  if (key === null) { summary(); return; }
  boxes.get(key).classList.add("chosen");
  buttons.get(key).classList.add("chosen");
  buttons.get(key).scrollIntoView({block: "nearest"});
  for (const arrow of arrows) {
    if (arrow.dataset.source !== key && arrow.dataset.target !== key) continue;
    arrow.classList.add("near");
    const other = arrow.dataset.source === key ? arrow.dataset.target : arrow.dataset.source;
    boxes.get(other).classList.add("near");
  }
  describe(byKey.get(key));
  if (move) centre(boxes.get(key).getBBox());
}
function centre(place) {
  const ratio = view.clientHeight / view.clientWidth, width = Math.min(frame[2], 1200);
  frame = [place.x + place.width / 2 - width / 2, place.y + place.height / 2 - width * ratio / 2,
           width, width * ratio];
  show();
}
function filter() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let found = 0;
  for (const box of data.boxes) {
    const hit = words.every(word => box.text.includes(word));
    found += hit;
    buttons.get(box.key).hidden = !hit;
    buttons.get(box.key).style.display = hit ? "" : "none";
    boxes.get(box.key).classList.toggle("dim", !hit);
  }
  for (const arrow of arrows) arrow.classList.toggle("dim", words.length > 0);
  const all = data.boxes.length;
  count.textContent = words.length ? `${found} of ${all}` : `${all} boxes`;
}
function summary() {
  facts.replaceChildren();
  make("p", "Click a box or a name.", facts).className = "hint";
  if (!data.notes.length) return;
  make("h2", "What was fused, and what was not", facts);
  for (const note of data.notes) make("p", note, facts).className = "note";
}

search.addEventListener("input", filter);
search.addEventListener("keydown", event => {
  if (event.key !== "Enter") return;
  const first = data.boxes.find(box => !buttons.get(box.key).hidden);
  if (first) choose(first.key, true);
});
document.addEventListener("keydown", event => {
  if (event.key === "/" && document.activeElement !== search) {
    event.preventDefault();
    search.focus();
  }
  if (event.key === "Escape") { search.value = ""; filter(); choose(null); }
});
document.getElementById("fit").addEventListener("click", () => { frame = whole.slice(); show(); });
view.addEventListener("wheel", event => {
  event.preventDefault();
  const area = svg.getBoundingClientRect(), scale = Math.exp(event.deltaY * 0.0015);
  const point = new DOMPoint(event.clientX, event.clientY)
    .matrixTransform(svg.getScreenCTM().inverse());
  if (frame[2] * scale > 20 * whole[2] || frame[2] * scale < 50) return;
  frame = [point.x + (frame[0] - point.x) * scale, point.y + (frame[1] - point.y) * scale,
           frame[2] * scale, frame[3] * scale];
  show();
}, {passive: false});
let from = null, moved = false;
view.addEventListener("pointerdown", event => {
  from = [event.clientX, event.clientY, ...frame]; moved = false;
});
window.addEventListener("pointermove", event => {
  if (!from) return;
  const unit = 1 / svg.getScreenCTM().a, dx = event.clientX - from[0], dy = event.clientY - from[1];
  if (Math.abs(dx) + Math.abs(dy) > 3) { moved = true; view.classList.add("moving"); }
  frame[0] = from[2] - dx * unit; frame[1] = from[3] - dy * unit;
  show();
});
window.addEventListener("pointerup", event => {
  if (from && !moved) {
    const box = event.target.closest ? event.target.closest(".box") : null;
    if (box) choose(box.dataset.key, false);
  }
  from = null; view.classList.remove("moving");
});
svg.removeAttribute("width");
svg.removeAttribute("height");
summary();
filter();
if (location.hash) {
  const wanted = decodeURIComponent(location.hash.slice(1));
  const box = data.boxes.find(box => box.key === wanted || box.lines[0] === wanted);
  if (box) choose(box.key, true);
}
"""
