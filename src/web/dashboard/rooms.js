/** The table of rooms: search, sort, and what an operator does to a room. */

const INTERVAL_MS = 2000;
const PAGE = 50;
const MOST = 500;
/** Maximum number of kinds in a row. */
const KINDS = 8;
const whole = new Intl.NumberFormat();
const rate = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 });

/** What an operator does to a room. A room can't be put into the mode that it is in (`mode`). */
const ACTIONS = {
  reset: {
    label: "Reset",
    text: (_, reactions) => `This sets its ${reactions} reactions to zero for everyone. It can't be undone.`,
    yes: "Reset the counts",
    done: " is reset",
  },
  open: {
    label: "Open",
    mode: "open",
    text: () => "This lets everyone join and react again.",
    yes: "Open the room",
    done: " is open",
  },
  freeze: {
    label: "Freeze",
    mode: "frozen",
    text: (people) => `This lets its ${people} see the counts, but counts no reactions until you open it.`,
    yes: "Freeze the room",
    done: " is frozen",
  },
  close: {
    label: "Close",
    mode: "closed",
    text: (people) => `This disconnects its ${people}. Nobody can join until you open it. The counts are kept.`,
    yes: "Close the room",
    done: " is closed",
  },
  remove: {
    label: "Remove",
    text: (people, reactions) =>
      `This removes the room with its ${reactions} reactions and disconnects its ${people}. It can't be undone.`,
    yes: "Remove the room",
    done: " is removed",
  },
};

const $ = (selector) => document.querySelector(selector);

/** Isolates a name chosen by a client, so that text directions in it end with it. */
export const isolated = (name) => Object.assign(document.createElement("bdi"), { textContent: name, title: name });

export class Rooms {
  #body = $("#rooms tbody");
  #search = $("#search");
  #more = $("#more");
  #dialog = $("#confirm");
  #say;
  #sort = "members";
  #limit = PAGE;
  #timer = 0;
  /** Number of the last request. Responses to earlier requests are stale. */
  #asked = 0;
  /** @type {Map<string, HTMLTableRowElement>} */
  #rows = new Map();

  /** @param {(...words: (string | Node)[]) => void} say shows the result of an action */
  constructor(say) {
    this.#say = say;
    this.#search.addEventListener("input", () => this.refresh());
    this.#more.addEventListener("click", () => {
      this.#limit = Math.min(MOST, this.#limit + 2 * PAGE);
      this.refresh();
    });
    for (const button of document.querySelectorAll("[data-sort]")) {
      button.addEventListener("click", () => this.#sortBy(button.dataset.sort));
    }
    document.addEventListener("visibilitychange", () => this.refresh());
    this.refresh();
  }

  async refresh() {
    clearTimeout(this.#timer);
    if (document.hidden) return;
    const number = ++this.#asked;
    const query = new URLSearchParams({
      limit: this.#limit,
      sort: this.#sort,
      search: this.#search.value.trim(),
    });
    try {
      const response = await fetch(`/rooms?${query}`);
      if (number !== this.#asked) return;
      if (response.ok) this.#show(await response.json());
    } catch {
      // The state of the event stream shows that the server is gone.
    }
    if (number === this.#asked) this.#timer = setTimeout(() => this.refresh(), INTERVAL_MS);
  }

  #sortBy(sort) {
    this.#sort = sort;
    for (const button of document.querySelectorAll("[data-sort]")) {
      const order = sort === "name" ? "ascending" : "descending";
      button.closest("th").setAttribute("aria-sort", button.dataset.sort === sort ? order : "none");
    }
    this.refresh();
  }

  #show({ inMemory, matching, rooms }) {
    const isFound = this.#search.value.trim() !== "";
    const all = inMemory === 1 ? "1 in memory" : `${whole.format(inMemory)} in memory`;
    $("#rooms-summary").textContent = isFound ? `${whole.format(matching)} found, ${all}` : all;
    this.#more.hidden = rooms.length >= matching || this.#limit >= MOST;
    $("#rooms-note").textContent = matching
      ? rooms.length < matching
        ? `${whole.format(rooms.length)} of ${whole.format(matching)} shown`
        : ""
      : isFound
        ? "No room in memory has this name. Rooms without members are in the snapshot."
        : "No room has members. Rooms without members are in the snapshot.";
    const shown = rooms.map((room) => this.#row(room));
    // Moves only rows whose position changed, because a moved row loses the focus.
    shown.forEach((row, index) => {
      if (this.#body.children[index] !== row) this.#body.insertBefore(row, this.#body.children[index]);
    });
    while (this.#body.children.length > shown.length) this.#body.lastChild.remove();
    const kept = new Set(shown);
    for (const [key, row] of this.#rows) if (!kept.has(row)) this.#rows.delete(key);
  }

  #row(room) {
    const key = `${room.party}/${room.room}`;
    let row = this.#rows.get(key);
    if (!row) {
      row = this.#newRow(room);
      this.#rows.set(key, row);
    }
    const [, members, reactions, perSecond, kinds] = row.children;
    members.textContent = whole.format(room.members);
    reactions.textContent = whole.format(room.reactions);
    perSecond.textContent = room.perSecond ? rate.format(room.perSecond) : "";
    const counts = Object.entries(room.counts);
    const parts = counts.slice(0, KINDS).map(([kind, count]) => {
      const name = document.createElement("b");
      name.append(isolated(kind));
      const part = document.createElement("span");
      part.append(name, ` ${whole.format(count)}`);
      return part;
    });
    if (counts.length > KINDS) parts.push(`+ ${counts.length - KINDS}`);
    kinds.firstChild.replaceChildren(...parts);
    row.dataset.mode = room.mode;
    for (const button of row.querySelectorAll("[data-action]"))
      button.hidden = ACTIONS[button.dataset.action].mode === room.mode;
    row.room = room;
    return row;
  }

  #newRow(room) {
    const row = document.createElement("tr");
    const name = document.createElement("th");
    name.scope = "row";
    name.title = `${room.party}/${room.room}`;
    const party = Object.assign(document.createElement("small"), { textContent: `${room.party} / ` });
    name.append(party, isolated(room.room));
    const cells = [1, 2, 3, 4, 5].map(() => document.createElement("td"));
    cells[3].append(Object.assign(document.createElement("div"), { className: "kinds" }));
    cells[4].className = "actions";
    for (const action of Object.keys(ACTIONS)) {
      const button = document.createElement("button");
      button.textContent = ACTIONS[action].label;
      button.dataset.action = action;
      button.setAttribute("aria-label", `${button.textContent} ${room.party}/${room.room}`);
      button.addEventListener("click", () => this.#confirm(action, row.room));
      cells[4].append(button);
    }
    row.append(name, ...cells);
    return row;
  }

  #confirm(action, { party, room, members, reactions }) {
    const people = members === 1 ? "1 member" : `${whole.format(members)} members`;
    const { label, text, yes } = ACTIONS[action];
    $("#confirm-title").replaceChildren(`${label} `, isolated(`${party}/${room}`), "?");
    $("#confirm-text").textContent = text(people, whole.format(reactions));
    $("#confirm-yes").textContent = yes;
    this.#dialog.returnValue = "no";
    this.#dialog.onclose = () => {
      if (this.#dialog.returnValue === "yes") this.#act(action, party, room);
    };
    this.#dialog.showModal();
  }

  async #act(action, party, room) {
    const path = `/rooms/${encodeURIComponent(party)}/${encodeURIComponent(room)}/${action}`;
    const { done } = ACTIONS[action];
    const name = isolated(`${party}/${room}`);
    try {
      const response = await fetch(path, { method: "POST", headers: { "X-Ovation": "1" } });
      const why = response.status === 200 ? "" : await response.text();
      this.#say(name, why ? `: ${why}` : done);
    } catch {
      this.#say(name, ": the server does not respond");
    }
    this.refresh();
  }
}
