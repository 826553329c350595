// The reaction counter, written well with ws: no compression, and one encoded frame per tick that all
// members of a room share. Run as `node server.mjs PORT`.
import { createServer } from "node:http";
import { WebSocketServer, Sender } from "ws";

const TICK_MS = 50;
const rooms = new Map();

class Room {
  members = new Set();
  counts = new Map();
  timer = null;

  text() {
    return JSON.stringify(Object.fromEntries(this.counts));
  }

  react(data) {
    let kind;
    try {
      kind = JSON.parse(data).kind;
    } catch {
      return;
    }
    if (typeof kind !== "string" || kind === "") return;
    this.counts.set(kind, (this.counts.get(kind) ?? 0) + 1);
    this.timer ??= setTimeout(() => this.broadcast(), TICK_MS);
  }

  broadcast() {
    this.timer = null;
    const frame = Buffer.concat(
      Sender.frame(Buffer.from(this.text()), {
        fin: true,
        rsv1: false,
        opcode: 1,
        mask: false,
        readOnly: true,
      }),
    );
    for (const { socket, websocket } of this.members) {
      if (websocket.readyState !== 1) continue;
      // A slow member gets newer counts later instead of a queue.
      if (socket.writableLength === 0) socket.write(frame);
      else this.timer ??= setTimeout(() => this.broadcast(), TICK_MS);
    }
  }
}

const server = createServer((request, response) => response.writeHead(404).end());
const sockets = new WebSocketServer({
  server,
  perMessageDeflate: false,
  skipUTF8Validation: true,
});
sockets.on("connection", (websocket, request) => {
  let room = rooms.get(request.url);
  if (!room) rooms.set(request.url, (room = new Room()));
  const member = { socket: request.socket, websocket };
  room.members.add(member);
  websocket.on("message", (data) => room.react(data));
  websocket.on("close", () => room.members.delete(member));
  websocket.on("error", () => {});
  websocket.send(room.text());
});
server.listen({ host: "127.0.0.1", port: Number(process.argv[2] ?? 1999), backlog: 4096 });
