"""A service in Python, guarded by introspection:

    python -m venv venv && venv/bin/pip install -r requirements.txt
    AUTH_SERVICE_URL=http://127.0.0.1:3001 JWT_SECRET=… venv/bin/uvicorn app:app --port 5000
    curl -i http://127.0.0.1:5000/reports -H "Authorization: Bearer $TOKEN"

Behind a proxy, uvicorn's `--forwarded-allow-ips` says whose X-Forwarded-For is believed.
"""

from typing import Annotated

from fastapi import Depends, FastAPI, Request

from guard import Caller, Refused, refused, requires

app = FastAPI()
app.add_exception_handler(Refused, refused)
reports: list[dict] = []  # a real service has a database


@app.get("/reports", dependencies=[Depends(requires("reports:read"))])
async def list_reports():
    return {"reports": reports}


@app.post("/reports", status_code=201)
async def create_report(request: Request, caller: Annotated[Caller, Depends(requires("reports:write"))]):
    report = {"title": (await request.body()).decode(), "by": caller.user_id}
    reports.append(report)
    return report


@app.get("/whoami")
async def whoami(caller: Annotated[Caller, Depends(requires())]):
    return {"userId": caller.user_id, "scopes": caller.scopes}


@app.get("/health")
async def health():
    return "ok"
