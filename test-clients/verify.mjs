// Verifies JWTs by `jose` through a JWKS: node verify.mjs JWKS_URL ISSUER AUDIENCE, the JWT on standard input.
// Prints its claims, or `refused: CODE`.
import { readFileSync } from "node:fs";
import { createRemoteJWKSet, jwtVerify } from "jose";

const [url, issuer, audience] = process.argv.slice(2);
const keys = createRemoteJWKSet(new URL(url));
try {
  const { payload } = await jwtVerify(readFileSync(0, "utf8").trim(), keys, { issuer, audience });
  console.log(JSON.stringify(payload));
} catch (error) {
  console.log(`refused: ${error.code}`);
}
