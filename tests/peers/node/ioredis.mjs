// Runs ioredis against the fibserver on port argv[2] and prints what it saw, as one JSON line.

import { Redis } from "ioredis";

const client = new Redis({ host: "127.0.0.1", port: Number(process.argv[2]) });

const seen = {};
seen.first = await client.call("FIB.FIRST", 10);
seen.number = await client.call("FIB.NUMBER", 1000);
seen.json = await client.call("FIB.FIRST", 100, "FORMAT", "json");
seen.error = await client.call("FIB.FIRST", "x").catch((error) => error.message);
seen.after = await client.call("FIB.NUMBER", 7);

const pipeline = client.pipeline();
for (let n = 0; n < 100; n++) pipeline.call("FIB.NUMBER", n);
seen.pipeline = (await pipeline.exec()).map(([error, value]) => error?.message ?? value);

const results = await client.multi().call("FIB.NUMBER", 10).call("FIB.FIRST", 3).ping().exec();
seen.transaction = results.map(([error, value]) => error?.message ?? value);

seen.info = await client.info();
seen.quit = await client.quit();
console.log(JSON.stringify(seen));
