// The WebSocket library `ws`, as a server and as a client. Run by interop.py.
//   node interop.js serve          prints its port, and sends back what it gets
//   node interop.js ask URL        exits with 0 when all that it sent came back
const { WebSocket, WebSocketServer } = require("ws");

const [, , role, url] = process.argv;

if (role === "serve") {
  const server = new WebSocketServer({ host: "127.0.0.1", port: 0, maxPayload: 1 << 26 });
  server.on("listening", () => console.log(server.address().port));
  server.on("connection", (socket) => {
    socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
  });
} else {
  ask(url).then(
    () => process.exit(0),
    (error) => {
      console.error(String(error));
      process.exit(1);
    },
  );
  setTimeout(() => process.exit(2), 20000).unref();
}

async function ask(url) {
  // The certificate is one that only this run knows.
  const socket = new WebSocket(url, { rejectUnauthorized: false });
  await event(socket, "open");
  for (const sent of ["text", "\u{1F600}".repeat(1000), Buffer.alloc(1 << 20, 7), ""]) {
    socket.send(sent);
    const [data, isBinary] = await event(socket, "message");
    const same = Buffer.compare(data, Buffer.from(sent)) === 0 && isBinary === Buffer.isBuffer(sent);
    if (!same) throw new Error(`${sent.length} sent, others came back`);
  }
  socket.ping("?");
  await event(socket, "pong");
  socket.close(4001, "enough");
  const [code, reason] = await event(socket, "close");
  if (code !== 4001 || String(reason) !== "enough") throw new Error(`closed with ${code} ${reason}`);
}

function event(socket, name) {
  return new Promise((resolve, reject) => {
    socket.once(name, (...values) => resolve(values));
    socket.once("error", reject);
  });
}
