"use strict";
/* What runs on the graphics card: surfaces, background, putting colours and opacities together, colouring depth. */

const SURFACE_VERTEX = `#version 300 es
in vec3 place;
uniform mat4 clipFromWorld;
uniform float lift;
out vec3 point;
void main() {
  point = place;
  gl_Position = clipFromWorld * vec4(place.xy, place.z + lift, 1.0);
}`;

/* The common case, colours of surfaces in their places: most of the time goes into these few lines. */
const COLOUR_FRAGMENT = `#version 300 es
precision highp float;
precision highp sampler2DArray;
in vec3 point;
uniform sampler2DArray maps;
uniform vec4 ends; // of the look-up: lowest and highest texture coordinates
uniform vec2 scale, shift, heightRange; // from places to texture coordinates
uniform float slice, outward, border;
out vec4 colour;
void main() {
  vec4 found = texture(maps, vec3(clamp(point.xy * scale + shift, ends.xy, ends.zw), slice));
  vec2 xy = abs(point.xy);
  float alpha = found.a * clamp(border - max(xy.x, xy.y) * outward, 0.0, 1.0);
  alpha *= float(point.z > heightRange.x && point.z <= heightRange.y);
  colour = vec4(found.rgb * alpha, alpha);
}`;

/* Everything else: depths, opacities, surfaces pulled apart with their outlines. */
const SURFACE_FRAGMENT = `#version 300 es
precision highp float;
precision highp sampler2DArray;
in vec3 point;
uniform sampler2DArray maps;
uniform vec3 eye, ink;
uniform vec4 ends;
uniform vec2 scale, shift, heightRange, depthRange;
uniform float slice, outward, border, halfWidth, apart;
uniform int mode; // 0 colour, 1 depth, 2 opacity
out vec4 colour;
void main() {
  vec2 xy = abs(point.xy);
  float inside = 1.0 - max(xy.x, xy.y) / halfWidth;
  bool valid = point.z > heightRange.x && point.z <= heightRange.y;
  vec4 found = texture(maps, vec3(clamp(point.xy * scale + shift, ends.xy, ends.zw), slice));
  float alpha = valid && slice >= 0.0 ? found.a * clamp(border - max(xy.x, xy.y) * outward, 0.0, 1.0) : 0.0;
  if (mode == 1) {
    float far = (depthRange.y - distance(eye, point)) / (depthRange.y - depthRange.x);
    colour = vec4(far * alpha, 0.0, 0.0, alpha);
  } else if (mode == 2) {
    colour = vec4(alpha);
  } else {
    colour = vec4(found.rgb * alpha, alpha);
  }
  if (apart > 0.0) {
    float edge = min(inside / fwidth(inside), (point.z - heightRange.x) / fwidth(point.z));
    float line = valid && inside > 0.0 ? 0.01 + 0.3 * (1.0 - smoothstep(0.6, 1.6, edge)) : 0.0;
    float tint = apart * line * (1.0 - alpha);
    colour += vec4(mode == 1 ? vec3(0.0) : ink * tint, tint);
  }
}`;

const BACKGROUND_FRAGMENT = `#version 300 es
precision highp float;
in vec3 point;
uniform sampler2D picture;
uniform vec3 eye;
uniform vec2 depthRange;
uniform float halfWidth, backgroundZ, strength;
uniform int mode;
out vec4 colour;
float coordinate(float x) {
  float a = abs(x) / halfWidth;
  float u = a <= 1.0 ? 0.5 * a : atan((a - 1.0) * 0.5) + 0.5;
  return 0.5 + 0.5 * (x < 0.0 ? -u : u);
}
void main() {
  vec3 seen = mode == 0 ? texture(picture, vec2(coordinate(point.x), coordinate(point.y))).rgb : vec3(0.0);
  if (mode == 1) seen.r = (depthRange.y - distance(eye, vec3(point.xy, backgroundZ))) / (depthRange.y - depthRange.x);
  colour = vec4(seen * strength, strength);
}`;

const SQUARE_VERTEX = `#version 300 es
void main() {
  vec2 corner = vec2(gl_VertexID & 1, gl_VertexID >> 1);
  gl_Position = vec4(corner * 2.0 - 1.0, 0.0, 1.0);
}`;

const JOIN_FRAGMENT = `#version 300 es
precision highp float;
uniform sampler2D colours, opacities;
out vec4 colour;
void main() {
  ivec2 cell = ivec2(gl_FragCoord.xy);
  colour = vec4(texelFetch(colours, cell, 0).rgb, texelFetch(opacities, cell, 0).r);
}`;

const DEPTH_FRAGMENT = `#version 300 es
precision highp float;
uniform sampler2D nearness, depthColours;
out vec4 colour;
void main() {
  vec4 found = texelFetch(nearness, ivec2(gl_FragCoord.xy), 0);
  float level = clamp(found.r / max(found.a, 1e-3), 0.0, 1.0) * 255.0 + 0.5;
  colour = vec4(texture(depthColours, vec2(level / 256.0, 0.5)).rgb * found.a, found.a);
}`;
