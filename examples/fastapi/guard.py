"""Guards routes of FastAPI by asking the auth service about every token (RFC 7662). Closed, never open: what is not a
clear yes is an error, and nothing is kept between requests, so that a deleted token is refused on the next call."""

import os
import time
import uuid
from dataclasses import dataclass

import httpx
import jwt
from fastapi import Request, Response
from fastapi.responses import JSONResponse

INTROSPECT = os.environ["AUTH_SERVICE_URL"].rstrip("/") + "/oauth/introspect"
SECRET = os.environ["JWT_SECRET"].split(",")[0].strip()  # of a rotation list the first one signs
AUDIENCE = os.environ.get("AUDIENCE")  # what tokens call this service that are for some services only
# One client, so that connections are kept. It follows no redirect and no HTTP_PROXY: the JWT goes where we say.
auth = httpx.AsyncClient(timeout=5, trust_env=False)


@dataclass
class Caller:
    user_id: str
    scopes: list[str]

    def may(self, wanted: str) -> bool:
        """`*` may all, `reports:*` may `reports:read`."""
        return any(
            held in ("*", wanted) or (held.endswith(":*") and wanted.startswith(held[:-1]) and wanted != held[:-1])
            for held in self.scopes
        )


class Refused(Exception):
    def __init__(self, status: int, code: str, error: str, headers: dict | None = None, **more):
        self.status, self.headers, self.body = status, headers or {}, {"error": error, "code": code, **more}


async def refused(request: Request, refusal: Refused) -> JSONResponse:
    request_id = getattr(request.state, "request_id", "")
    headers = {**refusal.headers, "X-Request-Id": request_id, "Cache-Control": "no-store"}
    return JSONResponse({**refusal.body, "requestId": request_id}, refusal.status, headers)


def requires(*scopes: str):
    """The dependency of a route: a caller with all of these scopes."""

    async def guard(request: Request, response: Response) -> Caller:
        request.state.request_id = str(uuid.uuid4())
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip() or len(token) > 8192:
            raise Refused(401, "UNAUTHORIZED", "Send a token", {"WWW-Authenticate": "Bearer"})
        reply = await introspect(token.strip(), request)
        caller = Caller(reply["sub"], reply["scope"].split())
        response.headers["X-Request-Id"] = request.state.request_id
        for name, field in (("Limit", "limit"), ("Remaining", "remaining"), ("Reset", "resetAt")):
            response.headers[f"X-RateLimit-{name}"] = str(reply["rateLimit"][field])
        missing = " ".join(scope for scope in scopes if not caller.may(scope))
        if missing:
            challenge = f'Bearer error="insufficient_scope", scope="{missing}"'
            raise Refused(403, "FORBIDDEN", f"This token lacks {missing}", {"WWW-Authenticate": challenge})
        return caller

    return guard


async def introspect(token: str, request: Request) -> dict:
    unavailable = Refused(503, "UNAVAILABLE", "Who you are cannot be checked right now", {"Retry-After": "2"})
    client = {"ip": request.client.host if request.client else None, "requestId": request.state.request_id}
    client["userAgent"] = request.headers.get("user-agent")
    try:
        headers = {"Authorization": f"Bearer {service_jwt(client)}"}
        reply = await auth.post(INTROSPECT, data={"token": token}, headers=headers)
        body = reply.json()
    except (httpx.HTTPError, ValueError) as error:
        raise unavailable from error
    if not isinstance(body, dict):
        raise unavailable
    if reply.status_code == 429 and body.get("code") == "RATE_LIMIT_EXCEEDED":
        retry_after = reply.headers.get("retry-after", "1")
        more = {"retryAfter": int(retry_after), "resetAt": body.get("resetAt")}
        raise Refused(429, body["code"], "This token has made too many requests", {"Retry-After": retry_after}, **more)
    if reply.status_code != 200 or body.get("active") not in (True, False):
        raise unavailable
    # A token that names an audience is for those alone.
    if not body["active"] or ("aud" in body and AUDIENCE not in body["aud"]):
        challenge = 'Bearer error="invalid_token"'
        raise Refused(401, "INVALID_TOKEN", "This token is not valid", {"WWW-Authenticate": challenge})
    return body


def service_jwt(client: dict) -> str:
    """Says which service asks, and about whose request: for the audit log, and for tokens with `allowedIps`."""
    now = int(time.time())
    claims = {"type": "service-to-service", "service": "alternatefutures-backend", "iat": now, "exp": now + 60}
    claims["meta"] = {name: value for name, value in client.items() if value}
    return jwt.encode(claims, SECRET, algorithm="HS256")
