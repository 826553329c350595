/** The kinds of reactions: which to show by default, and as what. */

/** The default kinds: the words that the documentation and other clients use too. */
const NAMED_KINDS = ["love", "clap", "party", "laugh", "fire"];

/** Kinds to show by default. A server with `--kinds` puts its own here. */
export const DEFAULT_KINDS = NAMED_KINDS;

/** Words that are shown as a picture. The word remains the accessible name. */
const PICTURES = {
  __proto__: null,
  love: "❤", heart: "❤", like: "👍", clap: "👏", applause: "👏", party: "🎉", tada: "🎉", laugh: "😂",
  joy: "😂", fire: "🔥", wow: "😮", sad: "😢", rocket: "🚀", star: "⭐", think: "🤔", yes: "✅", no: "❌",
};

/** Text to show for a kind: a single pictograph in its coloured form. @param {string} kind */
export const glyph = (kind) => (/^\p{Extended_Pictographic}$/u.test(kind) ? `${kind}\ufe0f` : kind);

/** Text to show for a kind: the picture of a well-known word, or else its {@link glyph}.
 * @param {string} kind */
export const picture = (kind) => glyph(PICTURES[kind] ?? kind);

/** Number of letters or pictures, as a reader counts them. @param {string} text */
export const lettersOf = (text) => [...(Intl.Segmenter ? new Intl.Segmenter().segment(text) : text)].length;

/** Whether a text is a word, not one or two pictures. @param {string} text */
export const isWord = (text) => lettersOf(text) > 2;

/**
 * The kinds to show for `kinds` in a room with these counts. The default kinds were emoji before
 * they were words. A room that has counted only the emoji goes on with the emoji, and a room that
 * has counted both shows both.
 * @param {string[]} kinds @param {Map<string, number>} counts
 */
export function shownKinds(kinds, counts) {
  if (kinds !== NAMED_KINDS) return [...new Set(kinds)];
  return kinds.flatMap((kind) => {
    const emoji = PICTURES[kind];
    if (!counts.has(emoji)) return [kind];
    return counts.has(kind) ? [kind, emoji] : [emoji];
  });
}
