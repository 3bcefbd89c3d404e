"""An app that tries what it must not, and says what came of it. Standard library only."""

import base64
import ctypes
import json
import os
import socket
import subprocess
import sys
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from urllib.request import Request, urlopen

libc = ctypes.CDLL(None, use_errno=True)


def connect(host, port):
    socket.create_connection((host, port), timeout=2).close()


def read(path):
    Path(path).read_bytes()


def write(path):
    Path(path).write_text("x")


def call(result):
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def gateway():
    """The address of the machine outside, as the route to the world tells it."""
    for line in Path("/proc/net/route").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1] == "00000000":
            return socket.inet_ntoa(bytes.fromhex(fields[2])[::-1])
    raise OSError("no route to the world")


def processes():
    """Sees a process that is not of this sandbox."""
    names = [p.read_bytes() for p in Path("/proc").glob("[0-9]*/cmdline")]
    if not any(b"slipway\0core" in n or b"slipway\0up" in n for n in names):
        raise OSError("only own processes are seen")


def platform_files():
    found = [p for p in Path("/").glob("*/**/slipway.db") if p.is_file()]
    if not found:
        raise OSError("the platform's database is not to be seen")


def platform_sockets():
    found = [l for l in Path("/proc/net/unix").read_text().splitlines() if "core.sock" in l or "admin.sock" in l]
    found += [p for p in Path("/").glob("*/**/core.sock")]
    if not found:
        raise OSError("the platform's sockets are not to be seen")


def become_root():
    subprocess.run(["/bin/su", "-c", "true"], check=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=5)


def init_environment():
    read("/proc/1/environ")


def raw_socket():
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()


def signal_init():
    os.kill(1, 9)  # where the init is the same user's, the kernel protects it
    raise OSError("it goes on")  # with it this process would have ended, and nobody answered


def docker_socket():
    for path in ("/var/run/docker.sock", "/run/containerd/containerd.sock", "/run/dbus/system_bus_socket"):
        s = socket.socket(socket.AF_UNIX)
        try:
            s.connect(path)
            return
        except OSError:
            pass
        finally:
            s.close()
    raise OSError("no socket of the machine is to be seen")


def viewer(token):
    """Asks the platform who looks, as dash-enterprise-auth does, and waits no longer than a person would."""
    keys, about = (Request(os.environ[name]) for name in ("DASH_JWKS_URL", "DASH_USER_INFO_URL"))
    about.add_header("Authorization", "Bearer " + base64.b64decode(token).decode())
    if not json.load(urlopen(keys, timeout=2))["keys"]:
        raise OSError("the platform has no keys")
    return "viewer " + json.load(urlopen(about, timeout=2))["preferred_username"]


def platform_api():
    """Asks the platform's door for something that is not for apps."""
    urlopen("http://127.0.0.1:7500/v1/apps", timeout=3).read()


PROBES = {
    "connect to the machine's own services": lambda: connect(gateway(), 22),
    "connect to the edge around the gateway": lambda: connect(gateway(), int(os.environ.get("EDGE_PORT", "8443"))),
    "write to the app's files": lambda: write("/app/x"),
    "write to the environment": lambda: write("/env/x"),
    "write to the system": lambda: write("/usr/bin/x"),
    "see other processes": processes,
    "find the platform's database": platform_files,
    "find the platform's sockets": platform_sockets,
    "read the shadow file": lambda: read("/etc/shadow"),
    "mount": lambda: call(libc.mount(b"none", b"/tmp", b"tmpfs", 0, None)),
    "make a user namespace": lambda: call(libc.unshare(0x10000000)),
    "trace the init": lambda: call(libc.ptrace(16, 1, 0, 0)),
    "open a raw socket": raw_socket,
    "kill the init": signal_init,
    "become root": become_root,
    "read the init's environment": init_environment,
    "use a socket of the machine": docker_socket,
    "ask the API through the platform's door": platform_api,
    "change the clock": lambda: call(libc.settimeofday(ctypes.byref((ctypes.c_long * 2)(0, 0)), None)),
}


def probe():
    results = []
    for name, attempt in PROBES.items():
        try:
            attempt()
            results.append({"name": name, "denied": False, "detail": "it worked"})
        except Exception as e:  # noqa: BLE001 - whatever stops it
            results.append({"name": name, "denied": True, "detail": f"{type(e).__name__}: {e}"})
    return results


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        url = urlsplit(self.path)
        query = parse_qs(url.query)
        if url.path == "/headers":
            text = "".join(f"{k}: {v}\n" for k, v in self.headers.items())
        elif url.path == "/env":
            text = os.environ.get(query.get("name", [""])[0], "") + "\n"
        elif url.path == "/probe":
            text = json.dumps(probe(), indent=1) + "\n"
        elif url.path == "/viewer":
            text = viewer(SimpleCookie(self.headers.get("Cookie", ""))["kcToken"].value) + "\n"
        elif url.path == "/connect":
            try:
                connect(query["host"][0], int(query["port"][0]))
                text = "connected\n"
            except OSError as e:
                text = f"denied: {e}\n"
        else:
            text = f"{sys.version}\n{self.path}\n"
        body = text.encode()
        self.send_response(200)
        if url.path == "/cookie":
            self.send_header("Set-Cookie", f"mine={query['value'][0]}; Path=/; Domain={self.headers['Host'].split(':')[0]}")
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


if __name__ == "__main__":
    ThreadingHTTPServer(("0.0.0.0", int(os.environ["PORT"])), Handler).serve_forever()
