"use strict";
// The rows of an evaluation: sorted, chosen, and drawn a few at a time as they come into view.
const STEP = 30;
const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const state = { sheet: 0, by: 0, worst: true, order: [], shown: 0 };

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// ---- molecules

const SVG = "http://www.w3.org/2000/svg";
const COLOURS = { O: "--O", N: "--N", S: "--S", P: "--P", F: "--X", Cl: "--X", Br: "--X", I: "--X" };
const UNIT = 20, LETTER = 11, GAP = 4;

function drawn(outline) {
  const { p, b, t } = outline;
  const labels = new Map(t.map((label) => [label[0], label]));
  const point = (atom) => [p[2 * atom], p[2 * atom + 1]];
  const lines = [], solid = [];
  for (let i = 0; i < b.length; i += 3) {
    let [x1, y1] = point(b[i]), [x2, y2] = point(b[i + 1]);
    const kind = b[i + 2];
    const length = Math.hypot(x2 - x1, y2 - y1) || 1;
    const ux = (x2 - x1) / length, uy = (y2 - y1) / length;
    const free = (atom) => (labels.has(atom) ? Math.min(7, length / 3) : 0);  // room for a letter
    const [from, to] = [free(b[i]), free(b[i + 1])];
    [x1, y1, x2, y2] = [x1 + ux * from, y1 + uy * from, x2 - ux * to, y2 - uy * to];
    const line = (shift, cut = 0) => lines.push(
      `M${(x1 - uy * shift + ux * cut).toFixed(1)} ${(y1 + ux * shift + uy * cut).toFixed(1)}` +
      `L${(x2 - uy * shift - ux * cut).toFixed(1)} ${(y2 + ux * shift - uy * cut).toFixed(1)}`);
    if (kind === 4) {
      solid.push(`M${x1} ${y1}L${x2 - uy * 3} ${y2 + ux * 3}L${x2 + uy * 3} ${y2 - ux * 3}Z`);
    } else if (kind === 5) {
      for (let step = 1; step <= 6; step++) {
        const x = x1 + (x2 - x1) * step / 6, y = y1 + (y2 - y1) * step / 6, half = step / 2;
        lines.push(`M${(x - uy * half).toFixed(1)} ${(y + ux * half).toFixed(1)}` +
          `L${(x + uy * half).toFixed(1)} ${(y - ux * half).toFixed(1)}`);
      }
    } else if (kind === 2) {
      line(GAP / 2); line(-GAP / 2);
    } else {
      line(0);
      if (kind === 3) { line(GAP); line(-GAP); }
      if (kind === 6) line(-GAP, 2.5);
      if (kind === 7) line(GAP, 2.5);
    }
  }
  let [right, bottom, left] = [0, 0, 0];
  for (let i = 0; i < p.length; i += 2) { right = Math.max(right, p[i]); bottom = Math.max(bottom, p[i + 1]); }
  for (const [atom, , text, side] of t) {
    const wide = (text.length - 1) * LETTER * 0.7;
    if (side > 0) right = Math.max(right, p[2 * atom] + wide); else left = Math.min(left, p[2 * atom] - wide);
  }
  const margin = UNIT / 2;
  // small molecules are not blown up: a bond is at most as long as here in a picture of 200 x 150
  const width = Math.max(right - left + 2 * margin, 150), height = Math.max(bottom + 2 * margin, 112);
  const picture = document.createElementNS(SVG, "svg");
  picture.setAttribute("viewBox", [
    left - margin - (width - (right - left + 2 * margin)) / 2, -margin - (height - (bottom + 2 * margin)) / 2, width, height,
  ].join(" "));
  const add = (tag, attributes, text) => {
    const part = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) part.setAttribute(name, value);
    if (text) part.textContent = text;
    picture.append(part);
  };
  add("path", { d: lines.join(""), fill: "none", stroke: "currentColor", "stroke-width": 1.3, "stroke-linecap": "round" });
  add("path", { d: solid.join(""), fill: "currentColor" });
  for (const [atom, symbol, text, side] of t) {
    const [x, y] = point(atom);
    const half = LETTER * 0.36 * symbol.length;
    add("text", {
      x: side > 0 ? x - half : x + half, y: y + LETTER * 0.36, "font-size": LETTER,
      "text-anchor": side > 0 ? "start" : "end", "font-family": "inherit",
      fill: COLOURS[symbol] ? `var(${COLOURS[symbol]})` : "currentColor",
    }, text);
  }
  return picture;
}

function picture(index) {
  const smiles = data.smiles[index], outline = data.outlines[index];
  return element("td", { className: "picture" },
    outline.p ? drawn(outline) : element("p", { textContent: smiles ? outline : "(empty)" }), element("code", { textContent: smiles, title: smiles }));
}

// ---- texts

// Words of `text` outside a longest common subsequence with `reference` (what ROUGE-L counts) are marked.
function compared(reference, text) {
  const words = (s) => s.match(/[\p{L}\p{N}]+|[^\p{L}\p{N}]+/gu) ?? [];
  const isWord = (s) => /[\p{L}\p{N}]/u.test(s);
  const low = (s) => s.toLowerCase();
  const a = words(reference).filter(isWord).map(low), pieces = words(text);
  const places = pieces.flatMap((piece, i) => (isWord(piece) ? [i] : []));
  if (a.length * places.length > 1e6) return [text];
  const b = places.map((i) => low(pieces[i]));
  const table = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      table[i][j] = a[i] === b[j] ? table[i + 1][j + 1] + 1 : Math.max(table[i + 1][j], table[i][j + 1]);
    }
  }
  const kept = new Set();
  for (let i = 0, j = 0; i < a.length && j < b.length;) {
    if (a[i] === b[j]) { kept.add(places[j]); i++; j++; }
    else if (table[i + 1][j] >= table[i][j + 1]) i++;
    else j++;
  }
  return pieces.map((piece, i) => (isWord(piece) && !kept.has(i) ? element("mark", { textContent: piece }) : piece));
}

function texts(sheet, row) {
  const list = element("dl");
  sheet.told.forEach((name, k) => {
    const text = sheet.texts[k][row];
    const shown = !text.trim() ? ["(empty)"] : sheet.compared && k === 1 ? compared(sheet.texts[0][row], text) : [text];
    list.append(element("dt", { textContent: name }), element("dd", {}, ...shown));
  });
  return element("td", { className: "texts" }, list);
}

// ---- the table

function score(sheet, k, row) {
  const metric = sheet.metrics[k], value = sheet.scores[k][row];
  let text = "–", look = "none";
  if (value !== null) {
    const best = metric.higher ? value >= 1 : metric.name.includes("rank") ? value <= 1 : value <= 0;
    look = best ? "best" : metric.flag ? "none" : "";
    text = metric.flag ? (value ? "✓" : "✗") : value.toFixed(metric.decimals);
  }
  return element("td", { className: `score ${look} ${k === state.by ? "sorted" : ""}`, textContent: text });
}

function line(sheet, row) {
  return element("tr", {},
    element("td", { className: "number", textContent: (row + 1).toLocaleString("en") }),
    ...sheet.molecules.map((column) => picture(column[row])), texts(sheet, row),
    ...sheet.metrics.map((_, k) => score(sheet, k, row)));
}

function more() {
  const sheet = data.sheets[state.sheet], next = state.order.slice(state.shown, state.shown + STEP);
  at("rows").append(...next.map((row) => line(sheet, row)));
  state.shown += next.length;
}

function heads(sheet) {
  const row = element("tr", {}, element("th", { textContent: "row" }), ...sheet.drawn.map((name) => element("th", { textContent: name })), element("th"));
  sheet.metrics.forEach((metric, k) => {
    const button = element("button", { textContent: `${metric.name} ${metric.higher ? "↑" : "↓"}`, title: metric.meaning });
    button.onclick = () => { state.worst = state.by === k ? !state.worst : true; state.by = k; show(); };
    const head = element("th", { className: "score" }, button);
    const falling = state.worst !== metric.higher;
    head.setAttribute("aria-sort", k === state.by ? (falling ? "descending" : "ascending") : "none");
    row.append(head);
  });
  at("head").replaceChildren(row);
}

function chosen(sheet) {
  const [cut, label] = at("cut").value.split(":").map(Number), wanted = at("find").value.trim().toLowerCase();
  const inside = (row) => [...sheet.texts.map((column) => column[row]), ...sheet.molecules.map((column) => data.smiles[column[row]])]
    .some((text) => text.toLowerCase().includes(wanted));
  return sheet.scores[0].map((_, row) => row)
    .filter((row) => (cut < 0 || sheet.cuts[cut].member[row] === label) && (!wanted || inside(row)));
}

function show() {
  const sheet = data.sheets[state.sheet], metric = sheet.metrics[state.by], values = sheet.scores[state.by];
  const sign = (metric.higher ? 1 : -1) * (state.worst ? 1 : -1);
  const none = metric.higher ? -Infinity : Infinity;  // a row without a score is worse than any
  state.order = chosen(sheet).map((row) => [row, values[row] ?? none])
    .sort((a, b) => (a[1] === b[1] ? a[0] - b[0] : sign * (a[1] < b[1] ? -1 : 1))).map(([row]) => row);
  const known = state.order.map((row) => values[row]).filter((value) => value !== null);
  const mean = known.length ? known.reduce((a, b) => a + b, 0) / known.length : NaN;
  at("count").textContent = `${state.order.length.toLocaleString("en")} of ${values.length.toLocaleString("en")} rows` +
    (known.length ? `; their mean ${metric.name} is ${mean.toFixed(Math.max(metric.decimals, 3))}` : "");
  at("worst").setAttribute("aria-pressed", state.worst);
  at("best").setAttribute("aria-pressed", !state.worst);
  heads(sheet);
  state.shown = 0;
  at("rows").replaceChildren();
  more();
}

function open(number) {
  const sheet = data.sheets[number];
  Object.assign(state, { sheet: number, by: sheet.primary, worst: true });
  [...at("tabs").children].forEach((tab, k) => tab.setAttribute("aria-pressed", k === number));
  at("cut").replaceChildren(element("option", { value: "-1:0", textContent: "all rows" }), ...sheet.cuts.map((cut, c) =>
    element("optgroup", { label: cut.name }, ...cut.labels.map((label, l) => element("option", { value: `${c}:${l}`, textContent: label })))));
  show();
}

data.sheets.forEach((sheet, number) => at("tabs").append(element("button", { textContent: sheet.name, onclick: () => { location.replace(`#${encodeURIComponent(sheet.name)}`); open(number); } })));
at("worst").onclick = () => { state.worst = true; show(); };
at("best").onclick = () => { state.worst = false; show(); };
at("cut").onchange = show;
let waiting;
at("find").oninput = () => { clearTimeout(waiting); waiting = setTimeout(show, 150); };
new IntersectionObserver((seen) => { if (seen.some((one) => one.isIntersecting) && state.shown < state.order.length) more(); }, { rootMargin: "900px" })
  .observe(at("more"));
open(Math.max(0, data.sheets.findIndex((sheet) => sheet.name === decodeURIComponent(location.hash.slice(1)))));
