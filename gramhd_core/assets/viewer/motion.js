/* What is looked at, and how it moves: the range of angles, inertia, pointers, keys. */

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
