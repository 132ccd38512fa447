/* The page around the renderer: controls, identities, the start. `window.gramhd` is for scripts and tests. */

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
