// What is looked at: the window of time, what is chosen, and which rows fit what is asked for.

const view = { begin: 0, end: END, scroll: 0 };
const wanted = { subject: -1, cause: -1, text: "", arrows: [true, true, false, true, true], bars: [true, true, true, true, true, true, true] };
const chosen = { table: null, row: -1 };
const shown = { moments: [], arrows: [], bars: [], steps: [] };

function family(subject) {
  const found = new Set([subject]);
  for (const one of found) for (const part of RUN.parts[one] || []) found.add(part);
  return found;
}

function fits(table, i, subjects, text) {
  if (subjects) {
    let found = false;
    for (let k = table.about.at[i]; k < table.about.at[i + 1] && !found; k++) found = subjects.has(table.about.flat[k]);
    if (!found) return false;
  }
  if (wanted.cause >= 0 && (!table.cause || table.cause[i] !== wanted.cause)) return false;
  if (!text) return true;
  const names = table.lane ? LANES[table.lane[i]] : LANES[table.source[i]] + " " + LANES[table.target[i]];
  return (names + " " + RUN.texts[table.text[i]]).toLowerCase().includes(text);
}

// Choose the rows that are drawn. What faults did to nodes stays in every story: without it no story makes sense.
function choose() {
  const subjects = wanted.subject >= 0 ? family(wanted.subject) : null;
  const text = wanted.text.toLowerCase();
  const everything = !subjects && !text && wanted.cause < 0;
  const rows = (table, keep) => {
    const found = [];
    for (let i = 0; i < table.count; i++) if (keep(i)) found.push(i);
    return Int32Array.from(found);
  };
  shown.moments = rows(moments, (i) => everything || moments.tone[i] === FAULT || fits(moments, i, subjects, text));
  shown.steps = everything ? shown.moments : rows(moments, (i) => fits(moments, i, subjects, text));
  shown.arrows = rows(arrows, (i) => wanted.arrows[arrows.kind[i]] && (everything || fits(arrows, i, subjects, text)));
  shown.bars = rows(bars, (i) => {
    const kind = bars.kind[i];
    return wanted.bars[kind] && (everything || kind <= PAUSED || kind === FAULT_BAR || fits(bars, i, subjects, text));
  });
  countDensity();
}

function clampWindow() {
  const span = Math.min(Math.max(view.end - view.begin, 20), END * 1.04);
  const margin = span * 0.02;
  let begin = Math.min(Math.max(view.begin, -margin), END + margin - span);
  if (span >= END * 1.04) begin = -END * 0.02;
  view.begin = begin;
  view.end = begin + span;
}

function zoom(factor, at) {
  view.begin = at - (at - view.begin) * factor;
  view.end = at + (view.end - at) * factor;
  clampWindow();
  redraw();
}

function pan(part) {
  const by = (view.end - view.begin) * part;
  view.begin += by;
  view.end += by;
  clampWindow();
  redraw();
}

function showAll() {
  view.begin = -END * 0.02;
  view.end = END * 1.02;
  redraw();
}

// Bring a moment into the window without a leap where it is there already.
function reveal(begin, end) {
  const span = view.end - view.begin;
  if (begin < view.begin + span * 0.08 || end > view.end - span * 0.08) {
    view.begin = (begin + end - span) / 2;
    view.end = view.begin + span;
    clampWindow();
  }
}

function select(table, row, { near = false } = {}) {
  chosen.table = table;
  chosen.row = row;
  if (row >= 0 && !near) {
    const end = table === moments ? table.time[row] : table.time[row] + Math.min(Math.max(table.span[row], 0), (view.end - view.begin) / 3);
    reveal(table.time[row], end);
  }
  tellChosen();
  tellStory();
  redraw();
}

function timeOfChosen(without = view.begin) {
  return chosen.row >= 0 ? chosen.table.time[chosen.row] : without;
}

// Select the next moment after what is chosen (direction 1) or the one before (-1), of those that `keep` lets through.
function step(direction, keep = () => true) {
  const order = shown.steps;
  let place = firstAt(moments, order, timeOfChosen(direction > 0 ? view.begin : view.end));
  if (chosen.table === moments && chosen.row >= 0) {
    place = order.indexOf(chosen.row, Math.max(0, place));
    if (place < 0) place = firstAt(moments, order, timeOfChosen());
    else place += direction;
  } else if (direction < 0) place -= 1;
  while (place >= 0 && place < order.length && !keep(order[place])) place += direction;
  if (place >= 0 && place < order.length) select(moments, order[place]);
}

function only({ subject = -1, cause = -1, text = "" } = {}) {
  wanted.subject = subject;
  wanted.cause = cause;
  wanted.text = text;
  choose();
  document.getElementById("search").value = text;
  document.getElementById("subject").value = String(subject);
  document.getElementById("everything").hidden = subject < 0 && cause < 0 && !text;
  tellStory();
  redraw();
}
