// The column at the right: what judges object to, what is chosen, and the story as text.

const LONGEST_STORY = 400;
const element = (id) => document.getElementById(id);

function make(tag, text = "", attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made[name] = value;
  return made;
}

function tellFindings() {
  if (!RUN.findings.length) return;
  element("findings").append(make("h2", RUN.findings.length === 1 ? "A judge objects" : `Judges object: ${RUN.findings.length} times`));
  for (const found of RUN.findings) {
    element("findings").append(make("button", found.text, { onclick: () => found.time !== null && goTo(found.time) }));
  }
}

function goTo(time) {
  const span = Math.min(view.end - view.begin, END / 8);
  view.begin = time - span / 2;
  view.end = time + span / 2;
  clampWindow();
  for (let i = 0; i < bars.count; i++) {
    if (bars.tone[i] === VIOLATION && Math.abs(bars.time[i] + bars.span[i] - time) < 2) return select(bars, i, { near: true });
  }
  const place = Math.max(0, firstAt(moments, shown.moments, time + 1) - 1);
  if (shown.moments.length) select(moments, shown.moments[Math.min(place, shown.moments.length - 1)], { near: true });
}

function whose(table, i) {
  return table === arrows ? `${LANES[arrows.source[i]]} → ${LANES[arrows.target[i]]}` : LANES[table.lane[i]];
}

function lasted(microseconds) {
  if (microseconds < 1000) return `${microseconds.toFixed(0)} µs`;
  return microseconds < 1e6 ? `${(microseconds / 1000).toFixed(1)} ms` : `${(microseconds / 1e6).toFixed(2)} s`;
}

function tellChosen() {
  const box = element("chosen"), { table, row } = chosen;
  box.replaceChildren();
  if (row < 0) {
    box.append(make("span", "Click a dot, a bar or an arrow; step with ◀ ▶ or the arrow keys.", { className: "when" }));
    return;
  }
  const span = table === moments ? "" : table.span[row] >= 0 ? `, ${lasted(table.span[row])}` : "";
  box.append(make("div", `${clock(table.time[row])}${span} · ${whose(table, row)}`, { className: "when" }));
  const tone = table.tone ? table.tone[row] : table.trouble[row] ? VIOLATION : PLAIN;
  box.append(make("div", RUN.texts[table.text[row]], { className: `what tone${tone}` }));
  if (table.detail && table.detail[row] > 0) box.append(make("div", RUN.texts[table.detail[row]], { className: "detail" }));
  for (const subject of aboutOf(table, row)) {
    box.append(make("button", RUN.subjects[subject], { className: "chip", title: "Only its story", onclick: () => only({ subject }) }));
  }
  if (table.cause && RUN.texts[table.cause[row]]) {
    const cause = table.cause[row];
    box.append(make("button", `cause ${RUN.texts[cause]}`, { className: "chip", title: "Only this piece of work", onclick: () => only({ cause }) }));
  }
  box.append(make("div", atThatTime(table.time[row]), { id: "now" }));
}

// What holds at a moment: who is down or stands still, and how many leases there are.
function atThatTime(time) {
  const down = [], leases = [];
  for (let i = 0; i < bars.count && bars.time[i] <= time; i++) {
    if (bars.time[i] + bars.span[i] <= time) continue;
    if (bars.kind[i] <= PAUSED) down.push(`${LANES[bars.lane[i]]}${bars.kind[i] === PAUSED ? " (stands still)" : ""}`);
    if (bars.kind[i] !== LEASE) continue;
    const handle = /chunk (\S+), version (\d+)/.exec(RUN.texts[bars.text[i]]);
    leases.push(`${LANES[bars.lane[i]]}: ${handle[1]} v${handle[2]}`);
  }
  const few = leases.length > 5 ? `${leases.slice(0, 5).join(", ")} and ${leases.length - 5} more` : leases.join(", ");
  return `At that time: ${down.length ? `down: ${down.join(", ")}` : "every node runs"}; leases: ${few || "none"}.`;
}

function tellStory() {
  const list = element("story"), order = shown.steps;
  const place = firstAt(moments, order, chosen.row >= 0 ? chosen.table.time[chosen.row] : Math.max(0, view.begin));
  const from = order.length <= LONGEST_STORY ? 0 : Math.max(0, Math.min(place - LONGEST_STORY / 4, order.length - LONGEST_STORY));
  const rows = [];
  if (from > 0) rows.push(make("li", `… ${from} events before`));
  for (const i of order.slice(from, from + LONGEST_STORY)) {
    const row = make("li");
    row.append(make("time", clock(moments.time[i])), make("b", LANES[moments.lane[i]]));
    row.append(make("span", RUN.texts[moments.text[i]], { className: `tone${moments.tone[i]}` }));
    row.onclick = () => select(moments, i);
    if (chosen.table === moments && chosen.row === i) row.className = "chosen";
    rows.push(row);
  }
  if (from + LONGEST_STORY < order.length) rows.push(make("li", `… ${order.length - from - LONGEST_STORY} events after`));
  if (!order.length) rows.push(make("li", "Nothing fits."));
  list.replaceChildren(...rows);
  const marked = list.querySelector(".chosen") || (chosen.row >= 0 ? list.children[place - from] : null);
  if (marked) list.scrollTop = marked.offsetTop - list.offsetTop - list.clientHeight / 3;
}

function fillSubjects() {
  const counts = new Int32Array(RUN.subjects.length);
  for (const one of moments.about.flat) counts[one] += 1;
  const options = [make("option", "(everything)", { value: "-1" })];
  const own = Int32Array.from(counts);
  for (const [whole, found] of Object.entries(RUN.parts)) for (const part of family(Number(whole))) if (part !== Number(whole)) counts[whole] += own[part];
  const order = RUN.subjects.map((_, i) => i).filter((i) => counts[i]);
  const { compare } = new Intl.Collator("en", { numeric: true });
  order.sort((one, other) => compare(RUN.subjects[one], RUN.subjects[other]));
  const MOST = 3000; // More than that make a list slow, and nobody scrolls so far.
  for (const i of order.slice(0, MOST)) options.push(make("option", `${RUN.subjects[i]} (${counts[i]})`, { value: String(i) }));
  if (order.length > MOST) {
    options.push(make("option", `… ${order.length - MOST} more: search, then click one in the lanes`, { disabled: true }));
  }
  element("subject").replaceChildren(...options);
  element("subject").onchange = (event) => only({ subject: Number(event.target.value) });
  element("subjects").hidden = order.length === 0;
}

// Signs are shown as they are drawn; those that can be hidden are buttons.
function fillLegend() {
  const entries = [
    [(p) => { p.fillStyle = COLOURS.tone[PLAIN]; sign(p, 11, 7, PLAIN); }, "event"],
    [(p) => { p.fillStyle = COLOURS.tone[TROUBLE]; sign(p, 11, 8, TROUBLE); }, "trouble"],
    [(p) => { p.fillStyle = COLOURS.tone[FAULT]; sign(p, 11, 7, FAULT); }, "fault, made on purpose"],
  ];
  const kinds = { arrows: ["message", "data", "heartbeat", "one answers the other", "the same work"], bars: ["down", "stands still", "lease", "what a client asked for", "fault that lasts", "tablet server's life", "tablet that is served"] };
  for (const [what, table] of [["bars", bars], ["arrows", arrows]]) {
    kinds[what].forEach((text, kind) => {
      if (table.kind.includes(kind)) entries.push([(p) => (what === "bars" ? swatch(p, kind) : dash(p, COLOURS.arrow[kind], kind >= ANSWERS)), text, what, kind]);
    });
  }
  if (arrows.trouble.includes(1)) entries.push([(p) => dash(p, COLOURS.tone[VIOLATION], false), "lost, or an error"]);
  for (const [paintSign, text, what, kind] of entries) {
    const sample = make("canvas", "", { width: 22, height: 14 });
    paintSign(sample.getContext("2d"));
    const entry = make(what ? "button" : "span");
    entry.append(sample, " " + text);
    element("legend").append(entry);
    if (!what) continue;
    entry.dataset.kind = `${what} ${kind}`;
    entry.setAttribute("aria-pressed", String(wanted[what][kind]));
    entry.title = "Show or hide";
    entry.onclick = () => toggle(what, kind);
  }
}

function toggle(what, kind) {
  wanted[what][kind] = !wanted[what][kind];
  const entry = document.querySelector(`[data-kind="${what} ${kind}"]`);
  if (entry) entry.setAttribute("aria-pressed", String(wanted[what][kind]));
  choose();
  redraw();
}

function swatch(paint, kind) {
  paint.fillStyle = COLOURS.barFill[kind];
  paint.strokeStyle = COLOURS.bar[kind];
  paint.fillRect(1, 2, 20, 10);
  if (kind <= PAUSED) hatch(paint, { left: 1, top: 2, width: 20, height: 10 }, COLOURS.bar[kind]);
  paint.strokeRect(1.5, 2.5, 19, 9);
}

function dash(paint, colour, isDashed) {
  paint.strokeStyle = paint.fillStyle = colour;
  paint.setLineDash(isDashed ? [4, 3] : []);
  line(paint, 1, 7, 16, 7);
  paint.beginPath();
  paint.moveTo(21, 7); paint.lineTo(14, 3.5); paint.lineTo(14, 10.5);
  paint.fill();
}
