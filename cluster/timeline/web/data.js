// The run, as page.py wrote it: columns of numbers, and texts by their numbers. Times are microseconds since its begin.

const loadingBegan = performance.now();
const RUN = JSON.parse(document.getElementById("data").textContent);
const LANES = RUN.lanes;
const END = Math.max(RUN.end, 1);
const PLAIN = 0, TROUBLE = 1, FAULT = 2, VIOLATION = 3;
const DOWN = 0, PAUSED = 1, LEASE = 2, OPERATION = 3, FAULT_BAR = 4, LIFE = 5, TABLET = 6;
const CALL = 0, BULK = 1, HEARTBEAT = 2, ANSWERS = 3, SAME_WORK = 4;

function summed(steps) {
  const times = new Float64Array(steps.length);
  for (let i = 0, time = 0; i < steps.length; i++) times[i] = time += steps[i];
  return times;
}

// `about` is a list of lists, one after the other: those of row i stand from at[i] to at[i + 1].
function lists(counts, flat) {
  const at = new Int32Array(counts.length + 1);
  for (let i = 0; i < counts.length; i++) at[i + 1] = at[i] + counts[i];
  return { at, flat: Int32Array.from(flat) };
}

const moments = {
  count: RUN.moments.time.length,
  time: summed(RUN.moments.time),
  lane: Int32Array.from(RUN.moments.lane),
  tone: Uint8Array.from(RUN.moments.tone),
  kind: Int32Array.from(RUN.moments.kind),
  text: Int32Array.from(RUN.moments.text),
  cause: Int32Array.from(RUN.moments.cause),
  about: lists(RUN.moments.abouts, RUN.moments.about),
};
const arrows = {
  count: RUN.arrows.time.length,
  time: summed(RUN.arrows.time),
  span: Float64Array.from(RUN.arrows.span), // -1: it never arrives
  source: Int32Array.from(RUN.arrows.source),
  target: Int32Array.from(RUN.arrows.target),
  kind: Uint8Array.from(RUN.arrows.kind),
  trouble: Uint8Array.from(RUN.arrows.trouble),
  text: Int32Array.from(RUN.arrows.text),
  detail: Int32Array.from(RUN.arrows.detail),
  about: lists(RUN.arrows.abouts, RUN.arrows.about),
};
const bars = {
  count: RUN.bars.time.length,
  time: summed(RUN.bars.time),
  span: Float64Array.from(RUN.bars.span),
  lane: Int32Array.from(RUN.bars.lane),
  kind: Uint8Array.from(RUN.bars.kind),
  tone: Uint8Array.from(RUN.bars.tone),
  open: Uint8Array.from(RUN.bars.open),
  text: Int32Array.from(RUN.bars.text),
  cause: Int32Array.from(RUN.bars.cause),
  about: lists(RUN.bars.abouts, RUN.bars.about),
  row: new Int32Array(RUN.bars.time.length),
};

function aboutOf(table, i) {
  return Array.from(table.about.flat.subarray(table.about.at[i], table.about.at[i + 1]));
}

function longest(table) {
  let most = 0;
  for (let i = 0; i < table.count; i++) if (table.span[i] > most) most = table.span[i];
  return most;
}
arrows.longest = longest(arrows);
bars.longest = longest(bars);

// Bars of one lane that overlap stand in rows above one another; what no row has room for shares the last one.
const MOST_ROWS = 6;
const rowsOfLane = new Int32Array(LANES.length);
(function stack() {
  const busyUntil = LANES.map(() => []);
  for (let i = 0; i < bars.count; i++) {
    if (bars.kind[i] <= PAUSED) continue;
    const rows = busyUntil[bars.lane[i]];
    let row = rows.findIndex((until) => until <= bars.time[i]);
    if (row < 0) row = rows.length < MOST_ROWS ? rows.length : MOST_ROWS - 1;
    rows[row] = Math.max(rows[row] || 0, bars.time[i] + bars.span[i]);
    bars.row[i] = row;
    rowsOfLane[bars.lane[i]] = Math.max(rowsOfLane[bars.lane[i]], row + 1);
  }
})();

// The first place in `order` (row numbers, sorted by time) at or after `time`.
function firstAt(table, order, time) {
  let low = 0, high = order.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (table.time[order[middle]] < time) low = middle + 1; else high = middle;
  }
  return low;
}

function clock(time) {
  const digits = view.end - view.begin < 20000 ? 6 : 3;
  if (RUN.virtual) return (time / 1e6).toFixed(digits) + " s";
  const at = new Date((RUN.begin + time) / 1000);
  const fraction = ((((RUN.begin + time) % 1e6) + 1e6) % 1e6 / 1e6).toFixed(digits).slice(1);
  return at.toTimeString().slice(0, 8) + fraction;
}

// "LeaseGranted" of chunk 0x2a: "lease granted 0x2a".
function brief(i) {
  if (moments.tone[i] === FAULT) return RUN.texts[moments.text[i]].replace(/^fault \d+ begins: (\w+)\(.*\) at (.*?) \(.*$/, "$1 $2");
  const words = RUN.texts[moments.kind[i]].replace(/([a-z])([A-Z])/g, "$1 $2").toLowerCase();
  const first = moments.about.at[i] < moments.about.at[i + 1] ? RUN.subjects[moments.about.flat[moments.about.at[i]]] : "";
  return words + (first ? " " + first.replace(/^(chunk|file|tablet) /, "") : "");
}
