"""A page about the weather, with what Python itself has: it deploys in seconds."""

import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PAGE = b"<!doctype html><html lang=en><title>Weather</title><h1>Weather</h1><p>Sunny, 24 degrees</p>"


class Weather(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(404 if self.path.startswith("/favicon") else 200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(PAGE)
        print(f"served {self.path}", flush=True)

    def log_message(self, *args):
        pass


if "STATION" in os.environ:
    print(f"station {os.environ['STATION']}", flush=True)
print("no barometer here: guessing", file=sys.stderr, flush=True)
ThreadingHTTPServer(("0.0.0.0", int(os.environ["PORT"])), Weather).serve_forever()
