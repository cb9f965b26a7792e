// Drawing. Only what lies in the window is drawn, and what would fall on the same spot is drawn once, so that a frame
// costs about the same for a thousand events as for a hundred thousand.

const canvas = document.getElementById("lanes");
const overview = document.getElementById("overview");
const GUTTER = 92, AXIS = 26, ROW = 11, LABEL = 13;
const COLOURS = {
  tone: ["#475569", "#b45309", "#7c3aed", "#c81e1e"],
  arrow: ["#2563eb", "#0891b2", "#cbd5e1", "#64748b", "#a8b3c0"],
  bar: ["#9aa5b1", "#f59e0b", "#0f766e", "#64748b", "#7c3aed", "#b45309", "#1d4ed8"],
  barFill: ["#e4e7eb", "#fdecc8", "#a7dfd8", "#d7dee6", "#ddd0fb", "#f5e3cd", "#cfdcf8"],
};
let width = 0, height = 0, laneTops = [], laneHeights = [], baselines = [], contentHeight = 0, labelRows = 2;
let density = null;
let isDue = false;
const frames = [];

function resize() {
  for (const one of [canvas, overview]) {
    const box = one.getBoundingClientRect(), ratio = window.devicePixelRatio || 1;
    one.width = Math.max(1, Math.round(box.width * ratio));
    one.height = Math.max(1, Math.round(box.height * ratio));
    one.getContext("2d").setTransform(ratio, 0, 0, ratio, 0, 0);
  }
  width = canvas.clientWidth;
  height = canvas.clientHeight;
  layLanes();
  countDensity();
  redraw();
}

function layLanes() {
  const tall = (base) => LANES.map((_, lane) => base + rowsOfLane[lane] * ROW);
  const summed = (sizes) => sizes.reduce((all, one) => all + one, 0);
  labelRows = summed(tall(46)) <= height - AXIS ? 2 : 1; // One row of words where lanes have to be low.
  const needed = tall(20 + 13 * labelRows);
  const sum = summed(needed);
  const spare = Math.max(0, (height - AXIS - sum) / Math.max(LANES.length, 1));
  let top = AXIS;
  laneTops = []; laneHeights = []; baselines = [];
  for (let lane = 0; lane < LANES.length; lane++) {
    laneTops.push(top);
    laneHeights.push(needed[lane] + spare);
    baselines.push(top + needed[lane] + spare / 2 - 5 - 13 * labelRows);
    top += needed[lane] + spare;
  }
  contentHeight = top;
  view.scroll = Math.min(view.scroll, Math.max(0, contentHeight - height));
}

function x(time) {
  return GUTTER + ((time - view.begin) / (view.end - view.begin)) * (width - GUTTER);
}

function timeAt(pixel) {
  return view.begin + ((pixel - GUTTER) / (width - GUTTER)) * (view.end - view.begin);
}

function y(lane) {
  return baselines[lane] - view.scroll;
}

function redraw() {
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(() => {
    isDue = false;
    drawNow();
  });
}

function drawNow() {
  const began = performance.now();
  const paint = canvas.getContext("2d");
  paint.clearRect(0, 0, width, height);
  paint.save();
  paint.beginPath();
  paint.rect(GUTTER, 0, width - GUTTER, height);
  paint.clip();
  drawAxis(paint);
  drawBars(paint);
  drawArrows(paint);
  drawMoments(paint);
  drawChosen(paint);
  paint.restore();
  drawNames(paint);
  drawOverview();
  document.getElementById("window").textContent =
    `${clock(Math.max(0, view.begin))} to ${clock(Math.min(END, view.end))}`;
  frames.push(performance.now() - began);
  if (frames.length > 2000) frames.splice(0, 1000);
}

function drawAxis(paint) {
  const span = view.end - view.begin;
  const aim = (span / Math.max(1, width - GUTTER)) * 130;
  const power = 10 ** Math.floor(Math.log10(aim));
  const gap = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= aim);
  const digits = Math.max(0, Math.min(6, Math.ceil(6 - Math.log10(gap))));
  paint.font = "11px system-ui, 'DejaVu Sans', sans-serif";
  paint.textAlign = "center";
  for (let time = Math.ceil(view.begin / gap) * gap; time <= view.end; time += gap) {
    if (time < 0) continue;
    const at = Math.round(x(time)) + 0.5;
    paint.strokeStyle = "#eef1f4";
    line(paint, at, AXIS - 4, at, height);
    paint.fillStyle = "#6b7785";
    const text = RUN.virtual || gap < 1e6 ? "+" + (time / 1e6).toFixed(digits) + " s" : clock(time).slice(0, 8);
    if (at > GUTTER + 26) paint.fillText(RUN.virtual ? text.slice(1) : text, at, 15);
  }
  paint.strokeStyle = "#d5dbe1";
  line(paint, GUTTER, AXIS - 0.5, width, AXIS - 0.5);
  for (let lane = 0; lane < LANES.length; lane++) {
    paint.strokeStyle = "#c3cad2";
    line(paint, GUTTER, y(lane), width, y(lane));
    paint.strokeStyle = "#eef1f4";
    const bottom = laneTops[lane] + laneHeights[lane] - view.scroll;
    line(paint, 0, bottom, width, bottom);
  }
}

function line(paint, fromX, fromY, toX, toY) {
  paint.beginPath();
  paint.moveTo(fromX, fromY);
  paint.lineTo(toX, toY);
  paint.stroke();
}

function drawNames(paint) {
  paint.fillStyle = "#ffffff";
  paint.fillRect(0, 0, GUTTER - 1, height);
  paint.textAlign = "right";
  paint.font = "600 12px system-ui, 'DejaVu Sans', sans-serif";
  for (let lane = 0; lane < LANES.length; lane++) {
    paint.fillStyle = LANES[lane] === "faults" ? COLOURS.tone[FAULT] : "#1f2933";
    paint.fillText(LANES[lane], GUTTER - 10, y(lane) + 4);
  }
  paint.fillStyle = "#ffffff";
  paint.fillRect(0, 0, GUTTER - 1, AXIS - 1);
  paint.strokeStyle = "#d5dbe1";
  line(paint, GUTTER - 0.5, 0, GUTTER - 0.5, height);
}

// Do something with the rows of a table that have lasted into the window, or begin in it.
function inWindow(table, order, most, act) {
  const { time, span } = table, { begin, end } = view;
  for (let k = firstAt(table, order, begin - most); k < order.length; k++) {
    const i = order[k];
    if (time[i] > end) return;
    if (!span || span[i] < 0 || time[i] + span[i] >= begin) act(i);
  }
}

function barBox(i) {
  const lane = bars.lane[i], left = Math.max(x(bars.time[i]), GUTTER - 4);
  const right = Math.min(x(bars.time[i] + bars.span[i]), width + 4);
  const box = { left, width: Math.max(right - left, 2) };
  if (bars.kind[i] <= PAUSED) return { ...box, top: laneTops[lane] - view.scroll + 2, height: laneHeights[lane] - 4 };
  return { ...box, top: y(lane) - 9 - (bars.row[i] + 1) * ROW, height: ROW - 2 };
}

function drawBars(paint) {
  const painted = new Map();
  paint.font = "10px system-ui, 'DejaVu Sans', sans-serif";
  for (const isBack of [true, false]) {
    inWindow(bars, shown.bars, bars.longest, (i) => {
      if ((bars.kind[i] <= PAUSED) !== isBack) return;
      const box = barBox(i), kind = bars.kind[i];
      const spot = bars.lane[i] * 8 + bars.row[i];
      if (box.width <= 2 && painted.get(spot) === Math.round(box.left)) return;
      painted.set(spot, Math.round(box.left));
      const isWrong = bars.tone[i] === VIOLATION;
      paint.fillStyle = isWrong ? "#f8b4b4" : COLOURS.barFill[kind];
      paint.fillRect(box.left, box.top, box.width, box.height);
      if (kind === DOWN || kind === PAUSED) hatch(paint, box, COLOURS.bar[kind]);
      paint.strokeStyle = isWrong ? COLOURS.tone[VIOLATION] : COLOURS.bar[kind];
      if (box.width > 3) paint.strokeRect(box.left + 0.5, box.top + 0.5, box.width - 1, box.height - 1);
      if (box.width > 46) labelBar(paint, i, box, kind);
    });
  }
}

function labelBar(paint, i, box, kind) {
  const texts = { [DOWN]: LANES[bars.lane[i]] + " is down", [PAUSED]: LANES[bars.lane[i]] + " stands still" };
  let text = texts[kind] || RUN.texts[bars.text[i]];
  if (kind === FAULT_BAR) text = text.replace(/^(\w+)\(.*\) at /, "$1 ");
  if (kind === LIFE) text = text.replace(/^(\S+) .*/, "$1");
  if (kind === TABLET) text = text.replace(/^tablet (\S+) on .*/, "$1");
  if (kind === LEASE) text = text.replace(/^lease on chunk (\S+), version (\d+).*/, "lease $1 v$2");
  const left = Math.max(box.left, GUTTER) + 4;
  const room = box.left + box.width - left - 4;
  if (room < 24) return;
  paint.textAlign = "left";
  if (kind <= PAUSED) {
    const size = paint.measureText(text).width;
    if (size > room) return;
    paint.fillStyle = "#ffffffd9";
    paint.fillRect(left - 2, box.top + box.height - 15, size + 5, 13);
    paint.fillStyle = "#52606d";
    paint.fillText(text, left, box.top + box.height - 5);
    return;
  }
  paint.fillStyle = kind === LEASE ? "#134e4a" : "#334155";
  paint.fillText(cut(text, room / 5.4), left, box.top + box.height - 1.5);
}

function cut(text, letters) {
  return text.length <= letters ? text : text.slice(0, Math.max(1, letters - 1)) + "…";
}

function hatch(paint, box, colour) {
  paint.save();
  paint.beginPath();
  paint.rect(box.left, box.top, box.width, box.height);
  paint.clip();
  paint.strokeStyle = colour + "66";
  paint.beginPath();
  for (let at = box.left - box.height; at < box.left + box.width; at += 7) {
    paint.moveTo(at, box.top + box.height);
    paint.lineTo(at + box.height, box.top);
  }
  paint.stroke();
  paint.restore();
}

// What would look the same is drawn once: a table of the spots that were painted in this pass. A run of very many lanes
// has more spots than the table, and then now and then one hides another.
const SPOTS = 1 << 22;
const spots = new Int32Array(SPOTS);
let pass = 0;
function isPainted(spot) {
  const at = spot < SPOTS ? spot : spot % SPOTS;
  if (spots[at] === pass) return true;
  spots[at] = pass;
  return false;
}

function drawArrows(paint) {
  const lanes = LANES.length;
  pass += 1;
  const batches = [[], [], [], [], []], troubled = [];
  let most = 0;
  inWindow(arrows, shown.arrows, arrows.longest, (i) => {
    const from = x(arrows.time[i]);
    const pixel = Math.min(Math.max(Math.round(from), 0), width);
    const spot = ((pixel * lanes + arrows.source[i]) * lanes + arrows.target[i]) * 2 + arrows.trouble[i];
    if (isPainted(spot)) return;
    (arrows.trouble[i] ? troubled : batches[arrows.kind[i]]).push(i);
    most += 1;
  });
  const withHeads = most < 4000;
  const faint = most > 600 ? "66" : most > 150 ? "aa" : "";
  for (const kind of [HEARTBEAT, SAME_WORK, ANSWERS, BULK, CALL]) {
    paint.strokeStyle = paint.fillStyle = COLOURS.arrow[kind] + faint;
    paint.setLineDash(kind >= ANSWERS ? [4, 3] : []);
    trace(paint, batches[kind], withHeads);
  }
  paint.setLineDash([]);
  paint.strokeStyle = paint.fillStyle = COLOURS.tone[VIOLATION];
  trace(paint, troubled, withHeads);
}

function ends(i) {
  const fromY = y(arrows.source[i]), toY = y(arrows.target[i]), from = x(arrows.time[i]);
  if (arrows.span[i] >= 0) return [from, fromY, x(arrows.time[i] + arrows.span[i]), toY];
  return [from, fromY, from + 14, fromY + (toY - fromY) * 0.45];
}

function trace(paint, rows, withHeads) {
  paint.beginPath();
  for (const i of rows) {
    const [fromX, fromY, toX, toY] = ends(i);
    paint.moveTo(fromX, fromY);
    paint.lineTo(toX, toY);
    if (withHeads && arrows.span[i] < 0) {
      paint.moveTo(toX - 4, toY - 4); paint.lineTo(toX + 4, toY + 4);
      paint.moveTo(toX + 4, toY - 4); paint.lineTo(toX - 4, toY + 4);
    }
  }
  paint.stroke();
  if (!withHeads) return;
  paint.beginPath();
  for (const i of rows) {
    if (arrows.span[i] < 0) continue;
    const [fromX, fromY, toX, toY] = ends(i), size = Math.hypot(toX - fromX, toY - fromY) || 1;
    const dx = (toX - fromX) / size, dy = (toY - fromY) / size, tipX = toX - dx * 4, tipY = toY - dy * 4;
    paint.moveTo(tipX, tipY);
    paint.lineTo(tipX - dx * 8 - dy * 3.5, tipY - dy * 8 + dx * 3.5);
    paint.lineTo(tipX - dx * 8 + dy * 3.5, tipY - dy * 8 - dx * 3.5);
  }
  paint.fill();
}

function sign(paint, atX, atY, tone) {
  paint.beginPath();
  if (tone === PLAIN) paint.arc(atX, atY, 3.2, 0, 7);
  else if (tone === TROUBLE) { paint.moveTo(atX, atY - 6); paint.lineTo(atX + 5.5, atY + 4); paint.lineTo(atX - 5.5, atY + 4); }
  else if (tone === VIOLATION) { paint.moveTo(atX, atY - 7); paint.lineTo(atX + 7, atY); paint.lineTo(atX, atY + 7); paint.lineTo(atX - 7, atY); }
  else { paint.moveTo(atX + 2, atY - 8); paint.lineTo(atX - 5, atY + 1); paint.lineTo(atX - 0.5, atY + 1); paint.lineTo(atX - 2, atY + 8); paint.lineTo(atX + 5, atY - 1.5); paint.lineTo(atX + 0.5, atY - 1.5); }
  paint.fill();
}

function drawMoments(paint) {
  const lanes = LANES.length;
  pass += 1;
  const byTone = [[], [], [], []];
  inWindow(moments, shown.moments, 0, (i) => {
    const spot = (Math.round(x(moments.time[i])) * lanes + moments.lane[i]) * 4 + moments.tone[i];
    if (!isPainted(spot)) byTone[moments.tone[i]].push(i);
  });
  byTone.forEach((rows, tone) => {
    paint.fillStyle = COLOURS.tone[tone];
    for (const i of rows) sign(paint, x(moments.time[i]), y(moments.lane[i]), tone);
  });
  if (byTone.reduce((sum, rows) => sum + rows.length, 0) < 1500) drawLabels(paint, [...byTone[2], ...byTone[1], ...byTone[0]]);
}

// Words below the dots, as far as there is room: faults first, then troubles.
function drawLabels(paint, rows) {
  const taken = LANES.map(() => []);
  paint.font = "10.5px system-ui, 'DejaVu Sans', sans-serif";
  paint.textAlign = "left";
  for (const i of rows) {
    const text = cut(brief(i), 34), left = x(moments.time[i]) - 3, right = left + text.length * 5.6 + 8;
    const lane = taken[moments.lane[i]];
    const free = [0, 1].slice(0, labelRows).find((row) => !lane.some((one) => one.row === row && one.left < right && left < one.right));
    if (free === undefined || left < GUTTER) continue;
    lane.push({ row: free, left, right });
    written(paint, text, left, y(moments.lane[i]) + 15 + free * LABEL, COLOURS.tone[moments.tone[i]]);
  }
}

// Words that can be read over arrows.
function written(paint, text, atX, atY, colour) {
  paint.lineWidth = 3;
  paint.lineJoin = "round";
  paint.strokeStyle = "#ffffffe6";
  paint.strokeText(text, atX, atY);
  paint.lineWidth = 1;
  paint.fillStyle = colour;
  paint.fillText(text, atX, atY);
}

function drawChosen(paint) {
  if (chosen.row < 0) return;
  const at = x(chosen.table.time[chosen.row]);
  paint.strokeStyle = "#2563eb55";
  paint.lineWidth = 1.5;
  line(paint, at, AXIS, at, height);
  paint.strokeStyle = "#2563eb";
  paint.lineWidth = 2;
  if (chosen.table === moments) {
    paint.beginPath();
    paint.arc(at, y(moments.lane[chosen.row]), 9, 0, 7);
    paint.stroke();
  } else if (chosen.table === bars) {
    const box = barBox(chosen.row);
    paint.strokeRect(box.left - 1, box.top - 1, box.width + 2, box.height + 2);
  } else {
    const [fromX, fromY, toX, toY] = ends(chosen.row);
    paint.lineWidth = 3;
    line(paint, fromX, fromY, toX, toY);
  }
  paint.lineWidth = 1;
}

// How much happens when, over the whole run, of what is shown.
function countDensity() {
  const columns = Math.max(1, overview.clientWidth || 800);
  density = { all: new Float64Array(columns), worst: new Uint8Array(columns), columns };
  const column = (time) => Math.min(columns - 1, Math.max(0, Math.floor((time / END) * (columns - 1))));
  for (const i of shown.moments) {
    const at = column(moments.time[i]);
    density.all[at] += 2;
    density.worst[at] = Math.max(density.worst[at], moments.tone[i]);
  }
  for (const i of shown.arrows) density.all[column(arrows.time[i])] += 1;
  density.most = density.all.reduce((most, one) => Math.max(most, one), 1);
  for (const found of RUN.findings) if (found.time !== null) density.worst[column(found.time)] = VIOLATION;
}

function drawOverview() {
  const paint = overview.getContext("2d"), { columns } = density, tall = overview.clientHeight;
  paint.clearRect(0, 0, columns, tall);
  for (let at = 0; at < columns; at++) {
    const size = Math.ceil(Math.sqrt(density.all[at] / density.most) * (tall - 12));
    paint.fillStyle = "#b8c2cc";
    paint.fillRect(at, tall - size, 1, size);
    if (density.worst[at] >= FAULT) {
      paint.fillStyle = COLOURS.tone[density.worst[at]];
      paint.fillRect(at - 1, 0, 3, 8);
    }
  }
  const left = (Math.max(view.begin, 0) / END) * columns, right = (Math.min(view.end, END) / END) * columns;
  paint.fillStyle = "#2563eb1c";
  paint.fillRect(left, 0, Math.max(2, right - left), tall);
  paint.strokeStyle = "#2563eb";
  paint.strokeRect(left + 0.5, 0.5, Math.max(2, right - left) - 1, tall - 1);
}
