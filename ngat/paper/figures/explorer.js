// The attention explorer: one picture, one pixel, 14 weights by head and level.
// Used by the page as it stands and by the widget (anywidget) through `render`.

const KING = [[-1, -1], [-1, 0], [-1, 1], [0, -1], [0, 0], [0, 1], [1, -1], [1, 0], [1, 1]];
const CHILD = [[0, 0], [0, 1], [1, 0], [1, 1]];
const SCALE = 7; // screen pixels of a pixel of the picture
const CELL = 24; // side of a tap in the maps
const WIDTH = 5.35 * CELL + 4; // of a map

function decoded(text, Kind) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return new Kind(bytes.buffer);
}

function made(tag, attributes = {}, parent = null, text = "") {
  const svg = ["svg", "rect", "text", "circle", "line", "image", "g"].includes(tag);
  const element = svg
    ? document.createElementNS("http://www.w3.org/2000/svg", tag)
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text) element.textContent = text;
  if (parent) parent.appendChild(element);
  return element;
}

// The 14 weights of a node, by head: king 9, children 4, parent 1, of 0 to 1.
function weights(level, row, column, steps) {
  const [heads, rows, columns] = level.shape, kept = level.taps.length;
  return Array.from({ length: heads }, (_, head) =>
    level.constant.map((value, tap) => {
      const k = level.taps.indexOf(tap);
      if (k < 0) return value; // the same at all nodes: no child of the base, a lone parent
      return level.values[((head * kept + k) * rows + row) * columns + column] / steps;
    }));
}

function place(level, values, row, column) {
  const [, rows, columns] = level.shape;
  return [0, 1, 2].map((axis) => values[(axis * rows + row) * columns + column]);
}

// One head on one level: king to the left; to the right the parent, below it the children.
function map(parent, alpha, head, m, top, colour) {
  const svg = made("svg", { width: WIDTH, height: 3 * CELL + 4 }, parent);
  const taps = KING.map(([dy, dx], k) => [k, 1 + dy, 1 + dx]);
  if (m > 0) CHILD.forEach(([dy, dx], k) => taps.push([9 + k, 1 + dy, 3.35 + dx]));
  if (m < top) taps.push([13, 0, 3.85]);
  for (const [tap, y, x] of taps) {
    const value = alpha[tap];
    made("rect", {
      x: 2 + x * CELL, y: 2 + y * CELL, width: CELL, height: CELL, fill: colour,
      "fill-opacity": value.toFixed(4), stroke: tap === 4 ? "#000" : "#999",
      "stroke-width": tap === 4 ? 1.6 : 0.6, "data-level": m, "data-head": head,
      "data-tap": tap, "data-alpha": value,
    }, svg).appendChild(made("title", {}, null, `${(100 * value).toFixed(2)} %`));
    made("text", {
      x: 2 + (x + 0.5) * CELL, y: 2 + (y + 0.64) * CELL, "text-anchor": "middle",
      "font-size": 9, fill: value > 0.55 ? "#fff" : "#222", "pointer-events": "none",
    }, svg, (100 * value).toFixed(value < 0.0995 ? 1 : 0));
  }
}

export function explore(root, content, onPick = () => {}) {
  root.replaceChildren();
  let shown = 0, plane = "picture", row = 0, column = 0;
  const bar = made("div", { style: "margin-bottom:.5rem" }, root);
  const choice = made("select", { class: "picture", style: "font:inherit" }, bar);
  content.pictures.forEach((p, k) => made("option", { value: k }, choice, p.name));
  const label = made("label", { style: "margin-left:1rem" }, bar);
  const tick = made("input", { type: "checkbox", class: "probability" }, label);
  label.append(" probability of nucleus");
  const where = made("span", { class: "where", style: "margin-left:1rem" }, bar);
  const both = made("div", { style: "display:flex;flex-wrap:wrap;gap:1.2rem;align-items:flex-start" }, root);
  const left = made("div", {}, both), right = made("div", { class: "maps" }, both);
  const notes = made("div", { class: "moves", style: "font-size:.85em;margin-top:.5rem" }, left);
  let drawing = null;
  for (const picture of content.pictures) {
    for (const level of picture.levels) {
      level.values = decoded(level.alpha, Uint16Array);
      level.homes = decoded(level.home, Float32Array);
      level.places = decoded(level.position, Float32Array);
    }
  }

  function draw() {
    const picture = content.pictures[shown], top = picture.levels.length - 1;
    const svg = made("svg", {
      class: "drawing", width: picture.width * SCALE, height: picture.height * SCALE,
      viewBox: `0 0 ${picture.width} ${picture.height}`, style: "cursor:crosshair;display:block",
    });
    made("image", {
      href: `data:image/png;base64,${picture[plane]}`, width: picture.width,
      height: picture.height, style: "image-rendering:pixelated",
    }, svg);
    right.replaceChildren();
    notes.replaceChildren();
    for (let m = top; m >= 0; m--) {
      const level = picture.levels[m], colour = content.colours[m % content.colours.length];
      const r = row >> m, c = column >> m, cell = 2 ** m;
      const home = place(level, level.homes, r, c), now = place(level, level.places, r, c);
      made("rect", {
        x: c * cell, y: r * cell, width: cell, height: cell, fill: "none", stroke: colour,
        "stroke-width": m ? 0.45 : 0.3,
      }, svg);
      const line = made("div", { "data-level": m }, notes);
      made("b", { style: `color:${colour}` }, line, `level ${m}: `);
      if (m) {
        const base = Math.SQRT2 * now[2]; // of the pyramid with all edges equal
        made("rect", {
          class: "footprint", x: now[0] - base / 2, y: now[1] - base / 2, width: base,
          height: base, fill: "none", stroke: colour, "stroke-width": 0.35,
          "stroke-dasharray": "1.2 0.8",
        }, svg);
        made("line", {
          x1: home[0], y1: home[1], x2: now[0], y2: now[1], stroke: colour, "stroke-width": 0.4,
        }, svg);
        made("circle", { cx: now[0], cy: now[1], r: 0.5, fill: colour }, svg);
        const signed = (v) => (v < 0 ? "−" : "+") + Math.abs(v).toFixed(2);
        line.append(`moved by ${signed(now[0] - home[0])}, ${signed(now[1] - home[1])} px, ` +
          `height × ${(now[2] / home[2]).toFixed(2)}`);
      } else {
        line.append("base nodes never move");
      }
      const strip = made("div", { style: "display:flex;gap:1rem;align-items:center;margin-bottom:.5rem" }, right);
      made("div", { style: `color:${colour};width:4.2rem;font-weight:600` }, strip, `level ${m}`);
      weights(level, r, c, content.steps).forEach((alpha, head) =>
        map(strip, alpha, head, m, top, colour));
    }
    const heads = made("div", { style: "display:flex;gap:1rem;font-size:.85em" });
    made("div", { style: "width:4.2rem" }, heads);
    for (let h = 0; h < picture.levels[0].shape[0]; h++) {
      made("div", { style: `width:${WIDTH}px` }, heads, `head ${h + 1}`);
    }
    right.prepend(heads);
    where.textContent = `row ${row}, column ${column}; shown to the network at × ${picture.magnification}`;
    svg.addEventListener("click", (event) => {
      const box = svg.getBoundingClientRect();
      const at = (value, length) => Math.max(0, Math.min(length - 1, Math.floor(value)));
      row = at((event.clientY - box.top) * picture.height / box.height, picture.height);
      column = at((event.clientX - box.left) * picture.width / box.width, picture.width);
      draw();
      onPick([shown, row, column]);
    });
    if (drawing) drawing.replaceWith(svg);
    else left.prepend(svg);
    drawing = svg;
  }

  function middle() {
    const picture = content.pictures[shown];
    row = picture.height >> 1;
    column = picture.width >> 1;
    draw();
  }
  choice.addEventListener("change", () => { shown = Number(choice.value); middle(); });
  tick.addEventListener("change", () => { plane = tick.checked ? "probability" : "picture"; draw(); });
  made("p", { class: "about", style: "font-size:.85em;color:#555" }, root, content.about);
  middle();
}

export default {
  render({ model, el }) {
    explore(el, structuredClone(model.get("content")), (picked) => {
      model.set("picked", picked);
      model.save_changes();
    });
  },
};
