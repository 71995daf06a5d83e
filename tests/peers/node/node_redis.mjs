// Runs node-redis against the fibserver on port argv[2], in RESP version argv[3], and prints
// what it saw, as one JSON line.

import { createClient } from "redis";

const protocol = Number(process.argv[3]);
const client = createClient({
  RESP: protocol,
  // Its own cache asks for CLIENT TRACKING; it needs the newer protocol.
  ...(protocol === 3 ? { clientSideCache: { ttl: 0, maxEntries: 0, evictPolicy: "LRU" } } : {}),
  socket: { host: "127.0.0.1", port: Number(process.argv[2]), reconnectStrategy: false },
});
await client.connect();

const seen = {};
seen.first = await client.sendCommand(["FIB.FIRST", "10"]);
seen.number = await client.sendCommand(["FIB.NUMBER", "1000"]);
seen.json = await client.sendCommand(["FIB.FIRST", "100", "FORMAT", "json"]);
seen.error = await client.sendCommand(["FIB.FIRST", "x"]).catch((error) => error.message);
seen.after = await client.sendCommand(["FIB.NUMBER", "7"]);

// Requests of one turn of its event loop go out together.
const numbers = Array.from({ length: 100 }, (_, n) => String(n));
seen.pipeline = await Promise.all(numbers.map((n) => client.sendCommand(["FIB.NUMBER", n])));

seen.transaction = await client
  .multi()
  .addCommand(["FIB.NUMBER", "10"])
  .addCommand(["FIB.FIRST", "3"])
  .ping()
  .exec();

seen.info = await client.info();
await client.close();
seen.quit = "OK";
console.log(JSON.stringify(seen));
