/**
 * What `ovation.js` loads on demand: reactions that rise over the page. They are a pool of
 * particles on one canvas. The pool limits how many are drawn, and shrinks if frames come late.
 */

/** Limits of the pool: on a large screen, and on any screen. */
const MAX_RISING = 360;
const MIN_RISING = 60;
/** Extra particles for the viewer's own taps when the sky is full. */
const MAX_OWN = 40;
/** Screen area for each particle, in square pixels. */
const AREA_EACH = 1800;
/** Maximum number of particles that wait, as a share of a full sky. More are not shown. */
const OWED_SKIES = 0.8;
/** Share of the sky that a burst may fill at once. After that, particles start as fast as others
 * end, so that a full sky flows instead of pulsing. */
const BURST_SKIES = 0.6;
/** Share of the waiting particles that start per frame, which spreads a burst out. */
const RELEASE_SHARE = 0.06;
const MAX_RELEASED_PER_FRAME = 14;
/** Maximum pixels of the canvas. Larger screens are drawn at a lower resolution. */
const MAX_PIXELS = 2_600_000;
/** Maximum number of cached sprites. Each is one kind in one size. */
const MAX_SPRITES = 200;
/** Mean frame time above which the pool shrinks, and below which it grows. */
const LATE_MS = 19;
/** Sizes in pixels and opacities of the layers, from far to near. */
const SIZES = [22, 34, 52];
const DENSITIES = [0.5, 0.8, 1];
const RISE_SECONDS = 4.2;

export class Sky {
  #canvas;
  #context;
  #resizes;
  #scale;
  #ratio = 1;
  #rising = [];
  #spare = [];
  /** @type {{ glyph: string, count: number }[]} */
  #owed = [];
  #sprites = new Map();
  #most = MAX_RISING;
  #limit = MAX_RISING;
  /** Number of particles that may start now. */
  #allowance = MAX_RISING;
  #mean = 16;
  #last = 0;
  #frame = 0;

  /** @param {HTMLCanvasElement} canvas @param {number} scale of the particles */
  constructor(canvas, scale = 1) {
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d");
    this.#scale = scale;
    this.#resizes = new ResizeObserver(() => this.#resize());
    this.#resizes.observe(canvas);
    document.addEventListener("visibilitychange", this);
  }

  handleEvent() {
    if (document.hidden) this.clear();
  }

  /** Ends everything. */
  close() {
    this.clear();
    this.#resizes.disconnect();
    document.removeEventListener("visibilitychange", this);
  }

  /** Number of particles in the air. */
  get rising() {
    return this.#rising.length;
  }

  /** Lets `count` particles rise from `origin`, or from the bottom edge.
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
    // Most particles are small and far away.
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
      // Picks each kind in proportion to how many of it wait.
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
        // This changes the drawing order, which is not visible.
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

  /** Shrinks the pool if frames come late, and lets it grow otherwise. */
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
    const fit = (height) => (context.font = `600 ${height}px Inter, system-ui, sans-serif, "Apple Color Emoji", "Segoe UI Emoji", "Noto Color Emoji"`);
    fit(pixels);
    // A kind may be a word, which is scaled to fit.
    fit(Math.min(pixels, (pixels * sprite.width) / Math.max(1, context.measureText(glyph).width)));
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillStyle = getComputedStyle(this.#canvas).color;
    context.fillText(glyph, sprite.width / 2, sprite.height / 2);
    this.#sprites.set(key, sprite);
    return sprite;
  }
}
