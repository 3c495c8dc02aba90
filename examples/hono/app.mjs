// A service in JavaScript, guarded by introspection:
//
//     npm ci
//     AUTH_SERVICE_URL=http://127.0.0.1:3001 JWT_SECRET=… PORT=5000 node app.mjs
//     curl -i http://127.0.0.1:5000/reports -H "Authorization: Bearer $TOKEN"

import { serve } from "@hono/node-server";
import { Hono } from "hono";
import { requires } from "./guard.mjs";

const reports = []; // a real service has a database
const app = new Hono();

app.get("/reports", requires("reports:read"), (c) => c.json({ reports }));

app.post("/reports", requires("reports:write"), async (c) => {
  const report = { title: await c.req.text(), by: c.get("caller").userId };
  reports.push(report);
  return c.json(report, 201);
});

app.get("/whoami", requires(), (c) => c.json(c.get("caller")));

app.get("/health", (c) => c.text("ok"));

serve({ fetch: app.fetch, hostname: "127.0.0.1", port: Number(process.env.PORT) });
