/** Says how the page is connected, and why it isn't. */

import { at, write } from "./dom.js";

/** The notice about kept taps waits until the taps pause for this long. */
const NOTICE_AFTER_MS = 500;
/** HTTP status for a room name that is too long. */
const TOO_LONG = 414;

const STATES = { connecting: "Connecting", open: "Live", waiting: "Reconnecting", refused: "Refused", closed: "Closed" };
/** Why the server turned the page away. */
const REASONS = {
  token: "You need a new link to this room: the token in this one is missing, wrong or has expired.",
  permission: "This link doesn't let you into this room.",
  origin: "This page may not use the server.",
  closed: "This room is closed. Thank you for being here.",
  rate: "Too many reactions came from this page. It will try again in a few minutes.",
};
const FROZEN = "Reactions are paused.";
/** Why the server didn't count a tap. */
const LOST = {
  frozen: FROZEN,
  permission: "This link lets you watch, but not react.",
  kind: "This server doesn't count this reaction.",
  kinds: "This room can't count another kind of reaction.",
};

let saying;

/** Shows a notice, which screen readers announce. `afterMs` delays it until the last of several. */
export function say(words, afterMs = 0) {
  clearTimeout(saying);
  if (afterMs) saying = setTimeout(() => write("notice", words), afterMs);
  else write("notice", words);
}

/** Shows the state of a room, and calls `turn` with whether its buttons are off. */
export function watchState(room, address, turn) {
  /** Whether the room has been open, or the reason why not is known. */
  let isKnown = false;

  room.addEventListener("state", ({ detail: { state, mode, queued, transport, reason } }) => {
    at("state").dataset.state = state;
    turn(state === "refused" || state === "closed" || mode === "frozen");
    if (state !== "open") at("here").textContent = "";
    write("state-text", state === "open" && transport === "sse" ? "Live (without WebSocket)" : STATES[state]);
    const kept = queued === 1 ? "1 tap is saved and will be sent" : `${queued} taps are saved and will be sent`;
    if (state === "closed") say(REASONS.closed);
    else if (state === "refused") say(REASONS[reason] ?? "The server refused this page.");
    else if (state !== "open" && queued) say(`You are disconnected. ${kept} when you reconnect.`, NOTICE_AFTER_MS);
    else if (state === "waiting") say("Connection lost. Reconnecting…");
    else if (state === "open") {
      if (!isKnown || !at("notice").textContent) say(mode === "frozen" ? FROZEN : "");
      else if (![FROZEN, ...Object.values(LOST)].includes(at("notice").textContent)) {
        at("summary").textContent = "You are back online.";
        say(mode === "frozen" ? FROZEN : "");
      } else if (mode !== "frozen" && at("notice").textContent === FROZEN) say("");
    }
    if (state === "open") isKnown = true;
    else if (state === "waiting" && !isKnown) ask();
  });

  room.addEventListener("refused", ({ detail: { reason } }) => {
    say(LOST[reason] ?? "The server is full and could not count your reaction.");
  });

  /** A browser doesn't report why a connection fails. Checks whether the room name is the reason. */
  async function ask() {
    isKnown = true;
    const { status } = await fetch(address).catch(() => ({ status: 0 }));
    isKnown = status > 0;
    if (status !== TOO_LONG) return;
    room.close();
    say("The name of this room is too long. Use a shorter name.");
  }
}
