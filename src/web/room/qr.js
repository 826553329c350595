/**
 * A QR code (ISO/IEC 18004) of a text: in byte mode, at error correction level M or, for a long
 * text, L.
 */

/** By level and version: error correction codewords in each block, and number of blocks. */
const LEVELS = [
  {
    bits: 0, // M
    words: [10, 16, 26, 18, 24, 16, 18, 22, 22, 26, 30, 22, 22, 24, 24, 28, 28, 26, 26, 26, 26, 28, 28, 28, 28],
    blocks: [1, 1, 1, 2, 2, 4, 4, 4, 5, 5, 5, 8, 9, 9, 10, 10, 11, 13, 14, 16, 17, 17, 18, 20, 21],
  },
  {
    bits: 1, // L
    words: [7, 10, 15, 20, 26, 18, 20, 24, 30, 18, 20, 24, 26, 30, 22, 24, 28, 30, 28, 28, 28, 28, 30, 30, 26],
    blocks: [1, 1, 1, 1, 1, 2, 2, 2, 2, 4, 4, 4, 4, 4, 6, 6, 6, 6, 7, 8, 8, 9, 9, 10, 12],
  },
];
/** Largest version with level M. A code with more modules is hard to read from the back of a hall. */
const LAST_OF_M = 10;
const LAST = 25;
/** Width of the light margin, in modules. */
const MARGIN = 4;

const MASKS = [
  (x, y) => (x + y) % 2,
  (x, y) => y % 2,
  (x) => x % 3,
  (x, y) => (x + y) % 3,
  (x, y) => (Math.floor(x / 3) + Math.floor(y / 2)) % 2,
  (x, y) => ((x * y) % 2) + ((x * y) % 3),
  (x, y) => (((x * y) % 2) + ((x * y) % 3)) % 2,
  (x, y) => (((x + y) % 2) + ((x * y) % 3)) % 2,
];

/** The rows of the code, from the top: 1 for a dark module. `undefined` if the text is too long.
 * @param {string} text @returns {number[][] | undefined} */
export function qrRows(text) {
  const bytes = new TextEncoder().encode(text);
  const fit = smallest(bytes.length);
  if (!fit) return undefined;
  const { version, level } = fit;
  const base = new Matrix(version);
  base.place(interleave(withCorrection(bytes, version, level)));
  const codes = MASKS.map((mask, number) => base.masked(mask, (level.bits << 3) | number));
  return codes.reduce((best, code) => (code.penalty() < best.penalty() ? code : best)).rows;
}

/** The code as a picture, with the margin that readers need. @param {string} text */
export function qrPicture(text) {
  const rows = qrRows(text);
  if (!rows) return undefined;
  const make = (name, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  };
  const size = rows.length + 2 * MARGIN;
  const path = rows.map((row, y) => row.map((dark, x) => (dark ? `M${x + MARGIN} ${y + MARGIN}h1v1h-1z` : "")).join("")).join("");
  const picture = make("svg", { viewBox: `0 0 ${size} ${size}`, role: "img", "aria-label": `QR code of ${text}`, "shape-rendering": "crispEdges" });
  picture.append(make("path", { d: path, fill: "#000" }));
  return picture;
}

/** Number of bits of length. */
const lengthBits = (version) => (version < 10 ? 8 : 16);

function smallest(length) {
  for (const [level, last] of [[LEVELS[0], LAST_OF_M], [LEVELS[1], LAST]])
    for (let version = 1; version <= last; version++) {
      const data = capacity(version) - level.words[version - 1] * level.blocks[version - 1];
      if (4 + lengthBits(version) + 8 * length <= 8 * data) return { version, level };
    }
}

/** Number of all codewords of a version. */
function capacity(version) {
  let modules = (16 * version + 128) * version + 64;
  if (version > 1) {
    const marks = Math.floor(version / 7) + 2;
    modules -= (25 * marks - 10) * marks - 55;
    if (version > 6) modules -= 36;
  }
  return Math.floor(modules / 8);
}

/** Data codewords and error correction codewords, by block. */
function withCorrection(bytes, version, { words, blocks }) {
  const [correction, count] = [words[version - 1], blocks[version - 1]];
  const all = capacity(version);
  const data = dataWords(bytes, version, all - correction * count);
  // The later blocks have one codeword more if the codewords can't be shared out evenly.
  const short = count - (all % count);
  const length = Math.floor(all / count) - correction;
  const divisor = generator(correction);
  let start = 0;
  return Array.from({ length: count }, (_, index) => {
    const block = data.slice(start, (start += length + Number(index >= short)));
    return { block, rest: remainder(block, divisor) };
  });
}

function dataWords(bytes, version, size) {
  const bits = [];
  const push = (value, length) => {
    for (let bit = length - 1; bit >= 0; bit--) bits.push((value >> bit) & 1);
  };
  push(4, 4);
  push(bytes.length, lengthBits(version));
  for (const byte of bytes) push(byte, 8);
  push(0, Math.min(4, size * 8 - bits.length));
  while (bits.length % 8) bits.push(0);
  const data = [];
  for (let at = 0; at < bits.length; at += 8) data.push(bits.slice(at, at + 8).reduce((word, bit) => word * 2 + bit, 0));
  for (let pad = 0xec; data.length < size; pad ^= 0xec ^ 0x11) data.push(pad);
  return data;
}

/** Multiplication in the field of 256 elements modulo x⁸ + x⁴ + x³ + x² + 1. */
function multiply(one, other) {
  let product = 0;
  for (let bit = 7; bit >= 0; bit--) {
    product = (product << 1) ^ ((product >> 7) * 0x11d);
    product ^= ((other >> bit) & 1) * one;
  }
  return product;
}

/** The Reed-Solomon generator polynomial, without its leading 1. */
function generator(degree) {
  const divisor = new Array(degree).fill(0);
  divisor[degree - 1] = 1;
  let root = 1;
  for (let factor = 0; factor < degree; factor++) {
    for (let at = 0; at < degree; at++) divisor[at] = multiply(divisor[at], root) ^ (divisor[at + 1] ?? 0);
    root = multiply(root, 2);
  }
  return divisor;
}

function remainder(data, divisor) {
  const rest = new Array(divisor.length).fill(0);
  for (const word of data) {
    const factor = word ^ rest.shift();
    rest.push(0);
    divisor.forEach((coefficient, at) => (rest[at] ^= multiply(coefficient, factor)));
  }
  return rest;
}

/** Takes a codeword of each block in turn. */
function interleave(blocks) {
  const words = [];
  for (const part of ["block", "rest"])
    for (let at = 0; at < Math.max(...blocks.map((it) => it[part].length)); at++)
      for (const it of blocks) if (at < it[part].length) words.push(it[part][at]);
  return words;
}

class Matrix {
  /** Modules by row. Those of the data are `undefined` until they are placed. */
  rows;
  #size;
  #isFixed;

  constructor(version, rows) {
    this.#size = 17 + 4 * version;
    this.rows = rows ?? Array.from({ length: this.#size }, () => new Array(this.#size));
    if (!rows) this.#draw(version);
  }

  #set(x, y, dark) {
    if (this.rows[y] && x >= 0 && x < this.#size) this.rows[y][x] = Number(dark);
  }

  /** Draws a square of rings around a centre. */
  #rings(x, y, radius, isDark) {
    for (let down = -radius; down <= radius; down++)
      for (let right = -radius; right <= radius; right++)
        this.#set(x + right, y + down, isDark(Math.max(Math.abs(right), Math.abs(down))));
  }

  #draw(version) {
    const end = this.#size - 1;
    for (let at = 0; at <= end; at++) {
      this.#set(6, at, at % 2 === 0);
      this.#set(at, 6, at % 2 === 0);
    }
    for (const [x, y] of [[3, 3], [end - 3, 3], [3, end - 3]]) this.#rings(x, y, 4, (ring) => ring !== 2 && ring !== 4);
    const marks = alignments(version);
    const last = marks.length - 1;
    marks.forEach((x, column) =>
      marks.forEach((y, row) => {
        const isCorner = (!column && !row) || (!column && row === last) || (column === last && !row);
        if (!isCorner) this.#rings(x, y, 2, (ring) => ring !== 1);
      }),
    );
    this.#format(0);
    if (version > 6) {
      const code = (version << 12) | divide(version, 12, 0x1f25);
      for (let bit = 0; bit < 18; bit++) {
        const [far, near] = [this.#size - 11 + (bit % 3), Math.floor(bit / 3)];
        this.#set(far, near, (code >> bit) & 1);
        this.#set(near, far, (code >> bit) & 1);
      }
    }
    this.#isFixed = this.rows.map((row) => Array.from(row, (module) => module !== undefined));
  }

  /** Writes level and mask, twice. */
  #format(data) {
    const code = ((data << 10) | divide(data, 10, 0x537)) ^ 0x5412;
    const end = this.#size - 1;
    for (let bit = 0; bit < 15; bit++) {
      const dark = (code >> bit) & 1;
      // Around the upper left corner, past the timing patterns.
      if (bit < 8) this.#set(8, bit + Number(bit > 5), dark);
      else this.#set(bit === 8 ? 7 : 14 - bit, 8, dark);
      // Along the other two corners.
      if (bit < 8) this.#set(end - bit, 8, dark);
      else this.#set(8, this.#size - 15 + bit, dark);
    }
    this.#set(8, this.#size - 8, 1);
  }

  /** Places codewords in columns of two, from the right, upwards and downwards in turn. */
  place(words) {
    let bit = 0;
    let isUpward = true;
    for (let right = this.#size - 1; right > 0; right -= 2) {
      // The vertical timing pattern has a column of its own.
      if (right === 6) right = 5;
      for (let step = 0; step < this.#size; step++) {
        const y = isUpward ? this.#size - 1 - step : step;
        for (const x of [right, right - 1]) {
          if (this.#isFixed[y][x]) continue;
          this.rows[y][x] = ((words[bit >> 3] ?? 0) >> (7 - (bit & 7))) & 1;
          bit++;
        }
      }
      isUpward = !isUpward;
    }
  }

  /** A copy with a mask. */
  masked(mask, format) {
    const rows = this.rows.map((row, y) => row.map((dark, x) => (this.#isFixed[y][x] ? dark : dark ^ Number(mask(x, y) === 0))));
    const copy = new Matrix((this.#size - 17) / 4, rows);
    copy.#format(format);
    return copy;
  }

  /** How hard the code is to read (section 7.8.3). */
  penalty() {
    const { rows } = this;
    const columns = rows.map((_, x) => rows.map((row) => row[x]));
    let penalty = 0;
    for (const lines of [rows, columns])
      for (const line of lines) {
        const text = line.join("");
        for (const [run] of text.matchAll(/0{5,}|1{5,}/g)) penalty += run.length - 2;
        // What looks like a finder pattern. Matches may overlap.
        penalty += 40 * [...text.matchAll(/(?=10111010000|00001011101)/g)].length;
      }
    let dark = 0;
    rows.forEach((row, y) =>
      row.forEach((module, x) => {
        dark += module;
        if (y && x && module === row[x - 1] && module === rows[y - 1][x] && module === rows[y - 1][x - 1]) penalty += 3;
      }),
    );
    const share = (dark / this.#size ** 2) * 20;
    return penalty + 10 * Math.floor(Math.abs(share - 10));
  }
}

/** Coordinates of the alignment patterns. */
function alignments(version) {
  if (version === 1) return [];
  const count = Math.floor(version / 7) + 2;
  const step = Math.floor((version * 8 + count * 3 + 5) / (count * 4 - 4)) * 2;
  const far = Array.from({ length: count - 1 }, (_, index) => version * 4 + 10 - index * step);
  return [6, ...far.reverse()];
}

/** Remainder of `data`, shifted by `bits`, divided by a polynomial. */
function divide(data, bits, polynomial) {
  let rest = data;
  for (let step = 0; step < bits; step++) rest = (rest << 1) ^ ((rest >> (bits - 1)) * polynomial);
  return rest;
}
