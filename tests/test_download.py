"""Downloads from a server of the test's own: resumed, checked, whole or not at all."""

import base64
import hashlib
import http.server
import threading

import pytest

from kipax.download import download
from kipax.errors import FileError, UsageError

CONTENT = bytes(range(256)) * 5000


class _Handler(http.server.BaseHTTPRequestHandler):
    break_at: int | None = None
    announced: str | None = base64.b64encode(hashlib.md5(CONTENT).digest()).decode()
    requests: list = []  # noqa: RUF012

    def do_GET(self):
        self.requests.append(self.headers.get("Range"))
        if self.path != "/set.npz":
            self.send_error(404)
            return
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        if start >= len(CONTENT):
            self.send_error(416)
            return
        body = CONTENT[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        if self.announced is not None:
            self.send_header("x-goog-hash", f"crc32c=abc, md5={self.announced}")
        self.end_headers()
        self.wfile.write(body if self.break_at is None else body[: self.break_at])

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    handler = type("Handler", (_Handler,), {"requests": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        running.url = f"http://127.0.0.1:{running.server_port}/set.npz"
        yield running
        running.shutdown()


def test_whole(server, tmp_path):
    path = download(server.url, tmp_path / "sub" / "set.npz")
    assert path.read_bytes() == CONTENT
    download(server.url, path)  # is there already
    download(server.url, path, sha256=hashlib.sha256(CONTENT).hexdigest().upper())
    with pytest.raises(FileError, match=r"set\.npz is another file: its checksum is"):
        download(server.url, path, sha256="00" * 32)
    assert path.read_bytes() == CONTENT
    assert server.RequestHandlerClass.requests == [None]
    assert [f.name for f in path.parent.iterdir()] == ["set.npz"]


def test_goes_on_where_it_broke_off(server, tmp_path):
    path = tmp_path / "set.npz"
    server.RequestHandlerClass.break_at = 100_000
    with pytest.raises(FileError, match=r"broke off|call again"):
        download(server.url, path)
    assert not path.exists()
    server.RequestHandlerClass.break_at = None
    assert download(server.url, path).read_bytes() == CONTENT
    assert server.RequestHandlerClass.requests[1] == "bytes=100000-"


def test_a_stale_partial_file_is_dropped(server, tmp_path):
    path = tmp_path / "set.npz"
    path.with_name("set.npz.part").write_bytes(CONTENT + b"more")
    assert download(server.url, path).read_bytes() == CONTENT


def test_what_nothing_proves_is_not_continued(server, tmp_path):
    """The server may have had another file when the transfer broke off."""
    server.RequestHandlerClass.announced = None
    path = tmp_path / "set.npz"
    path.with_name("set.npz.part").write_bytes(b"of an older file")
    assert download(server.url, path).read_bytes() == CONTENT
    assert server.RequestHandlerClass.requests == ["bytes=16-", None]


@pytest.mark.parametrize("sha256", [None, "00" * 32])
def test_damage_is_noticed(server, tmp_path, sha256):
    server.RequestHandlerClass.announced = base64.b64encode(b"0" * 16).decode()
    path = tmp_path / "set.npz"
    with pytest.raises(FileError, match="arrived damaged: its checksum is"):
        download(server.url, path, sha256=sha256)
    assert list(tmp_path.iterdir()) == []
    right = hashlib.sha256(CONTENT).hexdigest()
    assert download(server.url, path, sha256=right).exists()


def test_errors(server, tmp_path):
    with pytest.raises(FileError, match="404"):
        download(server.url.replace("set", "other"), tmp_path / "x")
    with pytest.raises(UsageError, match="http or https"):
        download("file:///etc/passwd", tmp_path / "x")
    with pytest.raises(FileError, match="call again"):
        download("http://127.0.0.1:9/none", tmp_path / "x")
