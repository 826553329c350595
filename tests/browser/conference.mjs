// A day at a conference, as the dashboard would remember it: every talk is a spike. The same data
// comes out every time.

const STEP = 10;
const HOURS = 6;
/** 16:14 UTC, in the middle of the last talk. */
export const NOW = Date.UTC(2026, 5, 9, 16, 14) / 1000;
const FROM = NOW - HOURS * 3600;
const REACTORS = 4;

const minutes = (text) => {
  const [hour, minute] = text.split(":").map(Number);
  return Date.UTC(2026, 5, 9, hour, minute) / 1000;
};

/** Rooms: name, start, end, peak of members, reactions per member and minute. */
const TALKS = [
  ["opening-keynote", "10:25", "11:10", 9240, 2.6],
  ["zero-downtime", "11:25", "12:05", 5480, 3.4],
  ["css-in-2026", "11:25", "12:10", 2260, 2.9],
  ["postgres-at-scale", "12:20", "13:00", 4130, 2.2],
  ["rust-in-browsers", "14:05", "14:45", 6320, 3.1],
  ["accessibility", "14:10", "14:50", 2870, 2.4],
  ["closing-panel", "15:30", "16:25", 8190, 3.8],
];

let seed = 7;
/** Returns a repeatable number from 0 to 1. */
const chance = () => {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
  return seed / 2 ** 32;
};

const smooth = (x) => {
  const t = Math.min(1, Math.max(0, x));
  return t * t * (3 - 2 * t);
};

/** Share of its peak that a talk has: viewers arrive within minutes, some leave, most stay to the end. */
function attendance(at, start, end) {
  const arrived = smooth((at - start + 420) / 900);
  const left = smooth((at - end + 60) / 420);
  const drift = 1 - 0.2 * smooth((at - start - 600) / 1800);
  return arrived * (1 - left) * drift;
}

/** How excited the viewers are: waves during a talk, applause at its end. */
function mood(at, start, end, phase) {
  const waves = 0.55 + 0.3 * Math.sin(at / 170 + phase) + 0.2 * Math.sin(at / 61 + 2 * phase);
  const applause = 2.2 * Math.exp(-(((at - end + 40) / 75) ** 2));
  return Math.max(0.15, waves) + applause;
}

const at = Array.from({ length: (NOW - FROM) / STEP }, (_, index) => FROM + (index + 1) * STEP);
const rooms = TALKS.map(([name, start, end, peak]) => ({
  name: `main/${name}`,
  members: at.map((time) =>
    Math.round(peak * attendance(time, minutes(start), minutes(end)) * (0.99 + 0.02 * chance())),
  ),
}));
const hallway = at.map((time) => Math.round(190 + 60 * Math.sin(time / 2400) + 20 * chance()));
const connections = at.map((_, index) => rooms.reduce((sum, room) => sum + room.members[index], hallway[index]));
const reactions = at.map((time, index) =>
  TALKS.reduce((sum, [, start, end, , rate], talk) => {
    const each = (rate / 60) * mood(time, minutes(start), minutes(end), talk);
    return sum + rooms[talk].members[index] * each * (0.9 + 0.2 * chance());
  }, 3 * chance()),
);
/** A room broadcasts at most 20 times a second. */
const deliveries = connections.map((count, index) => count * Math.min(19, reactions[index] / 16));
const load = deliveries.map((count) => 0.004 + count / (REACTORS * 105_000) + 0.006 * chance());

const series = {
  connections,
  reactions,
  deliveries,
  load,
  rooms: at.map((_, index) => 14 + rooms.filter((room) => room.members[index] > 0).length),
  conflated: deliveries.map((count) => (count > 40_000 ? (count / 9000) * chance() : 0)),
  streams: connections.map((count) => Math.round(count * 0.012)),
  opened: connections.map((count, index) => Math.max(0, (count - (connections[index - 1] ?? count)) / STEP) + chance()),
  memory: connections.map((count) => 8.6e6 + 66 * count),
  memoryEach: connections.map((count) => (count >= 1000 ? 62 + 6e4 / count + chance() : 0)),
  loadPeak: load.map((share) => share * (1.12 + 0.08 * chance()) + 0.003),
  unsynced: reactions.map((rate) => (rate > 3 ? 0.55 + 0.5 * chance() : 0.1 * chance())),
};

/** What `/history?range=6h` returns. */
export const HISTORY = { step: STEP, at, series, rooms: [...rooms, { name: "main/hallway", members: hallway }] };

const last = at.length - 1;
/** What `/events` sends each second. */
export const SAMPLE = {
  at: at[last],
  series: Object.fromEntries(Object.entries(series).map(([name, values]) => [name, values[last]])),
  rooms: [...rooms.map(({ name, members }) => [name, members[last]]), ["main/hallway", hallway[last]]]
    .filter(([, members]) => members > 0)
    .sort(([, one], [, other]) => other - one),
  reactors: [1.04, 0.93, 1.1, 0.96].map((share) => ({
    load: load[last] * share,
    connections: Math.round((connections[last] / REACTORS) * (0.99 + 0.02 * share)),
  })),
};

/** What `/rooms` returns. */
export const ROOMS = {
  inMemory: series.rooms[last],
  matching: series.rooms[last],
  rooms: [
    {
      party: "main",
      room: "closing-panel",
      members: rooms.at(-1).members[last],
      reactions: 31_482,
      perSecond: reactions[last],
      counts: { "❤": 14_207, "👏": 10_964, "🎉": 3_120, "🔥": 2_415, "😂": 776 },
    },
    { party: "main", room: "hallway", members: hallway[last], reactions: 4_118, perSecond: 1.2, counts: { "😂": 2_690, "❤": 1_428 } },
  ],
};
