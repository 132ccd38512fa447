/* The page around the renderer: turning, zooming, controls. `window.gramhd` is for scripts and tests. */

const SOFT = 0.14; // radians beyond its range that the head gives way, ever more stiffly
const TURN = 1.9; // radians for a drag across the whole picture
const FRICTION = 3.2; // per second: how fast a thrown head comes to rest
const SPRING = 11; // per second: how fast it comes back into its range, without overshooting
const APART = { pitch: 0.35, yaw: 1.15 }; // radians to each side when surfaces are pulled apart
const SIDEWAYS = { pitch: 0.16, yaw: -0.62 }; // from where pulled surfaces are best seen
const ORBIT = { pitch: 0.1, yaw: 0.3, seconds: 9 }; // of the orbit: half height, half width, one round
const ZOOM = [0.8, 6];
const MODES = ["colour", "depth", "opacity"];
const SLOW = 42, FAST = 22; // milliseconds per frame: above, moving pictures get coarser, below, finer

const page = JSON.parse(document.getElementById("page").textContent);
const $ = (id) => document.getElementById(id);
const canvas = $("picture");
const clamp = (x, low, high) => Math.min(high, Math.max(low, x));
const still = matchMedia("(prefers-reduced-motion: reduce)");

const view = { pitch: page.pitch.mean, yaw: page.yaw.mean, zoom: 1, pan: [0, 0], apart: 0 };
const goal = { zoom: 1, pan: [0, 0], apart: 0, pitch: null, yaw: null }; // what the view moves to; null: nothing asks for it
const speed = { pitch: 0, yaw: 0 };
const options = { mode: 0, shown: [], background: true, ink: [0, 0, 0] };
let renderer = null, scene = null, current = -1, auto = false, phase = 0, eased = 0;
let drawn = false, frame = 0, before = 0, coarse = 1, moving = false;

/* ---- the range of angles: a soft end, not a wall ---- */

function range(axis) {
  const { range: [low, high], mean } = page[axis];
  return [mix(low, Math.min(low, mean - APART[axis]), view.apart), mix(high, Math.max(high, mean + APART[axis]), view.apart)];
}

/* Where a drag to `x` shows the head: beyond [low, high] it follows less and less, by SOFT at the most. */
function softened(x, [low, high]) {
  const end = clamp(x, low, high), over = Math.abs(x - end);
  return end + Math.sign(x - end) * SOFT * (1 - 1 / (over / SOFT + 1));
}

function hardened(x, [low, high]) {
  const end = clamp(x, low, high), over = Math.min(Math.abs(x - end), 0.999 * SOFT);
  return end + Math.sign(x - end) * SOFT * (1 / (1 - over / SOFT) - 1);
}

/* ---- time ---- */

function tick(now) {
  frame = 0;
  const seconds = clamp((now - before) / 1000, 0.001, 0.05);
  if (moving) adapt(now - before);
  before = now;
  moving = advance(seconds);
  draw();
  if (moving) request();
}

function request() {
  if (!frame && scene) {
    if (!moving) before = performance.now();
    frame = requestAnimationFrame(tick);
  }
}

/* Slow machines draw moving pictures coarser; a picture at rest is always as fine as the screen. */
function adapt(milliseconds) {
  if (milliseconds > SLOW) coarse = Math.max(0.4, coarse * 0.88);
  else if (milliseconds < FAST) coarse = Math.min(1, coarse * 1.04);
}

/* One step of everything that moves; false when all is at rest. */
function advance(seconds) {
  let busy = pointers.size > 0;
  const near = 1 - Math.exp(-SPRING * seconds);
  for (const name of ["zoom", "apart"]) {
    const left = goal[name] - view[name];
    view[name] = Math.abs(left) < 1e-3 ? goal[name] : view[name] + left * near;
    busy ||= view[name] !== goal[name];
  }
  for (const i of [0, 1]) {
    const left = goal.pan[i] - view.pan[i];
    view.pan[i] = Math.abs(left) < 1e-4 ? goal.pan[i] : view.pan[i] + left * near;
    busy ||= view.pan[i] !== goal.pan[i];
  }
  if (auto) {
    eased = Math.min(1, eased + seconds / 1.2);
    phase += (seconds * 2 * Math.PI * smooth(eased)) / ORBIT.seconds;
    const place = { pitch: page.pitch.mean + ORBIT.pitch * Math.cos(phase), yaw: page.yaw.mean + ORBIT.yaw * Math.sin(phase) };
    if (view.apart > 0.01) place.yaw += view.apart * (SIDEWAYS.yaw + 0.5 * ORBIT.yaw * Math.sin(phase));
    for (const axis of ["pitch", "yaw"]) view[axis] = mix(view[axis], place[axis], near * smooth(eased));
    return true;
  }
  if (pointers.size > 0) return busy;
  for (const axis of ["pitch", "yaw"]) busy = settle(axis, seconds) || busy;
  return busy;
}

/* An angle nobody holds: it goes to its goal, or back into its range, or runs out. */
function settle(axis, seconds) {
  const inside = clamp(view[axis], ...range(axis));
  const to = goal[axis] ?? (inside === view[axis] ? null : inside);
  if (to !== null) { // a critically damped spring
    const rate = goal[axis] === null ? SPRING : SPRING * 0.6, off = view[axis] - to;
    const push = (speed[axis] + rate * off) * seconds, decay = Math.exp(-rate * seconds);
    view[axis] = to + (off + push) * decay;
    speed[axis] = (speed[axis] - rate * push) * decay;
  } else {
    view[axis] += speed[axis] * seconds;
    speed[axis] *= Math.exp(-FRICTION * seconds);
  }
  view[axis] = clamp(view[axis], range(axis)[0] - SOFT, range(axis)[1] + SOFT);
  if (Math.abs(speed[axis]) > 2e-3 || (to !== null && Math.abs(view[axis] - to) > 5e-4)) return true;
  if (to !== null) view[axis] = to;
  speed[axis] = 0;
  goal[axis] = null;
  return false;
}

function draw() {
  if (!scene || renderer.gl.isContextLost()) return;
  const fine = moving && !pointersRest() ? coarse : 1;
  const size = Math.max(16, Math.round(canvas.clientWidth * Math.min(devicePixelRatio || 1, 2) * fine));
  if (canvas.width !== size) canvas.width = canvas.height = size;
  renderer.draw(scene, view, options, size);
  drawn = true;
}

/* ---- pointers, wheel, keys ---- */

const pointers = new Map(); // id -> { x, y }
let held = null; // what the fingers took hold of: raw angles, middle, spread, the last moves

const pointersRest = () => pointers.size > 0 && held !== null && performance.now() - held.time > 250;

function grip() {
  const points = [...pointers.values()];
  const middle = ["x", "y"].map((axis) => points.reduce((sum, point) => sum + point[axis], 0) / points.length);
  const spread = points.length > 1 ? Math.hypot(points[0].x - points[1].x, points[0].y - points[1].y) : 0;
  return { middle, spread };
}

function hold() {
  held = pointers.size ? {
    ...grip(), pitch: hardened(view.pitch, range("pitch")), yaw: hardened(view.yaw, range("yaw")), time: performance.now(),
  } : null;
}

/* A point of the screen as [x, y] in -1 to 1 over the picture, y up. */
function onPicture(x, y) {
  const box = canvas.getBoundingClientRect();
  return [((x - box.left) / box.width) * 2 - 1, 1 - ((y - box.top) / box.height) * 2];
}

/* Zoom by a factor with the place under `at` staying where it is. */
function zoomBy(factor, at) {
  const old = goal.zoom;
  goal.zoom = clamp(old * factor, ...ZOOM);
  const free = Math.max(0, goal.zoom - 1);
  goal.pan = goal.pan.map((pan, i) => clamp(at[i] - ((at[i] - pan) * goal.zoom) / old, -free, free));
  if (still.matches) Object.assign(view, { zoom: goal.zoom, pan: [...goal.pan] });
  touched();
}

canvas.addEventListener("pointerdown", (event) => {
  if (event.pointerType === "mouse" && event.button !== 0) return;
  canvas.setPointerCapture(event.pointerId);
  pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  Object.assign(speed, { pitch: 0, yaw: 0 });
  Object.assign(goal, { pitch: null, yaw: null });
  setAuto(false);
  hold();
  touched();
});

canvas.addEventListener("pointermove", (event) => {
  if (!pointers.has(event.pointerId) || !held) return;
  pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  const { middle, spread } = grip(), now = performance.now();
  const across = TURN / canvas.clientWidth / Math.max(1, view.zoom);
  const turn = { yaw: -(middle[0] - held.middle[0]) * across, pitch: (middle[1] - held.middle[1]) * across };
  const seconds = Math.max(now - held.time, 4) / 1000;
  for (const axis of ["pitch", "yaw"]) {
    held[axis] += turn[axis];
    const old = view[axis];
    view[axis] = softened(held[axis], range(axis));
    speed[axis] = clamp(mix(speed[axis], (view[axis] - old) / seconds, Math.min(1, seconds / 0.04)), -6, 6);
  }
  if (spread && held.spread) {
    zoomBy(spread / held.spread, onPicture(...middle));
    Object.assign(view, { zoom: goal.zoom, pan: [...goal.pan] });
  }
  Object.assign(held, { middle, spread, time: now });
  request();
});

for (const kind of ["pointerup", "pointercancel", "lostpointercapture"]) {
  canvas.addEventListener(kind, (event) => {
    if (!pointers.delete(event.pointerId)) return;
    if (!held || performance.now() - held.time > 80 || still.matches) Object.assign(speed, { pitch: 0, yaw: 0 });
    hold();
    request();
  });
}

canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  const lines = [1, 16, canvas.clientHeight][event.deltaMode];
  const step = clamp(event.deltaY * lines, -120, 120) * (event.ctrlKey ? 0.01 : 0.002);
  zoomBy(Math.exp(-step), onPicture(event.clientX, event.clientY));
}, { passive: false });

canvas.addEventListener("dblclick", () => reset());

function turnBy(pitch, yaw) {
  setAuto(false);
  for (const [axis, angle] of [["pitch", pitch], ["yaw", yaw]]) {
    goal[axis] = clamp((goal[axis] ?? view[axis]) + angle, ...range(axis));
  }
  touched();
}

const KEYS = {
  ArrowLeft: () => turnBy(0, 0.1), ArrowRight: () => turnBy(0, -0.1), ArrowUp: () => turnBy(-0.08, 0), ArrowDown: () => turnBy(0.08, 0),
  "+": () => zoomBy(1.25, [0, 0]), "=": () => zoomBy(1.25, [0, 0]), "-": () => zoomBy(0.8, [0, 0]),
  0: () => reset(), r: () => reset(), Home: () => reset(), " ": () => setAuto(!auto), s: () => save(),
  c: () => setMode("colour"), d: () => setMode("depth"), o: () => setMode("opacity"), b: () => setBackground(!options.background),
  e: () => setApart(goal.apart > 0 ? 0 : 1),
  "[": () => show((current + page.names.length - 1) % page.names.length), "]": () => show((current + 1) % page.names.length),
};

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !scene) return;
  const control = event.target.closest("button, input");
  const command = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!command || (control && (event.key === " " || event.key.startsWith("Arrow") || event.key === "Home"))) return;
  event.preventDefault();
  command();
});

/* ---- controls ---- */

function touched() {
  $("hint").classList.add("gone");
  request();
}

function setAuto(on) {
  if (on !== auto) eased = 0;
  if (on && !auto) phase = Math.atan2((view.yaw - page.yaw.mean) / ORBIT.yaw, (view.pitch - page.pitch.mean) / ORBIT.pitch || 1e-3);
  auto = on;
  $("auto").setAttribute("aria-pressed", String(on));
  if (on) Object.assign(goal, { pitch: null, yaw: null });
  request();
}

function setMode(name) {
  options.mode = MODES.indexOf(name);
  document.querySelector(`#modes [value="${name}"]`).checked = true;
  request();
}

/* Pull the surfaces apart (0 to 1); the first pull also turns the head so that it can be seen. */
function setApart(amount) {
  if (goal.apart === 0 && amount > 0 && !auto && Math.abs(view.yaw - page.yaw.mean) < 0.35) {
    Object.assign(goal, { pitch: page.pitch.mean + SIDEWAYS.pitch, yaw: page.yaw.mean + SIDEWAYS.yaw });
  }
  if (goal.apart > 0 && amount === 0) Object.assign(goal, { pitch: page.pitch.mean, yaw: page.yaw.mean });
  goal.apart = amount;
  if (still.matches) view.apart = amount;
  $("apart").value = String(Math.round(100 * amount));
  touched();
}

function setSurface(index, on) {
  options.shown[index] = on;
  const chip = $("surfaces").children[index];
  if (chip) chip.setAttribute("aria-pressed", String(on));
  $("all").hidden = options.shown.every(Boolean);
  request();
}

function setBackground(on) {
  options.background = on;
  $("background").checked = on;
  request();
}

function reset() {
  setAuto(false);
  Object.assign(goal, { pitch: page.pitch.mean, yaw: page.yaw.mean, zoom: 1, pan: [0, 0], apart: 0 });
  $("apart").value = "0";
  options.shown.forEach((_, index) => setSurface(index, true));
  setBackground(true);
  touched();
}

/* The picture of the screen as PNG: a promise of a Blob. */
function screenshot() {
  const before = moving;
  moving = false;
  draw();
  moving = before;
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

async function save() {
  const blob = await screenshot();
  const link = document.createElement("a");
  link.download = `${page.names[current].toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "") || "head"}.png`;
  link.href = URL.createObjectURL(blob);
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

function makeSurfaceChips(count) {
  const bar = $("surfaces");
  bar.replaceChildren(...Array.from({ length: count }, (_, index) => {
    const chip = document.createElement("button");
    chip.type = "button";
    chip.tabIndex = index ? -1 : 0;
    chip.setAttribute("aria-label", `Surface ${index + 1}`);
    chip.setAttribute("aria-pressed", "true");
    return chip;
  }));
  options.shown = Array(count).fill(true);
  $("all").hidden = true;
}

/* Chips can be painted over: whatever the pointer passes becomes what the first one became. */
function listenToChips() {
  const bar = $("surfaces");
  let paint = null;
  const chipAt = (event) => [...bar.children].indexOf(document.elementFromPoint(event.clientX, event.clientY)?.closest("#surfaces button"));
  bar.addEventListener("pointerdown", (event) => {
    const index = chipAt(event);
    if (index < 0 || event.button !== 0) return;
    paint = !options.shown[index];
    bar.setPointerCapture(event.pointerId);
    setSurface(index, paint);
  });
  bar.addEventListener("pointermove", (event) => {
    const index = chipAt(event);
    $("pointed").textContent = index < 0 ? "" : `${index + 1} of ${bar.children.length}`;
    if (paint !== null && index >= 0) setSurface(index, paint);
  });
  bar.addEventListener("pointerleave", () => { $("pointed").textContent = ""; });
  for (const kind of ["pointerup", "pointercancel"]) bar.addEventListener(kind, () => { paint = null; });
  bar.addEventListener("click", (event) => { // from the keyboard; pointers have been served
    if (event.detail === 0) setSurface([...bar.children].indexOf(event.target), event.target.getAttribute("aria-pressed") !== "true");
  });
  bar.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const chips = [...bar.children], next = chips[clamp(chips.indexOf(event.target) + step, 0, chips.length - 1)];
    for (const chip of chips) chip.tabIndex = chip === next ? 0 : -1;
    next.focus();
  });
}

function makeFilm() {
  const film = $("film");
  document.querySelector("main").classList.toggle("several", page.names.length > 1);
  film.hidden = page.names.length < 2;
  if (film.hidden) return;
  page.names.forEach((name, index) => {
    const frame = document.createElement("button"), image = document.createElement("img");
    Object.assign(frame, { type: "button", title: name });
    frame.setAttribute("role", "radio");
    frame.setAttribute("aria-label", name);
    image.src = `data:image/webp;base64,${$(`thumbnail-${index}`).textContent}`;
    image.alt = "";
    image.draggable = false;
    frame.append(image);
    frame.addEventListener("click", () => show(index));
    film.append(frame);
  });
  film.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const next = (current + step + page.names.length) % page.names.length;
    show(next);
    film.children[next].focus();
  });
}

const identity = (index) => JSON.parse($(`identity-${index}`).textContent);

/* Show an identity from the same place; a promise. */
async function show(index) {
  if (index === current) return;
  current = index;
  $("name").textContent = page.names[index];
  [...$("film").children].forEach((frame, i) => {
    frame.setAttribute("aria-checked", String(i === index));
    frame.tabIndex = i === index ? 0 : -1;
    if (i === index) frame.scrollIntoView({ block: "nearest", inline: "nearest" });
  });
  canvas.classList.add("waiting");
  try {
    const found = await renderer.scene(index, () => identity(index));
    if (index !== current) return;
    scene = found;
  } finally {
    if (index === current) canvas.classList.remove("waiting");
  }
  if (options.shown.length !== scene.surfaces.length) makeSurfaceChips(scene.surfaces.length);
  $("about").textContent = `${scene.surfaces.length} surfaces, ${scene.mapSide} × ${scene.mapSide} cells each`;
  canvas.setAttribute("aria-label", `${page.names[index]}, a head in three dimensions`);
  draw();
  request();
}

function readInk() {
  const [r, g, b] = getComputedStyle(document.body).color.match(/[\d.]+/g).map(Number);
  options.ink = [r / 255, g / 255, b / 255];
  request();
}

function apologise(sentence) {
  Object.assign($("sorry"), { textContent: sentence, hidden: false });
  $("hint").hidden = true;
  document.body.classList.add("failed");
}

async function start() {
  try {
    renderer = new Renderer(canvas, page);
  } catch (error) {
    apologise("This browser does not offer WebGL2, with which the page draws: open it in a current Chrome, Edge, Firefox or Safari, or switch hardware acceleration on.");
    throw error;
  }
  makeFilm();
  listenToChips();
  readInk();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", readInk);
  new ResizeObserver(() => { if (!frame) draw(); }).observe(canvas);
  canvas.addEventListener("webglcontextlost", (event) => {
    event.preventDefault(); // it may come back
    scene = null;
  });
  canvas.addEventListener("webglcontextrestored", () => {
    renderer = new Renderer(canvas, page);
    const index = current;
    current = -1;
    show(index);
  });
  for (const input of document.querySelectorAll("#modes input")) input.addEventListener("change", () => setMode(input.value));
  $("apart").addEventListener("input", () => setApart($("apart").valueAsNumber / 100));
  $("background").addEventListener("change", () => setBackground($("background").checked));
  $("all").addEventListener("click", () => options.shown.forEach((_, index) => setSurface(index, true)));
  $("auto").addEventListener("click", () => setAuto(!auto));
  $("reset").addEventListener("click", reset);
  $("save").addEventListener("click", save);
  try {
    await show(0);
  } catch (error) {
    apologise("The pictures in this page cannot be read here: it was cut short on its way, or the browser lacks WebP.");
    throw error;
  }
  if (!still.matches) setAuto(true);
  setTimeout(() => $("hint").classList.add("gone"), 8000);
}

window.gramhd = {
  ready: start(),
  /* At once, without inertia; angles in radians. */
  setView(pitch, yaw, zoom = 1) {
    setAuto(false);
    Object.assign(view, { pitch, yaw, zoom, pan: [0, 0] });
    Object.assign(goal, { pitch: null, yaw: null, zoom, pan: [0, 0] });
    Object.assign(speed, { pitch: 0, yaw: 0 });
    moving = false;
    draw();
  },
  setMode, setSurface, setBackground, setAuto, show, reset, screenshot,
  setApart(amount) {
    setApart(amount);
    view.apart = amount;
    Object.assign(goal, { pitch: null, yaw: null });
    draw();
  },
  /* { width, height, data }: RGBA bytes of the picture, the top row first, at any size. */
  pixels: (size = canvas.width) => renderer.pixels(scene, view, options, size),
  get state() {
    return {
      ...view, pan: [...view.pan], identity: current, name: page.names[current], mode: MODES[options.mode], auto, moving,
      surfaces: [...options.shown], background: options.background, pitchRange: range("pitch"), yawRange: range("yaw"), drawn,
    };
  },
};
window.gramhd.ready.catch(() => {}); // said on the page
