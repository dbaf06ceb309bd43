"""Small engines for the tests of the faulty proxy."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Any


class Echo(ThreadingTCPServer):
    """An engine of no protocol, which says back what it hears."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _EchoHandler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Broken connections are what these tests are about."""


class Store(ThreadingHTTPServer):
    """An engine of HTTP/1.1 that keeps what is PUT."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _StoreHandler)
        self.objects: dict[str, bytes] = {}
        self.welcomes = 0  # bodies that were let come by the answer 100

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Broken connections are what these tests are about."""


class _EchoHandler(BaseRequestHandler):
    def handle(self) -> None:
        while heard := self.request.recv(1 << 16):
            self.request.sendall(heard)


class _StoreHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Store

    def do_PUT(self) -> None:
        self.server.objects[self.path] = self.body()
        self.answer(200, b"")

    def do_GET(self) -> None:
        """An object, told as its name wants: in chunks, to the connection's end, or by length."""
        content = self.server.objects[self.path]
        if "chunks" in self.path:
            self.begin(200, "Transfer-Encoding", "chunked")
            for chunk in (content[:3], content[3:]):
                self.wfile.write(b"%X;noted=yes\r\n%b\r\n" % (len(chunk), chunk))
            self.wfile.write(b"0\r\nX-Trailer: yes\r\n\r\n")
        elif "endless" in self.path:
            self.begin(200, "Connection", "close")
            self.wfile.write(content)
        elif "broken" in self.path:
            self.begin(200, "Content-Length", str(len(content)))
            self.wfile.write(content[:-1])
            self.close_connection = True
        else:
            self.answer(200, content)

    def do_HEAD(self) -> None:
        self.begin(200, "Content-Length", str(len(self.server.objects[self.path])))

    def do_DELETE(self) -> None:
        del self.server.objects[self.path]
        self.begin(204, "X-Deleted", "1")

    def handle_expect_100(self) -> bool:
        """An object that may not be replaced is refused before its body comes."""
        if self.headers["If-None-Match"] == "*" and self.path in self.server.objects:
            self.answer(412, b"")
            return False
        self.server.welcomes += 1
        return super().handle_expect_100()

    def body(self) -> bytes:
        if self.headers["Transfer-Encoding"] != "chunked":
            return self.rfile.read(int(self.headers["Content-Length"]))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def answer(self, status: int, content: bytes) -> None:
        self.begin(status, "Content-Length", str(len(content)))
        self.wfile.write(content)

    def begin(self, status: int, name: str, value: str) -> None:
        self.send_response(status)
        self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Nothing."""
