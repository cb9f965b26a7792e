// Mouse and keys, and the beginning.

function under(px, py) {
  let best = null, least = 100;
  const near = (px1) => timeAt(px1);
  const first = firstAt(moments, shown.moments, near(px - 9));
  for (let k = first; k < shown.moments.length && moments.time[shown.moments[k]] <= near(px + 9); k++) {
    const i = shown.moments[k];
    const far = (x(moments.time[i]) - px) ** 2 + (y(moments.lane[i]) - py) ** 2 - moments.tone[i] * 4;
    if (far < least) { least = far; best = [moments, i]; }
  }
  if (best) return best;
  inWindow(arrows, shown.arrows, arrows.longest, (i) => {
    const [fromX, fromY, toX, toY] = ends(i), size = (toX - fromX) ** 2 + (toY - fromY) ** 2 || 1;
    const part = Math.max(0, Math.min(1, ((px - fromX) * (toX - fromX) + (py - fromY) * (toY - fromY)) / size));
    const far = (fromX + part * (toX - fromX) - px) ** 2 + (fromY + part * (toY - fromY) - py) ** 2;
    if (far < Math.min(least, 30)) { least = far; best = [arrows, i]; }
  });
  if (best) return best;
  inWindow(bars, shown.bars, bars.longest, (i) => {
    const box = barBox(i), isBack = bars.kind[i] <= PAUSED;
    const isIn = px >= box.left - 2 && px <= box.left + box.width + 2 && py >= box.top && py <= box.top + box.height;
    if (isIn && (!best || !isBack)) best = [bars, i];
  });
  return best;
}

let dragged = null;
canvas.addEventListener("pointerdown", (event) => {
  dragged = { px: event.offsetX, py: event.offsetY, moved: false };
  canvas.setPointerCapture(event.pointerId);
});
canvas.addEventListener("pointermove", (event) => {
  const tip = element("tip");
  if (dragged) {
    const by = event.offsetX - dragged.px, down = event.offsetY - dragged.py;
    if (Math.abs(by) + Math.abs(down) > 3 || dragged.moved) {
      dragged.moved = true;
      scrollLanes(-down);
      pan(-by / (width - GUTTER));
      dragged.px = event.offsetX;
      dragged.py = event.offsetY;
    }
    tip.hidden = true;
    return;
  }
  const found = event.offsetX > GUTTER ? under(event.offsetX, event.offsetY) : null;
  tip.hidden = !found;
  if (!found) return;
  tip.textContent = `${clock(found[0].time[found[1]])}  ${whose(...found)}: ${cut(RUN.texts[found[0].text[found[1]]], 240)}`;
  tip.style.left = Math.min(event.offsetX + 14, Math.max(0, width - 430)) + "px";
  tip.style.top = Math.min(event.offsetY + 14, height - 60) + "px";
});
canvas.addEventListener("pointerup", (event) => {
  const wasMoved = dragged && dragged.moved;
  dragged = null;
  if (wasMoved) return;
  const found = under(event.offsetX, event.offsetY);
  if (found) select(found[0], found[1], { near: true });
  else select(null, -1);
});
canvas.addEventListener("pointerleave", () => { element("tip").hidden = true; });
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) pan((event.deltaX || event.deltaY) / 1200);
  else zoom(Math.exp(Math.max(-100, Math.min(100, event.deltaY)) / 300), timeAt(Math.max(event.offsetX, GUTTER)));
}, { passive: false });

function scrollLanes(by) {
  view.scroll = Math.max(0, Math.min(view.scroll + by, Math.max(0, contentHeight - height)));
  redraw();
}

function moveOverview(event) {
  const span = view.end - view.begin;
  view.begin = (event.offsetX / overview.clientWidth) * END - span / 2;
  view.end = view.begin + span;
  clampWindow();
  redraw();
}
overview.addEventListener("pointerdown", (event) => { overview.setPointerCapture(event.pointerId); moveOverview(event); });
overview.addEventListener("pointermove", (event) => { if (event.buttons) moveOverview(event); });

function firstSubject() {
  return chosen.row >= 0 ? aboutOf(chosen.table, chosen.row)[0] : undefined;
}

const isTrouble = (i) => moments.tone[i] >= TROUBLE;
const KEYS = {
  ArrowRight: () => step(1),
  ArrowLeft: () => step(-1),
  f: () => step(1, isTrouble),
  F: () => step(-1, isTrouble),
  v: () => {
    const times = RUN.findings.map((found) => found.time).filter((time) => time !== null).sort((a, b) => a - b);
    const next = times.find((time) => time > timeOfChosen() + 1);
    if (times.length) goTo(next === undefined ? times[0] : next);
  },
  "+": () => zoom(1 / 1.5, chosen.row >= 0 ? timeOfChosen() : (view.begin + view.end) / 2),
  "=": () => KEYS["+"](),
  "-": () => zoom(1.5, (view.begin + view.end) / 2),
  0: showAll,
  a: () => pan(-0.2),
  d: () => pan(0.2),
  w: () => scrollLanes(-60),
  s: () => scrollLanes(60),
  Home: () => pan(-1e9),
  End: () => pan(1e9),
  Enter: () => { const subject = firstSubject(); if (subject !== undefined) only({ subject }); },
  c: () => {
    const cause = chosen.row >= 0 && chosen.table.cause ? chosen.table.cause[chosen.row] : -1;
    if (cause >= 0 && RUN.texts[cause]) only({ cause });
  },
  h: () => toggle("arrows", HEARTBEAT),
  "/": () => element("search").focus(),
  "?": () => element("keys").showModal(),
  Escape: () => only(),
};
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || element("keys").open) return;
  if (event.target.matches("input, select")) {
    if (event.key === "Escape") { event.target.blur(); only(); }
    return;
  }
  const act = KEYS[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});

let searching = 0;
element("search").addEventListener("input", (event) => {
  clearTimeout(searching);
  const text = event.target.value.trim();
  searching = setTimeout(() => only({ text }), 150);
});
element("earlier").onclick = () => step(-1);
element("later").onclick = () => step(1);
element("in").onclick = KEYS["+"];
element("out").onclick = KEYS["-"];
element("all").onclick = showAll;
element("help").onclick = KEYS["?"];
element("everything").onclick = () => only();

element("title").textContent = RUN.title;
element("facts").textContent = RUN.facts.join(" · ");
element("facts").title = RUN.facts.join("\n");
fillLegend();
fillSubjects();
tellFindings();
view.begin = -END * 0.02;
view.end = END * 1.02;
choose();
resize();
tellChosen();
tellStory();
new ResizeObserver(resize).observe(element("stage"));
canvas.focus();

// For tests, and for who wants to know how fast it is.
window.timeline = {
  view, chosen, shown, moments, arrows, bars, run: RUN, step, zoom, only, drawNow, under, x, y,
  loadMilliseconds: performance.now() - loadingBegan,
  frames,
};
