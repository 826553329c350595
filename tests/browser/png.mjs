// Reads the pictures that Chromium takes: PNG with 8 bits a channel, without interlacing.
import { inflateSync } from "node:zlib";

/** @param {Buffer} png @returns {{ width: number, height: number, data: Uint8ClampedArray }} pixels in RGBA */
export function decode(png) {
  const [width, height] = [png.readUInt32BE(16), png.readUInt32BE(20)];
  const [depth, colour, , , interlaced] = png.subarray(24);
  const channels = { 2: 3, 6: 4 }[colour];
  if (depth !== 8 || !channels || interlaced) throw new Error("a PNG of another form");
  const parts = [];
  for (let at = 8; at < png.length; ) {
    const length = png.readUInt32BE(at);
    if (png.toString("latin1", at + 4, at + 8) === "IDAT") parts.push(png.subarray(at + 8, at + 8 + length));
    at += 12 + length;
  }
  const lines = inflateSync(Buffer.concat(parts));
  const stride = width * channels;
  let above = Buffer.alloc(stride);
  const data = new Uint8ClampedArray(width * height * 4).fill(255);
  for (let y = 0; y < height; y++) {
    const filter = lines[y * (stride + 1)];
    const line = lines.subarray(y * (stride + 1) + 1, (y + 1) * (stride + 1));
    for (let at = 0; at < stride; at++) {
      const left = at < channels ? 0 : line[at - channels];
      const corner = at < channels ? 0 : above[at - channels];
      line[at] += [0, left, above[at], (left + above[at]) >> 1, paeth(left, above[at], corner)][filter];
    }
    for (let x = 0; x < width; x++) for (let channel = 0; channel < channels; channel++) data[(y * width + x) * 4 + channel] = line[x * channels + channel];
    above = line;
  }
  return { width, height, data };
}

/** The neighbour that is closest to their plane. */
function paeth(left, up, corner) {
  const [toLeft, toUp, toCorner] = [left, up, corner].map((it) => Math.abs(left + up - corner - it));
  if (toLeft <= toUp && toLeft <= toCorner) return left;
  return toUp <= toCorner ? up : corner;
}
