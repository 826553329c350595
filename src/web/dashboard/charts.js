/**
 * Charts over time on canvases: areas and lines that share a time axis and a crosshair. A chart
 * keeps its style; its data is passed in with each draw.
 */

const MARGIN = { left: 46, right: 10, top: 8, bottom: 20 };
const GRID_LINES = 4;
/** A chart taller than this has space for all grid lines and for notes. */
const TALL_PIXELS = 180;
const TICK_SECONDS = [15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400];
/** Minimum pixels between labels of the time axis. */
const TICK_PIXELS = 74;

/** @typedef {{ name: string, color: string, values: number[] }} Layer */
/** @typedef {{ from: number, to: number, step: number, at: number[], layers: Layer[], line?: Layer,
 *    cursor: number | null }} View */

export class Chart {
  #canvas;
  #context;
  #format;
  #least;
  /** @type {View | null} */
  #view = null;
  #width = 0;
  #height = 0;

  /** @param {HTMLCanvasElement} canvas
   *  @param {{ format: (value: number) => string, least: number }} options how to format
   *    values, and the minimum top of the axis */
  constructor(canvas, { format, least }) {
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d");
    this.#format = format;
    this.#least = least;
    new ResizeObserver(() => {
      this.#width = canvas.clientWidth;
      this.#height = canvas.clientHeight;
      this.#paint();
    }).observe(canvas);
  }

  get canvas() {
    return this.#canvas;
  }

  /** @param {View} view */
  draw(view) {
    this.#view = view;
    this.#paint();
  }

  /** Returns the index of the point nearest to `x`.
   *  @param {number} x in CSS pixels from the left edge of the canvas */
  indexAt(x) {
    const view = this.#view;
    if (!view?.at.length) return null;
    const share = (x - MARGIN.left) / (this.#width - MARGIN.left - MARGIN.right);
    const time = view.from + share * (view.to - view.from);
    let index = view.at.findIndex((at) => at >= time);
    if (index < 0) index = view.at.length - 1;
    if (index > 0 && time - view.at[index - 1] < view.at[index] - time) index--;
    return index;
  }

  get #isTall() {
    return this.#height > TALL_PIXELS;
  }

  #paint() {
    const view = this.#view;
    const ratio = devicePixelRatio;
    const [width, height] = [this.#width, this.#height];
    if (!view || !width || !height) return;
    this.#canvas.width = Math.round(width * ratio);
    this.#canvas.height = Math.round(height * ratio);
    const context = this.#context;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    const style = getComputedStyle(this.#canvas);
    const color = (name) => style.getPropertyValue(name).trim();
    const box = {
      left: MARGIN.left,
      top: MARGIN.top,
      right: width - MARGIN.right,
      bottom: height - MARGIN.bottom,
    };
    const totals = view.at.map((_, index) => sumAt(view.layers, index));
    const line = view.line?.values ?? [];
    const top = ceiling(Math.max(this.#least, ...totals, ...line));
    const x = (at) =>
      box.left + ((at - view.from) / (view.to - view.from)) * (box.right - box.left);
    const y = (value) => box.bottom - (value / top) * (box.bottom - box.top);

    context.font = `11px ${style.fontFamily}`;
    context.lineWidth = 1;
    this.#axes(view, box, top, x, y, color);
    context.save();
    context.beginPath();
    context.rect(box.left, box.top - 2, box.right - box.left, box.bottom - box.top + 2);
    context.clip();
    this.#areas(view, x, y, Number(color("--fill")));
    if (view.line) this.#line(view, view.line, x, y);
    context.restore();
    if (view.cursor !== null && view.cursor < view.at.length) {
      this.#cursor(view, box, x, y, color, totals);
    }
  }

  #axes(view, box, top, x, y, color) {
    const context = this.#context;
    context.fillStyle = color("--soft");
    context.textBaseline = "middle";
    context.textAlign = "right";
    const lines = this.#isTall ? GRID_LINES : GRID_LINES / 2;
    for (let line = 0; line <= lines; line++) {
      const value = (top * line) / lines;
      const at = Math.round(y(value)) + 0.5;
      context.strokeStyle = line ? color("--faint") : color("--line");
      context.beginPath();
      context.moveTo(box.left, at);
      context.lineTo(box.right, at);
      context.stroke();
      context.fillText(this.#format(value), box.left - 7, at);
    }
    context.textBaseline = "top";
    context.textAlign = "center";
    const most = Math.max(2, (box.right - box.left) / TICK_PIXELS);
    const span = view.to - view.from;
    const step = TICK_SECONDS.find((seconds) => span / seconds <= most) ?? 86400;
    const offset = new Date(view.to * 1000).getTimezoneOffset() * 60;
    for (let at = Math.ceil((view.from - offset) / step) * step + offset; at <= view.to; at += step) {
      const place = x(at);
      if (place < box.left + 14 || place > box.right - 16) continue;
      context.fillText(timeLabel(at, step), place, box.bottom + 6);
      context.strokeStyle = color("--line");
      context.beginPath();
      context.moveTo(Math.round(place) + 0.5, box.bottom);
      context.lineTo(Math.round(place) + 0.5, box.bottom + 4);
      context.stroke();
    }
    const first = view.at[0] ?? view.to;
    if (this.#isTall && first > view.from + span / 6) {
      context.textAlign = "right";
      context.textBaseline = "middle";
      const place = Math.min(x(first) - 10, box.right - 10);
      context.fillText(`no data before ${clock(first)}`, place, (box.top + box.bottom) / 2);
    }
  }

  /** Draws the layers, stacked. */
  #areas(view, x, y, fill) {
    const context = this.#context;
    const isStack = view.layers.length > 1;
    let below = view.at.map(() => 0);
    for (const layer of view.layers) {
      const above = below.map((value, index) => value + layer.values[index]);
      context.fillStyle = context.strokeStyle = layer.color;
      for (const [start, end] of runs(view)) {
        context.beginPath();
        for (let index = start; index < end; index++) context.lineTo(x(view.at[index]), y(above[index]));
        for (let index = end - 1; index >= start; index--) context.lineTo(x(view.at[index]), y(below[index]));
        context.globalAlpha = isStack ? 0.82 : fill;
        context.fill();
        context.globalAlpha = 1;
        context.beginPath();
        for (let index = start; index < end; index++) {
          const isThere = !isStack || layer.values[index] > 0;
          if (isThere) context.lineTo(x(view.at[index]), y(above[index]));
          else context.moveTo(x(view.at[index]), y(above[index]));
        }
        context.lineWidth = isStack ? 1 : 1.5;
        context.stroke();
      }
      below = above;
    }
  }

  #line(view, layer, x, y) {
    const context = this.#context;
    context.strokeStyle = layer.color;
    context.lineWidth = 1.25;
    for (const [start, end] of runs(view)) {
      context.beginPath();
      for (let index = start; index < end; index++) context.lineTo(x(view.at[index]), y(layer.values[index]));
      context.stroke();
    }
  }

  #cursor(view, box, x, y, color, totals) {
    const context = this.#context;
    const index = view.cursor;
    const place = x(view.at[index]);
    context.strokeStyle = color("--soft");
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(Math.round(place) + 0.5, box.top);
    context.lineTo(Math.round(place) + 0.5, box.bottom);
    context.stroke();
    const dot = (value, fill) => {
      context.beginPath();
      context.arc(place, y(value), 3, 0, 2 * Math.PI);
      context.fillStyle = fill;
      context.fill();
    };
    if (view.layers.length === 1) dot(totals[index], view.layers[0].color);
    if (view.line) dot(view.line.values[index], view.line.color);
    const label = clock(view.at[index], view.step < 60);
    context.textAlign = "center";
    context.textBaseline = "top";
    const wide = context.measureText(label).width / 2 + 5;
    const middle = Math.min(Math.max(place, box.left + wide), box.right - wide);
    context.fillStyle = color("--text");
    context.fillRect(middle - wide, box.bottom + 3, 2 * wide, 16);
    context.fillStyle = color("--panel");
    context.fillText(label, middle, box.bottom + 6);
  }
}

/** @param {Layer[]} layers @param {number} index */
export function sumAt(layers, index) {
  return layers.reduce((sum, layer) => sum + layer.values[index], 0);
}

/** Returns the ranges of points without gaps, each as `[start, end)`. */
function runs(view) {
  const found = [];
  let start = 0;
  for (let index = 1; index <= view.at.length; index++) {
    if (index === view.at.length || view.at[index] - view.at[index - 1] > 3 * view.step) {
      found.push([start, index]);
      start = index;
    }
  }
  return view.at.length ? found : [];
}

/** Returns the next round number for the top of an axis. */
function ceiling(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 5, 10].map((factor) => factor * power).find((top) => top >= value * 0.999) ?? value;
}

function timeLabel(at, step) {
  const date = new Date(at * 1000);
  const isDay = date.getHours() === 0 && date.getMinutes() === 0;
  if (step >= 86400 || (isDay && step >= 3600)) {
    return date.toLocaleDateString(undefined, { weekday: "short", day: "numeric" });
  }
  return clock(at, step < 60);
}

/** Formats the time of day. @param {number} at @param {boolean} [withSeconds] */
export function clock(at, withSeconds = false) {
  const date = new Date(at * 1000);
  const isToday = date.toDateString() === new Date().toDateString();
  const time = date.toLocaleTimeString(undefined, {
    hour: "2-digit",
    minute: "2-digit",
    second: withSeconds ? "2-digit" : undefined,
    hourCycle: "h23",
  });
  return isToday ? time : `${date.toLocaleDateString(undefined, { weekday: "short" })} ${time}`;
}
