"""A real HTTPS server on the loopback, which urllib trusts through SSL_CERT_FILE."""

import datetime
import http.server
import ipaddress
import ssl
import threading
import time
from dataclasses import dataclass, field

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


@dataclass
class Server:
    files: dict[str, bytes]
    url: str = ""
    asked: list[str] = field(default_factory=list)
    pause_seconds: float = 0.0


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificate")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "loopback")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "both.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture
def https_server(certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    running = []

    def start(files, *, pause_seconds=0.0, declared_bytes=None):
        state = Server(files, pause_seconds=pause_seconds)

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                state.asked.append(self.path)
                data = state.files.get(self.path.rpartition("/")[2])
                if data is None:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(declared_bytes or len(data)))
                self.end_headers()
                for start in range(0, len(data), 1000):
                    try:
                        self.wfile.write(data[start : start + 1000])
                        self.wfile.flush()
                    except OSError:
                        return
                    if state.pause_seconds:
                        time.sleep(state.pause_seconds)

            def log_message(self, *args):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *args: None
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        running.append((server, thread))
        state.url = f"https://127.0.0.1:{server.server_address[1]}/"
        return state

    yield start
    for server, thread in running:
        server.shutdown()
        thread.join()
        server.server_close()
