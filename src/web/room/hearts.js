/**
 * What rises over the page: a pool of particles on one canvas. However much is asked for, the pool
 * bounds what is drawn, and a pool that makes the frames late shrinks.
 */

/** The most that rise at once, on a large screen and on any. */
const MAX_RISING = 360;
const MIN_RISING = 60;
/** Taps of one's own rise even if the sky is full; only so many. */
const MAX_OWN = 40;
/** The part of the screen that each should have, in pixels. */
const AREA_EACH = 1800;
/** What may be owed and not be released yet, in full skies: what comes beyond it is not shown. */
const OWED_SKIES = 0.8;
/** How much of a sky a burst fills at once; from then on as many begin to rise as end, so that a full
 * sky flows and does not come in waves. */
const BURST_SKIES = 0.6;
/** The share of what is owed that is released in a frame: a burst falls apart into a waterfall. */
const RELEASE_SHARE = 0.06;
const MAX_RELEASED_PER_FRAME = 14;
/** Pixels of the canvas, beyond which a wall screen is drawn more coarsely. */
const MAX_PIXELS = 2_600_000;
/** Sprites that are kept; each is one kind in one size. */
const MAX_SPRITES = 200;
/** A frame that took longer was late; a mean below lets the pool grow again. */
const LATE_MS = 19;
/** From far away to near, in pixels, and how much of them is seen. */
const SIZES = [22, 34, 52];
const DENSITIES = [0.5, 0.8, 1];
const RISE_SECONDS = 4.2;

export class Sky {
  #canvas;
  #context;
  #scale;
  #ratio = 1;
  #rising = [];
  #spare = [];
  /** @type {{ glyph: string, count: number }[]} */
  #owed = [];
  #sprites = new Map();
  #most = MAX_RISING;
  #limit = MAX_RISING;
  /** How many may begin to rise now. */
  #allowance = MAX_RISING;
  #mean = 16;
  #last = 0;
  #frame = 0;

  /** @param {HTMLCanvasElement} canvas @param {number} scale of the particles */
  constructor(canvas, scale = 1) {
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d");
    this.#scale = scale;
    new ResizeObserver(() => this.#resize()).observe(canvas);
    document.addEventListener("visibilitychange", () => document.hidden && this.clear());
  }

  /** How many rise now. */
  get rising() {
    return this.#rising.length;
  }

  /** Lets `count` of a glyph rise: from `origin`, or from anywhere below.
   * @param {string} glyph @param {number} count @param {{ x: number, y: number }} [origin] */
  rise(glyph, count, origin) {
    if (document.hidden) return;
    if (origin) this.#release(glyph, origin);
    else {
      const room = this.#most * OWED_SKIES - this.#owed.reduce((sum, owed) => sum + owed.count, 0);
      const taken = Math.min(count, Math.floor(room));
      const same = this.#owed.find((owed) => owed.glyph === glyph);
      if (same) same.count += Math.max(0, taken);
      else if (taken > 0) this.#owed.push({ glyph, count: taken });
    }
    if (!this.#frame && this.#canvas.width) {
      this.#last = 0;
      this.#allowance = this.#limit;
      this.#frame = requestAnimationFrame((now) => this.#draw(now));
    }
  }

  clear() {
    this.#spare.push(...this.#rising.splice(0));
    this.#owed = [];
  }

  #resize() {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    const most = Math.sqrt(MAX_PIXELS / Math.max(1, width * height));
    const ratio = Math.min(devicePixelRatio, 2, most);
    this.#most = Math.max(MIN_RISING, Math.min(MAX_RISING, (width * height) / (AREA_EACH * this.#scale)));
    if (ratio !== this.#ratio) this.#sprites.clear();
    this.#ratio = ratio;
    this.#canvas.width = Math.round(width * ratio);
    this.#canvas.height = Math.round(height * ratio);
  }

  #release(glyph, origin) {
    if (this.#rising.length >= this.#limit + (origin ? MAX_OWN : 0)) return false;
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    const particle = this.#spare.pop() ?? {};
    const depth = Math.random();
    // Mostly small and far away; some near.
    const layer = Math.floor(origin ? 1 + depth * 2 : depth ** 1.8 * SIZES.length);
    Object.assign(particle, {
      sprite: this.#sprite(glyph, SIZES[layer] * this.#scale),
      density: DENSITIES[layer],
      x: origin ? origin.x + (Math.random() - 0.5) * 60 : Math.random() * width,
      y: origin ? origin.y : height + 40 * this.#scale,
      climb: (origin ? origin.y : height) * (0.62 + 0.38 * Math.random()),
      age: 0,
      life: RISE_SECONDS * (0.75 + 0.5 * Math.random()) * (1.15 - 0.3 * depth),
      phase: Math.random() * 2 * Math.PI,
      pace: 1.1 + 1.2 * Math.random(),
      sway: (10 + 26 * Math.random()) * this.#scale,
    });
    this.#rising.push(particle);
    return true;
  }

  #releaseOwed(passed) {
    const grown = this.#allowance + (passed / 1000 / RISE_SECONDS) * this.#limit;
    this.#allowance = Math.min(grown, this.#limit * BURST_SKIES);
    let all = this.#owed.reduce((sum, owed) => sum + owed.count, 0);
    let share = Math.min(MAX_RELEASED_PER_FRAME, Math.ceil(all * RELEASE_SHARE));
    while (share-- > 0 && this.#allowance >= 1) {
      // Each kind in the measure in which it is owed.
      let pick = Math.random() * all;
      const owed = this.#owed.find(({ count }) => (pick -= count) < 0) ?? this.#owed[0];
      if (!owed || !this.#release(owed.glyph)) break;
      all--;
      owed.count--;
      this.#allowance--;
    }
    this.#owed = this.#owed.filter(({ count }) => count > 0);
  }

  #draw(now) {
    const passed = this.#last ? now - this.#last : 16;
    this.#last = now;
    this.#keepPace(passed);
    this.#releaseOwed(passed);
    const seconds = Math.min(passed, 50) / 1000;
    const context = this.#context;
    const ratio = this.#ratio;
    context.clearRect(0, 0, this.#canvas.width, this.#canvas.height);
    for (let index = this.#rising.length - 1; index >= 0; index--) {
      const it = this.#rising[index];
      it.age += seconds;
      const way = it.age / it.life;
      if (way >= 1) {
        this.#spare.push(it);
        // The order changes, which nobody sees.
        const last = this.#rising.pop();
        if (last !== it) this.#rising[index] = last;
        continue;
      }
      const eased = 1 - (1 - way) ** 1.7;
      const sway = Math.sin(it.phase + it.age * it.pace) * it.sway * Math.min(1, way * 4);
      const born = Math.min(1, it.age * 6);
      const size = it.sprite.width * (0.4 + 0.6 * born);
      context.globalAlpha = it.density * born * Math.min(1, (1 - way) * 2.2);
      const x = (it.x + sway) * ratio - size / 2;
      const y = (it.y - it.climb * eased) * ratio - size / 2;
      if (born < 1) context.drawImage(it.sprite, x, y, size, size);
      else context.drawImage(it.sprite, x, y);
    }
    const goesOn = this.#rising.length || this.#owed.length;
    this.#frame = goesOn ? requestAnimationFrame((then) => this.#draw(then)) : 0;
  }

  /** Fewer where frames come late, more again where there is time. */
  #keepPace(passed) {
    this.#mean += (Math.min(passed, 100) - this.#mean) * 0.1;
    if (this.#mean > LATE_MS) this.#limit = Math.max(MIN_RISING, this.#limit * 0.97);
    else this.#limit = Math.min(this.#most, this.#limit + 0.5);
  }

  #sprite(glyph, size) {
    const pixels = Math.ceil(size * this.#ratio);
    const key = `${pixels} ${glyph}`;
    let sprite = this.#sprites.get(key);
    if (sprite) return sprite;
    if (this.#sprites.size >= MAX_SPRITES) this.#sprites.clear();
    sprite = document.createElement("canvas");
    sprite.width = sprite.height = Math.ceil(pixels * 1.4);
    const context = sprite.getContext("2d");
    const fit = (height) => (context.font = `600 ${height}px Inter, system-ui, sans-serif`);
    fit(pixels);
    // A kind may be a word: it is made to fit.
    fit(Math.min(pixels, (pixels * sprite.width) / Math.max(1, context.measureText(glyph).width)));
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillStyle = getComputedStyle(document.body).color;
    context.fillText(glyph, sprite.width / 2, sprite.height / 2);
    this.#sprites.set(key, sprite);
    return sprite;
  }
}
