"""Clients and servers of others through `coracle balance`, over its HTTP and its HTTPS listener. Run by interop.sh.

Each line says what was tried and how it came out; a failure says what was seen. No times: what works is shown here, how
fast in the others.
"""

import contextlib
import os
import pathlib
import queue
import re
import shutil
import ssl
import subprocess
import sys
import tempfile

import grpc
import websockets.sync.client

import interop_servers as servers
from harness import CORACLE, Server, free_port

SCRIPT = pathlib.Path(__file__).with_name("interop.js")
STOCK_HYPER = 87  # of httpwg-cli's 107 cases


def main():
    wanted = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        place = Place(folder, stack)
        outcomes = []
        for name, check in checks(place):
            if wanted and not any(word in name for word in wanted):
                continue
            try:
                remark = check()
            except Exception as error:  # whatever a client makes of a wrong answer
                remark, outcome = f": {type(error).__name__}: {error}", "FAILED"
            else:
                remark, outcome = f" ({remark})" if remark else "", "ok"
            outcomes.append(outcome == "ok")
            print(f"{outcome}: {name}{remark}", flush=True)
    print(f"{sum(outcomes)} of {len(outcomes)}")
    sys.exit(0 if outcomes and all(outcomes) else 1)


class Place:
    """The servers, and the balancer in front of them."""

    def __init__(self, folder, stack):
        self.folder = folder
        self.certificate, key = certificate(folder)
        node = stack.enter_context(node_server())
        rpc, self.rpc_server = servers.rpc()
        self.http, self.https = free_port(), free_port()
        rules = """
      - {priority: 1, conditions: [{path-pattern: /socket/python}], action: {forward: python}}
      - {priority: 2, conditions: [{path-pattern: /socket/node}], action: {forward: node}}
      - {priority: 3, conditions: [{path-pattern: /test.Echo/*}], action: {forward: rpc}}"""
        config = pathlib.Path(folder, "balance.yaml")
        config.write_text(
            f"""targetGroups:
  plain: {{targets: ['127.0.0.1:{servers.plain()}', '127.0.0.1:{servers.plain()}']}}
  python: {{targets: ['127.0.0.1:{servers.web_socket()}'], healthCheck: {{enabled: false}}}}
  node: {{targets: ['127.0.0.1:{node.port}'], healthCheck: {{enabled: false}}}}
  rpc: {{targets: ['127.0.0.1:{rpc}'], protocolVersion: GRPC}}
listeners:
  http:
    listen: 127.0.0.1:{self.http}
    rules: {rules}
    default: {{forward: plain}}
  https:
    listen: 127.0.0.1:{self.https}
    protocol: HTTPS
    certificates: [{{chain: '{self.certificate}', key: '{key}'}}]
    rules: {rules}
    default: {{forward: plain}}
"""
        )
        stack.enter_context(Server("coracle balance", [CORACLE, "balance", "--config", config], self.http))

    def url(self, scheme, path="/"):
        secure = scheme in ("https", "wss")
        return f"{scheme}://localhost:{self.https if secure else self.http}{path}"


def certificate(folder):
    chain, key = f"{folder}/chain.pem", f"{folder}/key.pem"
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    run(*command, "-subj", "/CN=localhost", "-addext", names, "-keyout", key, "-out", chain)
    return chain, key


@contextlib.contextmanager
def node_server():
    process = subprocess.Popen(["node", SCRIPT, "serve"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    process.port = int(process.stdout.readline())
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def run(*command, **options):
    """What a command wrote. Its own word is taken for whether it worked."""
    done = subprocess.run([str(part) for part in command], capture_output=True, timeout=120, **options)
    if done.returncode:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {(done.stderr or done.stdout).decode(errors='replace')[-500:]}")
    return done.stdout


def expect(seen, wanted):
    if seen != wanted:
        raise AssertionError(f"{seen!r:.300}, and not {wanted!r:.300}")


def checks(place):
    """Names, and what is to be tried."""
    curls = {
        "curl --http1.0": ("http", ["--http1.0"], "1"),
        "curl --http1.1": ("http", ["--http1.1"], "1.1"),
        "curl --http2-prior-knowledge": ("http", ["--http2-prior-knowledge"], "2"),
        "curl --http2 with an upgrade": ("http", ["--http2"], "1.1"),
        "curl --http1.1 over TLS": ("https", ["--http1.1"], "1.1"),
        "curl --http2 over TLS": ("https", ["--http2"], "2"),
        "curl over TLS 1.2": ("https", ["--tls-max", "1.2"], "2"),
    }
    for name, (scheme, flags, version) in curls.items():
        yield name, lambda scheme=scheme, flags=flags, version=version: curl(place, scheme, flags, version)
    for scheme in ("http", "https"):
        yield f"h2load over {scheme}", lambda scheme=scheme: h2load(place.url(scheme), [])
        yield f"h2load --h1 over {scheme}", lambda scheme=scheme: h2load(place.url(scheme), ["--h1"])
    for scheme in ("ws", "wss"):
        for server in ("python", "node"):
            url = place.url(scheme, f"/socket/{server}")
            yield f"websockets to {server} over {scheme}", lambda url=url: python_socket(place, url)
            yield f"ws to {server} over {scheme}", lambda url=url: run("node", SCRIPT, "ask", url) and None
    for scheme in ("http", "https"):
        for name, call in RPC.items():
            yield f"grpcio over {scheme}: {name}", lambda scheme=scheme, call=call: rpc(place, scheme, call)
    yield "httpwg-cli", lambda: httpwg(place)
    if chromium := shutil.which("chromium") or shutil.which("chromium-headless-shell"):
        for scheme in ("http", "https"):
            yield f"chromium over {scheme}", lambda scheme=scheme: browser(chromium, place.url(scheme, "/page"))


def curl(place, scheme, flags, version):
    """Methods and framings; curl itself fails when an answer is malformed or cut off."""
    command = ["curl", "--silent", "--show-error", "--fail", "--cacert", place.certificate, *flags]
    written = ["--output", "-", "--write-out", "\n%{http_version} %{http_code}"]
    expect(run(*command, *written, place.url(scheme, "/a?b")), f"/a?b\n{version} 200".encode())
    body = os.urandom(3_000_000)
    url = place.url(scheme)
    expect(run(*command, "--data-binary", "@-", url, input=body), servers.digest(body))
    if "--http1.0" not in flags:  # which knows no chunks
        expect(run(*command, "--upload-file", "-", url, input=body), servers.digest(body))
    head = run(*command, "--head", place.url(scheme, "/head?size=1000"))
    expect(re.findall(rb"(?i)^content-length: (\d+)\r$", head, re.MULTILINE), [str(1000 + len("/head?size=1000")).encode()])
    large = "/large?size=5000000"
    expect(len(run(*command, place.url(scheme, large))), 5_000_000 + len(large))
    if "--http2-prior-knowledge" not in flags:  # with which curl 7.88 breaks a connection that it uses again
        expect(run(*command, url, url, url), b"///")


def h2load(url, flags):
    output = run("h2load", "-n", 2000, "-c", 8, *(["-m", 16] if not flags else []), *flags, url).decode()
    counts = re.search(r"requests: .* (\d+) succeeded, (\d+) failed, (\d+) errored", output)
    expect(counts.groups(), ("2000", "0", "0"))
    expect(re.search(r"status codes: (\d+) 2xx", output)[1], "2000")


def python_socket(place, url):
    options = {"ssl": ssl.create_default_context(cafile=place.certificate)} if url.startswith("wss") else {}
    with websockets.sync.client.connect(url, max_size=2**26, **options) as socket:
        for sent in ("text", "\U0001f600" * 1000, os.urandom(2**20), ""):
            socket.send(sent)
            expect(socket.recv(10), sent)
        expect(socket.ping().wait(10), True)
        socket.close(4001, "enough")
        expect((socket.close_code, socket.close_reason), (4001, "enough"))


def rpc(place, scheme, call):
    if scheme == "https":
        roots = grpc.ssl_channel_credentials(pathlib.Path(place.certificate).read_bytes())
        channel = grpc.secure_channel(f"localhost:{place.https}", roots)
    else:
        channel = grpc.insecure_channel(f"localhost:{place.http}")
    with channel:
        call(channel)


def unary(channel):
    for size in (0, 1, 100_000, 3_000_000):
        request = os.urandom(size)
        response, made = channel.unary_unary("/test.Echo/Unary").with_call(request, metadata=(("asked", "this"),), timeout=10)
        expect(response, request)
        expect(dict(made.initial_metadata()).get("initial"), "this")
        trailing = dict(made.trailing_metadata())
        expect((trailing.get("trailing"), trailing.get("trailing-bin"), made.code()), ("yes", b"\0\xff", grpc.StatusCode.OK))


def many(channel):
    answers = channel.unary_stream("/test.Echo/Many")(b"1000", timeout=10)
    expect(list(answers), [str(number).encode() for number in range(1000)])


def sum_of(channel):
    numbers = (str(number).encode() for number in range(1000))
    expect(channel.stream_unary("/test.Echo/Sum")(numbers, timeout=10), b"499500")


def both(channel):
    """Each message is sent when the one before has come back."""
    sent = queue.Queue()
    answers = channel.stream_stream("/test.Echo/Both")(iter(sent.get, None), timeout=20)
    for number in range(100):
        sent.put(str(number).encode())
        expect(next(answers), str(number).encode())
    sent.put(None)
    expect(list(answers), [])
    expect(answers.code(), grpc.StatusCode.OK)


def status_of(call):
    try:
        call()
    except grpc.RpcError as error:
        return error
    raise AssertionError("an error was expected")


def failure(channel):
    error = status_of(lambda: channel.unary_unary("/test.Echo/Fail")(b"", timeout=10))
    expect((error.code(), error.details()), (grpc.StatusCode.FAILED_PRECONDITION, "as asked: \u00e9"))
    expect(dict(error.trailing_metadata()).get("why"), "asked for")


def unknown(channel):
    error = status_of(lambda: channel.unary_unary("/test.Echo/Unknown")(b"", timeout=10))
    expect(error.code(), grpc.StatusCode.UNIMPLEMENTED)


def deadline(channel):
    """The server hears of it as well."""
    servers.Echo.cancelled.clear()
    error = status_of(lambda: channel.unary_unary("/test.Echo/Never")(b"", timeout=0.3))
    expect(error.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
    expect(servers.Echo.cancelled.wait(10), True)


def cancel(channel):
    servers.Echo.cancelled.clear()
    channel.unary_unary("/test.Echo/Unary")(b"", timeout=10)
    call = channel.unary_unary("/test.Echo/Never").future(b"")
    with contextlib.suppress(grpc.FutureTimeoutError):
        call.result(timeout=0.3)
    call.cancel()
    expect(servers.Echo.cancelled.wait(10), True)


RPC = {
    "unary, metadata, trailers": unary,
    "server streaming": many,
    "client streaming": sum_of,
    "bidirectional streaming": both,
    "an error and its details": failure,
    "an unknown method": unknown,
    "a deadline": deadline,
    "a cancelled call": cancel,
}


def httpwg(place):
    command = [os.environ["HTTPWG"], "--address", f"127.0.0.1:{place.http}"]
    output = subprocess.run(command, capture_output=True, text=True, timeout=300).stderr
    passed, of = re.search(r"Passed (\d+)/(\d+)", re.sub(r"\x1b\[[0-9;]*m", "", output)).groups()
    if int(passed) < STOCK_HYPER:
        raise AssertionError(f"{passed} of {of} cases, and {STOCK_HYPER} with stock hyper")
    return f"{passed} of {of} cases"


def browser(chromium, url):
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--ignore-certificate-errors", "--dump-dom", url]
    expect("/page" in run(*command).decode(), True)


if __name__ == "__main__":
    main()
