/* Draws the surfaces of one identity back to front with WebGL2.

   Lengths are world units, angles radians: x right, y up, the face towards +z, positive yaw moves the camera to +x,
   positive pitch moves it up. Surfaces count from the nearest (0). Maps have y ascending with the row. */

const GAP = 0.022; // between neighbouring surfaces when they are pulled apart completely
const RETREAT = 1.5; // how many radii the camera steps back meanwhile, its field of view narrowing as much
const MARGIN = 1.06; // around them then
const KEPT = 3; // identities that stay on the graphics card

const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

const pictureOf = (text) =>
  createImageBitmap(new Blob([bytesOf(text)], { type: "image/webp" }), {
    premultiplyAlpha: "none",
    colorSpaceConversion: "none",
  });

const mix = (a, b, t) => a + (b - a) * t;
const smooth = (t) => t * t * (3 - 2 * t);

/* The corners of a surface and its triangles: those where something can be seen, then the others of the slab. */
function meshOf(surface, reach, lowest) {
  const { side, range } = surface;
  const heights = new Uint16Array(bytesOf(surface.heights).buffer);
  const visible = bytesOf(surface.cells);
  const n = side + 1;
  const places = new Float32Array(3 * n * n);
  for (let i = 0; i < n * n; i++) {
    places[3 * i] = ((i % n) / side * 2 - 1) * reach;
    places[3 * i + 1] = (Math.floor(i / n) / side * 2 - 1) * reach;
    places[3 * i + 2] = mix(range[0], range[1], heights[i] / 65535);
  }
  const shown = [], empty = [];
  for (let cell = 0; cell < side * side; cell++) {
    const a = Math.floor(cell / side) * n + (cell % side);
    const corners = [a, a + 1, a + n, a + n + 1];
    const seen = (visible[cell >> 3] >> (7 - (cell & 7))) & 1;
    if (!seen && !corners.some((i) => places[3 * i + 2] > lowest)) continue;
    (seen ? shown : empty).push(a, a + 1, a + n + 1, a, a + n + 1, a + n);
  }
  return { places, triangles: new Uint32Array([...shown, ...empty]), shown: shown.length };
}

/* Some corners of a surface that outline it from every side: [x, y, z, ...]. */
function outlineOf(places, side, lowest) {
  const n = side + 1, steps = Array.from({ length: 9 }, (_, i) => Math.round((i / 8) * side));
  const chosen = steps.flatMap((row) => steps.map((column) => row * n + column));
  return chosen.flatMap((i) => [places[3 * i], places[3 * i + 1], Math.max(places[3 * i + 2], lowest)]);
}

class Renderer {
  constructor(canvas, page) {
    this.page = page;
    const gl = canvas.getContext("webgl2", { antialias: false, depth: false, powerPreference: "high-performance" });
    if (!gl) throw new Error("no WebGL2");
    this.gl = gl;
    this.loaded = new Map(); // identity -> promise of its scene, the last used at the end
    this.colourProgram = this.program(SURFACE_VERTEX, COLOUR_FRAGMENT);
    this.surfaceProgram = this.program(SURFACE_VERTEX, SURFACE_FRAGMENT);
    this.backgroundProgram = this.program(SURFACE_VERTEX, BACKGROUND_FRAGMENT);
    this.joinProgram = this.program(SQUARE_VERTEX, JOIN_FRAGMENT);
    this.depthProgram = this.program(SQUARE_VERTEX, DEPTH_FRAGMENT);
    this.halfFloats = Boolean(gl.getExtension("EXT_color_buffer_float") || gl.getExtension("EXT_color_buffer_half_float"));
    this.none = gl.createVertexArray();
    this.scratch = gl.createFramebuffer();
    this.targets = new Map(); // "depth" or "pixels" -> { texture, framebuffer, size }
    this.depthColours = this.texture(gl.TEXTURE_2D, gl.NEAREST);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB8, 256, 1, 0, gl.RGB, gl.UNSIGNED_BYTE, bytesOf(page.depthColours));
    gl.pixelStorei(gl.UNPACK_COLORSPACE_CONVERSION_WEBGL, gl.NONE);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    this.backdrop = this.mesh(new Float32Array([-3, -3, 0, 3, -3, 0, -3, 3, 0, 3, 3, 0]), new Uint32Array([0, 1, 3, 0, 3, 2]));
  }

  program(vertex, fragment) {
    const gl = this.gl;
    const program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.bindAttribLocation(program, 0, "place");
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost()) {
      throw new Error(gl.getProgramInfoLog(program) || "a shader does not compile");
    }
    const places = {};
    for (let i = 0; i < gl.getProgramParameter(program, gl.ACTIVE_UNIFORMS); i++) {
      const name = gl.getActiveUniform(program, i).name;
      places[name] = gl.getUniformLocation(program, name);
    }
    return { program, places };
  }

  texture(kind, filter, wrap = this.gl.CLAMP_TO_EDGE) {
    const gl = this.gl;
    const texture = gl.createTexture();
    gl.bindTexture(kind, texture);
    gl.texParameteri(kind, gl.TEXTURE_MIN_FILTER, filter);
    gl.texParameteri(kind, gl.TEXTURE_MAG_FILTER, filter);
    gl.texParameteri(kind, gl.TEXTURE_WRAP_S, wrap);
    gl.texParameteri(kind, gl.TEXTURE_WRAP_T, wrap);
    return texture;
  }

  mesh(places, triangles) {
    const gl = this.gl;
    const array = gl.createVertexArray(), corners = gl.createBuffer(), indices = gl.createBuffer();
    gl.bindVertexArray(array);
    gl.bindBuffer(gl.ARRAY_BUFFER, corners);
    gl.bufferData(gl.ARRAY_BUFFER, places, gl.STATIC_DRAW);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, indices);
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, triangles, gl.STATIC_DRAW);
    gl.enableVertexAttribArray(0);
    gl.vertexAttribPointer(0, 3, gl.FLOAT, false, 0, 0);
    gl.bindVertexArray(null);
    return { array, buffers: [corners, indices], count: triangles.length };
  }

  /* The scene of an identity, from the graphics card or from the page's text. */
  scene(index, read) {
    const found = this.loaded.get(index) || this.load(read());
    this.loaded.delete(index);
    this.loaded.set(index, found);
    for (const [old, scene] of [...this.loaded].slice(0, -KEPT)) {
      this.loaded.delete(old);
      scene.then((gone) => this.forget(gone)).catch(() => {});
    }
    found.catch(() => this.loaded.delete(index));
    return found;
  }

  async load(data) {
    const gl = this.gl;
    const withPicture = data.surfaces.filter((surface) => surface.picture);
    const [background, ...pictures] = await Promise.all([
      pictureOf(data.background),
      ...withPicture.flatMap(({ picture }) => [pictureOf(picture.colour), pictureOf(picture.opacity)]),
    ]);
    const width = Math.max(1, ...withPicture.map(({ picture }) => picture.width));
    const height = Math.max(1, ...withPicture.map(({ picture }) => picture.height));
    const maps = this.texture(gl.TEXTURE_2D_ARRAY, gl.LINEAR);
    gl.texStorage3D(gl.TEXTURE_2D_ARRAY, 1, gl.RGBA8, width, height, Math.max(1, withPicture.length));
    withPicture.forEach(({ picture }, slice) => {
      this.join(pictures[2 * slice], pictures[2 * slice + 1], maps, slice, picture);
    });
    const behind = this.texture(gl.TEXTURE_2D, gl.LINEAR, gl.MIRRORED_REPEAT);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB8, gl.RGB, gl.UNSIGNED_BYTE, background);
    for (const picture of [background, ...pictures]) picture.close();
    const surfaces = data.surfaces.map((surface) => {
      const { places, triangles, shown } = meshOf(surface, data.reach, data.heightRange[0]);
      const outline = outlineOf(places, surface.side, data.heightRange[0]);
      return { ...this.mesh(places, triangles), shown, outline, slice: withPicture.indexOf(surface), picture: surface.picture };
    });
    return { ...data, surfaces, maps, behind, textureSide: [width, height] };
  }

  /* Colours and opacities of one surface -> one slice of the array texture. */
  join(colours, opacities, maps, slice, { width, height }) {
    const gl = this.gl;
    gl.useProgram(this.joinProgram.program);
    const parts = [colours, opacities].map((picture, unit) => {
      gl.activeTexture(gl.TEXTURE0 + unit);
      const texture = this.texture(gl.TEXTURE_2D, gl.NEAREST);
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB8, gl.RGB, gl.UNSIGNED_BYTE, picture);
      gl.uniform1i(this.joinProgram.places[["colours", "opacities"][unit]], unit);
      return texture;
    });
    gl.activeTexture(gl.TEXTURE0);
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.scratch);
    gl.framebufferTextureLayer(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, maps, 0, slice);
    gl.viewport(0, 0, width, height);
    gl.disable(gl.BLEND);
    gl.disable(gl.CULL_FACE);
    gl.bindVertexArray(this.none);
    gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
    for (const texture of parts) gl.deleteTexture(texture);
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    gl.bindTexture(gl.TEXTURE_2D_ARRAY, maps);
  }

  forget(scene) {
    const gl = this.gl;
    gl.deleteTexture(scene.maps);
    gl.deleteTexture(scene.behind);
    for (const surface of scene.surfaces) {
      gl.deleteVertexArray(surface.array);
      for (const buffer of surface.buffers) gl.deleteBuffer(buffer);
    }
  }

  /* A square texture to draw into, kept until another size is asked for. */
  target(name, size, format) {
    const gl = this.gl;
    const old = this.targets.get(name);
    if (old && old.size === size) return old;
    if (old) {
      gl.deleteTexture(old.texture);
      gl.deleteFramebuffer(old.framebuffer);
    }
    const texture = this.texture(gl.TEXTURE_2D, gl.NEAREST);
    gl.texStorage2D(gl.TEXTURE_2D, 1, format, size, size);
    const framebuffer = gl.createFramebuffer();
    gl.bindFramebuffer(gl.FRAMEBUFFER, framebuffer);
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, texture, 0);
    const made = { texture, framebuffer, size };
    this.targets.set(name, made);
    return made;
  }

  /* view: pitch, yaw, zoom, pan [x, y] (of half the picture), apart (0 to 1) -> matrix, eye. */
  camera(view, scene) {
    const { radius, fovDegrees } = this.page;
    const [cp, sp, cy, sy] = [Math.cos(view.pitch), Math.sin(view.pitch), Math.cos(view.yaw), Math.sin(view.yaw)];
    const right = [cy, 0, -sy], up = [-sp * sy, cp, -sp * cy], back = [cp * sy, sp, cp * cy];
    const away = radius * (1 + RETREAT * view.apart);
    const half = radius * Math.tan((fovDegrees * Math.PI) / 360); // what is seen at the head to each side
    const room = view.apart > 0 ? Math.min(1, half / (MARGIN * away * this.breadth(view, scene, { right, up, back, away }))) : 1;
    const focal = ((view.zoom * away) / half) * mix(1, room, smooth(Math.min(1, 2.5 * view.apart)));
    const rows = [0, 1, 3].map((row) => {
      const axis = [right, up, null, back][row];
      const sign = row === 3 ? -1 : focal;
      const shift = row === 3 ? 0 : view.pan[row];
      // clip x = focal x + pan w, w = -z of the camera's own frame, in which the eye is the origin
      return [...axis.map((a, i) => sign * a - shift * back[i]), row === 3 ? away : shift * away];
    });
    const [x, y, w] = rows;
    const matrix = new Float32Array([x[0], y[0], 0, w[0], x[1], y[1], 0, w[1], x[2], y[2], 0, w[2], x[3], y[3], 0, w[3]]);
    return { matrix, eye: back.map((b) => b * radius) };
  }

  /* The largest tangent, from the middle of the picture, at which a surface is seen. */
  breadth(view, { surfaces }, { right, up, back, away }) {
    let most = 0;
    surfaces.forEach(({ outline }, index) => {
      const lift = this.lift(view, surfaces.length, index);
      for (let i = 0; i < outline.length; i += 3) {
        const [x, y, z] = [outline[i], outline[i + 1], outline[i + 2] + lift];
        const along = ([a, b, c]) => a * x + b * y + c * z;
        most = Math.max(most, Math.max(Math.abs(along(right)), Math.abs(along(up))) / (away - along(back)));
      }
    });
    return most;
  }

  /* How far a surface is moved along z when they are pulled apart. */
  lift(view, count, index) {
    return view.apart * GAP * ((count - 1) / 2 - index);
  }

  /* Draw a scene; options: mode 0 colour, 1 depth, 2 opacity; shown: bool per surface; background; ink. */
  draw(scene, view, options, size, framebuffer = null) {
    const gl = this.gl;
    const { mode } = options;
    const depth = mode === 1 ? this.target("depth", size, this.halfFloats ? gl.RGBA16F : gl.RGBA8) : null;
    gl.bindFramebuffer(gl.FRAMEBUFFER, depth ? depth.framebuffer : framebuffer);
    gl.viewport(0, 0, size, size);
    gl.clearColor(0, 0, 0, mode === 2 ? 1 : 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    const camera = this.camera(view, scene);
    const strength = options.background ? 1 - Math.min(1, view.apart / 0.3) : 0;
    if (strength > 0) this.drawBackground(scene, view, camera, mode, strength);
    this.drawSurfaces(scene, view, camera, options);
    if (depth) {
      gl.bindFramebuffer(gl.FRAMEBUFFER, framebuffer);
      gl.disable(gl.BLEND);
      gl.disable(gl.CULL_FACE);
      gl.useProgram(this.depthProgram.program);
      gl.uniform1i(this.depthProgram.places.nearness, 0);
      gl.uniform1i(this.depthProgram.places.depthColours, 1);
      gl.activeTexture(gl.TEXTURE1);
      gl.bindTexture(gl.TEXTURE_2D, this.depthColours);
      gl.activeTexture(gl.TEXTURE0);
      gl.bindTexture(gl.TEXTURE_2D, depth.texture);
      gl.bindVertexArray(this.none);
      gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
    }
    gl.bindVertexArray(null);
  }

  drawBackground(scene, view, { matrix, eye }, mode, strength) {
    const gl = this.gl;
    const { program, places } = this.backgroundProgram;
    gl.useProgram(program);
    gl.uniformMatrix4fv(places.clipFromWorld, false, matrix);
    gl.uniform3fv(places.eye, eye);
    gl.uniform2fv(places.depthRange, scene.depthRange);
    gl.uniform1f(places.lift, scene.backgroundZ - (view.apart * scene.surfaces.length * GAP) / 2);
    gl.uniform1f(places.halfWidth, scene.halfWidth);
    gl.uniform1f(places.backgroundZ, scene.backgroundZ);
    gl.uniform1f(places.strength, strength);
    gl.uniform1i(places.mode, mode);
    gl.uniform1i(places.picture, 0);
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D, scene.behind);
    gl.bindVertexArray(this.backdrop.array);
    gl.drawElements(gl.TRIANGLES, this.backdrop.count, gl.UNSIGNED_INT, 0);
  }

  drawSurfaces(scene, view, { matrix, eye }, { mode, shown, ink }) {
    const gl = this.gl;
    const { program, places } = mode === 0 && view.apart === 0 ? this.colourProgram : this.surfaceProgram;
    gl.enable(gl.CULL_FACE); // a ray meets a surface where it goes in, not where it comes out
    gl.useProgram(program);
    gl.uniformMatrix4fv(places.clipFromWorld, false, matrix);
    gl.uniform2fv(places.heightRange, scene.heightRange);
    gl.uniform1i(places.maps, 0);
    const cells = scene.mapSide / 2 / scene.halfWidth; // per world unit
    // alpha fades over the outer part of a map, or ends half a cell beyond it
    gl.uniform1f(places.outward, scene.fade ? 1 / (scene.fade * scene.halfWidth) : cells);
    gl.uniform1f(places.border, scene.fade ? 1 / scene.fade : scene.mapSide / 2 + 0.5);
    if (program === this.surfaceProgram.program) {
      gl.uniform3fv(places.eye, eye);
      gl.uniform3fv(places.ink, ink);
      gl.uniform2fv(places.depthRange, scene.depthRange);
      gl.uniform1f(places.halfWidth, scene.halfWidth);
      gl.uniform1f(places.apart, view.apart);
      gl.uniform1i(places.mode, mode);
    }
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D_ARRAY, scene.maps);
    const [across, down] = scene.textureSide, last = scene.surfaces.length - 1;
    gl.uniform2f(places.scale, cells / across, cells / down);
    for (let index = last; index >= 0; index--) {
      const surface = scene.surfaces[index];
      const count = view.apart > 0 ? surface.count : surface.shown;
      if (!shown[index] || count === 0) continue;
      const { x, y, width, height } = surface.picture || { x: 0, y: 0, width: 1, height: 1 };
      gl.uniform2f(places.shift, (scene.mapSide / 2 - x) / across, (scene.mapSide / 2 - y) / down);
      gl.uniform4f(places.ends, 0.5 / across, 0.5 / down, (width - 0.5) / across, (height - 0.5) / down);
      gl.uniform1f(places.slice, surface.slice);
      gl.uniform1f(places.lift, this.lift(view, scene.surfaces.length, index));
      gl.bindVertexArray(surface.array);
      gl.drawElements(gl.TRIANGLES, count, gl.UNSIGNED_INT, 0);
    }
  }

  /* The picture as { width, height, data: RGBA bytes, the top row first }. */
  pixels(scene, view, options, size) {
    const gl = this.gl;
    const target = this.target("pixels", size, gl.RGBA8);
    this.draw(scene, view, options, size, target.framebuffer);
    const bytes = new Uint8Array(4 * size * size);
    gl.bindFramebuffer(gl.FRAMEBUFFER, target.framebuffer);
    gl.readPixels(0, 0, size, size, gl.RGBA, gl.UNSIGNED_BYTE, bytes);
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    const data = new Uint8ClampedArray(bytes.length);
    for (let row = 0; row < size; row++) {
      data.set(bytes.subarray(4 * size * row, 4 * size * (row + 1)), 4 * size * (size - 1 - row));
    }
    return { width: size, height: size, data };
  }
}
