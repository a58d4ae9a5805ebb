"""The servers that interop.py asks through the balancer: plain HTTP, WebSocket, gRPC."""

import asyncio
import hashlib
import http.server
import threading
from concurrent import futures

import grpc
import websockets.asyncio.server


class Plain(http.server.BaseHTTPRequestHandler):
    """Answers a GET with its path, and a body with its length and digest, so that each answer can be checked."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        size = int(self.path.partition("?size=")[2] or 0)
        self.answer(self.path.encode() + b"x" * size)

    do_HEAD = do_GET

    def do_POST(self):
        body = self.body()
        self.answer(digest(body))

    do_PUT = do_POST

    def body(self):
        if self.headers.get("Transfer-Encoding", "") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline() != b"\r\n":
            pass
        return body

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


def digest(body):
    return f"{len(body)} {hashlib.sha256(body).hexdigest()}".encode()


class PlainServer(http.server.ThreadingHTTPServer):
    # Of Python's own 5, a balancer that opens a hundred connections at once has some that the kernel forgets again.
    request_queue_size = 256


def plain():
    server = PlainServer(("127.0.0.1", 0), Plain)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


def web_socket():
    """The library `websockets`, sending back what it gets."""
    ready, port = threading.Event(), []

    async def echo(socket):
        async for message in socket:
            await socket.send(message)

    async def serve():
        async with websockets.asyncio.server.serve(echo, "127.0.0.1", 0, max_size=2**26) as server:
            port.append(server.sockets[0].getsockname()[1])
            ready.set()
            await server.serve_forever()

    threading.Thread(target=asyncio.run, args=(serve(),), daemon=True).start()
    ready.wait(10)
    return port[0]


class Echo(grpc.GenericRpcHandler):
    """Methods of bytes. What the client cancels is counted."""

    cancelled = threading.Event()

    def service(self, details):
        return {
            "/test.Echo/Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "/test.Echo/Many": grpc.unary_stream_rpc_method_handler(self.many),
            "/test.Echo/Sum": grpc.stream_unary_rpc_method_handler(self.sum),
            "/test.Echo/Both": grpc.stream_stream_rpc_method_handler(self.both),
            "/test.Echo/Fail": grpc.unary_unary_rpc_method_handler(self.fail),
            "/test.Echo/Never": grpc.unary_unary_rpc_method_handler(self.never),
        }.get(details.method)

    def unary(self, request, context):
        metadata = dict(context.invocation_metadata())
        context.send_initial_metadata((("initial", metadata.get("asked", "")),))
        context.set_trailing_metadata((("trailing", "yes"), ("trailing-bin", b"\0\xff")))
        return request

    def many(self, request, context):
        for number in range(int(request)):
            yield str(number).encode()

    def sum(self, requests, context):
        return str(sum(map(int, requests))).encode()

    def both(self, requests, context):
        yield from requests

    def fail(self, request, context):
        context.set_trailing_metadata((("why", "asked for"),))
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "as asked: \u00e9")

    def never(self, request, context):
        ended = threading.Event()
        context.add_callback(ended.set)
        ended.wait(30)
        self.cancelled.set()
        return b""


def rpc():
    server = grpc.server(futures.ThreadPoolExecutor(16))
    server.add_generic_rpc_handlers((Echo(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return port, server
