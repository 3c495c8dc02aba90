"""Verifies JWTs by PyJWT through a JWKS: python verify.py JWKS_URL ISSUER AUDIENCE, the JWT on standard input.
Prints its claims, or `refused: ERROR`."""

import json
import sys

import jwt

url, issuer, audience = sys.argv[1:]
token = sys.stdin.read().strip()
try:
    key = jwt.PyJWKClient(url).get_signing_key_from_jwt(token)
    print(json.dumps(jwt.decode(token, key.key, algorithms=["EdDSA"], issuer=issuer, audience=audience)))
except jwt.PyJWTError as error:
    print(f"refused: {type(error).__name__}")
