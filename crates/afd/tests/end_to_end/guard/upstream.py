"""An API of the WSGI kind that tells what has reached it. WSGI knows header fields as CGI does: HTTP_X_AUTH_USER_ID."""

import json
import sys
from wsgiref.simple_server import WSGIRequestHandler, make_server

seen = 0


class Quiet(WSGIRequestHandler):
    def log_message(self, *args):
        pass


def app(environ, start):
    global seen
    seen += 1
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)).decode("latin1")
    headers = {name[5:].lower().replace("_", "-"): value for name, value in environ.items() if name.startswith("HTTP_")}
    report = {"seen": seen, "method": environ["REQUEST_METHOD"], "path": environ["PATH_INFO"], "headers": headers}
    reply = json.dumps({**report, "body": body}).encode()
    start("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(reply)))])
    return [reply]


make_server("127.0.0.1", int(sys.argv[1]), app, handler_class=Quiet).serve_forever()
