// An API in Node that tells what has reached it.

import { createServer } from "node:http";

let seen = 0;

const server = createServer(async (request, response) => {
  const report = { seen: ++seen, method: request.method, path: request.url, headers: request.headers, body: "" };
  for await (const chunk of request) report.body += chunk.toString("latin1");
  response.writeHead(200, { "Content-Type": "application/json", Connection: "close" });
  response.end(JSON.stringify(report));
});

// Takes every upgrade that reaches it, and sends back what it is sent.
server.on("upgrade", (request, socket) => {
  seen += 1;
  const { upgrade, "x-auth-user-id": user } = request.headers;
  socket.on("error", () => socket.destroy());
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ${upgrade}\r\nX-Caller: ${user}\r\n\r\n`);
  socket.pipe(socket);
});

server.listen(Number(process.argv[2]), "127.0.0.1");
