// Guards routes of Hono by asking the auth service about every token (RFC 7662). Closed, never open: what is not a clear
// yes is an error, and nothing is kept between requests, so that a deleted token is refused on the next call.

import { getConnInfo } from "@hono/node-server/conninfo";
import { SignJWT } from "jose";

const introspectUrl = `${process.env.AUTH_SERVICE_URL.replace(/\/$/, "")}/oauth/introspect`;
// Of a rotation list the first one signs.
const secret = new TextEncoder().encode(process.env.JWT_SECRET.split(",")[0].trim());
// What tokens call this service that are for some services only.
const audience = process.env.AUDIENCE;

/** `*` may all, `reports:*` may `reports:read`. */
export const may = (scopes, wanted) =>
  scopes.some((held) => held === "*" || held === wanted
    || (held.endsWith(":*") && wanted.startsWith(held.slice(0, -1)) && wanted !== held.slice(0, -1)));

/** The middleware of a route: `c.get("caller")` is a caller with all of these scopes. */
export const requires = (...scopes) => async (c, next) => {
  const requestId = crypto.randomUUID();
  c.header("X-Request-Id", requestId);
  const refuse = (status, code, error, headers = {}, more = {}) =>
    c.json({ error, code, requestId, ...more }, status, { "Cache-Control": "no-store", ...headers });

  const token = /^bearer +(\S+) *$/i.exec(c.req.header("authorization") ?? "")?.[1];
  if (!token || token.length > 8192) {
    return refuse(401, "UNAUTHORIZED", "Send a token", { "WWW-Authenticate": "Bearer" });
  }
  const client = { ip: getConnInfo(c).remote.address, userAgent: c.req.header("user-agent"), requestId };
  const { status, retryAfter, body } = await introspect(token, client).catch(() => ({ status: 0 }));
  if (status === 429 && body?.code === "RATE_LIMIT_EXCEEDED") {
    const more = { retryAfter: Number(retryAfter), resetAt: body.resetAt };
    return refuse(429, body.code, "This token has made too many requests", { "Retry-After": retryAfter }, more);
  }
  if (status !== 200 || typeof body?.active !== "boolean") {
    return refuse(503, "UNAVAILABLE", "Who you are cannot be checked right now", { "Retry-After": "2" });
  }
  // A token that names an audience is for those alone.
  if (!body.active || (body.aud && !body.aud.includes(audience))) {
    return refuse(401, "INVALID_TOKEN", "This token is not valid", { "WWW-Authenticate": 'Bearer error="invalid_token"' });
  }
  c.header("X-RateLimit-Limit", String(body.rateLimit.limit));
  c.header("X-RateLimit-Remaining", String(body.rateLimit.remaining));
  c.header("X-RateLimit-Reset", body.rateLimit.resetAt);
  const held = body.scope.split(" ");
  const missing = scopes.filter((scope) => !may(held, scope)).join(" ");
  if (missing) {
    const challenge = `Bearer error="insufficient_scope", scope="${missing}"`;
    return refuse(403, "FORBIDDEN", `This token lacks ${missing}`, { "WWW-Authenticate": challenge });
  }
  c.set("caller", { userId: body.sub, scopes: held });
  await next();
};

async function introspect(token, client) {
  // Says which service asks, and about whose request: for the audit log, and for tokens with `allowedIps`.
  const claims = { type: "service-to-service", service: "alternatefutures-backend", meta: client };
  const jwt = await new SignJWT(claims).setProtectedHeader({ alg: "HS256" }).setIssuedAt().setExpirationTime("60s").sign(secret);
  const reply = await fetch(introspectUrl, {
    method: "POST",
    headers: { authorization: `Bearer ${jwt}` },
    body: new URLSearchParams({ token }),
    redirect: "error",
    signal: AbortSignal.timeout(5000),
  });
  return { status: reply.status, retryAfter: reply.headers.get("retry-after"), body: await reply.json() };
}
