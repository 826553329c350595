/**
 * Fits the page into its window: how many tiles stand in a row, and how large text may be. The
 * style sheet gives every part its place. This module measures what text needs there.
 */

/** Smallest text on the stage, in pixels. Text that is still too long ends with an ellipsis. */
const SMALLEST_PX = 9;
/** The narrowest and the widest tile, as width divided by height. Words need wider tiles. */
const SHAPES = { picture: [0.9, 1], word: [1.3, 2.4], overlay: [1.8, 3] };

/**
 * The number of columns that makes tiles largest.
 * @param {number} count @param {{ width: number, height: number, gap: number }} space
 * @param {number} shape width of a tile divided by its height
 */
function columnsFor(count, { width, height, gap }, shape) {
  let best = { columns: 1, size: 0 };
  for (let columns = 1; columns <= count; columns++) {
    const rows = Math.ceil(count / columns);
    const size = Math.min(
      (width - gap * (columns - 1)) / columns / shape,
      (height - gap * (rows - 1)) / rows,
    );
    // Of two equal layouts, the one with fewer rows.
    if (size >= best.size) best = { columns, size };
  }
  return best;
}

/** The width of the longest text, in characters. */
const longest = (texts) => Math.max(1, ...texts.map((text) => text.length));

/** Sets the size of the tiles.
 * @param {HTMLElement} box
 * @param {number[] | undefined} shape of tiles in a box that can't grow */
function arrange(box, shape) {
  const count = box.children.length;
  const style = getComputedStyle(box);
  const gap = parseFloat(style.columnGap) || 0;
  const padding = shape ? 0 : parseFloat(style.paddingLeft) + parseFloat(style.paddingRight);
  const space = box.getBoundingClientRect();
  // Browsers round, and a row that is a little too wide breaks.
  const width = Math.floor(space.width - padding) - 1;
  const height = Math.floor(space.height);
  const set = (name, value) => box.style.setProperty(name, value);
  // Rows of equal length look better than full rows and a rest.
  const balance = (most) => Math.ceil(count / Math.ceil(count / most));
  if (shape) {
    const [narrow, wide] = shape;
    const { columns: most, size } = columnsFor(count, { width, height, gap }, narrow);
    const columns = balance(most);
    const tallest = parseFloat(getComputedStyle(box.firstElementChild).maxHeight) || Infinity;
    const tall = Math.max(1, Math.min(size, tallest));
    set("--columns", columns);
    set("--height", `${tall}px`);
    const broad = Math.min((width - gap * (columns - 1)) / columns, tall * wide);
    set("--width", `${broad}px`);
    set("--row", `${Math.min(width, broad * columns + gap * (columns - 1) + 0.5)}px`);
    return;
  }
  const least = parseFloat(getComputedStyle(box.firstElementChild).getPropertyValue("min-width")) || 45;
  set("--columns", balance(Math.max(1, Math.floor((width + gap) / (least + gap)))));
}

/** Shrinks text until its lines fit into its place. */
function shrink(text) {
  const place = text.parentElement;
  text.style.fontSize = "";
  text.style.webkitLineClamp = "";
  const fits = () =>
    text.scrollWidth <= place.clientWidth + 1 && text.scrollHeight <= place.clientHeight + 1;
  if (fits()) return;
  let large = parseFloat(getComputedStyle(text).fontSize);
  let small = Math.min(SMALLEST_PX, large);
  for (let step = 0; step < 8; step++) {
    const middle = (small + large) / 2;
    text.style.fontSize = `${middle}px`;
    if (fits()) small = middle;
    else large = middle;
  }
  text.style.fontSize = `${small}px`;
  if (fits()) return;
  const line = parseFloat(getComputedStyle(text).lineHeight);
  text.style.webkitLineClamp = String(Math.max(1, Math.floor(place.clientHeight / line)));
}

/** Scales a single line to its place, whose style sheet gives it the largest size. */
function scale(line) {
  const place = line.parentElement;
  line.style.fontSize = "";
  const share = Math.min(place.clientWidth / line.scrollWidth, place.clientHeight / line.offsetHeight);
  if (share < 1) line.style.fontSize = `${Math.floor(parseFloat(getComputedStyle(line).fontSize) * share * 10) / 10}px`;
}

export class Layout {
  #view;
  #box;
  #due = false;
  #digits = 0;

  /** @param {"room" | "stage" | "overlay"} view @param {HTMLElement} box of the tiles */
  constructor(view, box) {
    this.#view = view;
    this.#box = box;
    new ResizeObserver(() => this.refresh()).observe(document.documentElement);
    // Text is measured again with the font that it is drawn in.
    document.fonts?.ready.then(() => this.refresh());
  }

  /** The texts have changed. `total` and `counts` are those that are shown. */
  update(total, counts) {
    const widest = longest(counts);
    if (this.#digits === total.length * 100 + widest) return;
    this.#digits = total.length * 100 + widest;
    this.#box.style.setProperty("--digits", String(widest));
    this.refresh();
  }

  /** Fits everything before the next frame is drawn. */
  refresh() {
    if (this.#due) return;
    this.#due = true;
    requestAnimationFrame(() => {
      this.#due = false;
      this.#fit();
    });
  }

  #fit() {
    const isFixed = this.#view !== "room";
    const hasWords = Boolean(this.#box.querySelector(".word"));
    this.#box.toggleAttribute("data-words", hasWords);
    const kind = this.#view === "overlay" ? "overlay" : hasWords ? "word" : "picture";
    arrange(this.#box, isFixed ? SHAPES[kind] : undefined);
    for (const line of document.querySelectorAll("[data-scale]")) scale(line);
    if (isFixed) for (const text of document.querySelectorAll("[data-shrink]")) shrink(text);
  }
}
