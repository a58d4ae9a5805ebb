"""The balancers that are compared, each configured for the same work: two threads, two upstreams, round robin,
connections to them kept, `X-Forwarded-For`, `-Proto` and `-Port` set, no access log."""

import pathlib
import subprocess

from harness import CORACLE, Server, cpu_seconds, free_port

BODY = "x" * 1024
# More than any run asks for: connections live for the whole run.
FOR_EVER = 1_000_000_000


class Balancer(Server):
    """A server of one or several processes, with a port for each protocol."""

    def __init__(self, name, command, h1, h2):
        super().__init__(name, command, h1)
        self.ports = {"h1": h1, "h2": h2}

    def pids(self):
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [self.process.pid, *map(int, children)]

    def cpu_seconds(self):
        return sum(map(cpu_seconds, self.pids()))

    def memory_kib(self):
        """Resident memory. Pages that forked workers share count once, so it is the kernel's proportional size."""
        rollups = (pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in self.pids())
        return sum(int(line.split()[1]) for rollup in rollups for line in rollup.splitlines() if line.startswith("Pss:"))


def nginx(folder, name, http, ports):
    """nginx with its two workers, keeping everything it writes in `folder`."""
    home = pathlib.Path(folder, name)
    home.mkdir()
    temporary = " ".join(f"{kind}_temp_path {home}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    config = home / "nginx.conf"
    config.write_text(
        f"""daemon off; worker_processes 2; pid {home}/pid; error_log stderr crit; worker_rlimit_nofile 20000;
events {{ worker_connections 16384; }}
http {{
    access_log off; {temporary}
    keepalive_requests {FOR_EVER}; keepalive_timeout 120s;
{http}
}}
"""
    )
    return Balancer(name, ["nginx", "-p", home, "-c", config], *ports)


def upstreams(folder):
    """Two plain HTTP servers that answer 1 KiB, in one nginx."""
    ports = free_port(), free_port()
    servers = "\n".join(f'    server {{ listen 127.0.0.1:{port} reuseport; return 200 "{BODY}"; }}' for port in ports)
    return nginx(folder, "upstreams", servers, ports), ports


def nginx_balancer(folder, targets):
    h1, h2 = free_port(), free_port()
    servers = " ".join(f"server 127.0.0.1:{port};" for port in targets)
    http = f"""
    upstream targets {{ {servers} keepalive 256; keepalive_requests {FOR_EVER}; }}
    server {{
        listen 127.0.0.1:{h1} reuseport backlog=4096; listen 127.0.0.1:{h2} http2 reuseport backlog=4096;
        location / {{
            proxy_pass http://targets; proxy_http_version 1.1;
            proxy_set_header Connection ""; proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Port $server_port;
        }}
    }}"""
    return nginx(folder, "nginx", http, (h1, h2))


def haproxy(folder, targets):
    h1, h2 = free_port(), free_port()
    servers = "\n".join(f"    server t{index} 127.0.0.1:{port}" for index, port in enumerate(targets))
    config = pathlib.Path(folder, "haproxy.cfg")
    config.write_text(
        f"""global
    nbthread 2
    maxconn 12000
    no strict-limits
defaults
    mode http
    timeout connect 10s
    timeout client 120s
    timeout server 60s
    timeout http-keep-alive 120s
    http-reuse always
frontend web
    bind 127.0.0.1:{h1} backlog 4096
    bind 127.0.0.1:{h2} proto h2 backlog 4096
    option forwardfor
    http-request set-header X-Forwarded-Proto http
    http-request set-header X-Forwarded-Port %[dst_port]
    default_backend targets
backend targets
    balance roundrobin
{servers}
"""
    )
    return Balancer("haproxy", ["haproxy", "-db", "-f", config], h1, h2)


def coracle(folder, targets):
    port = free_port()
    config = pathlib.Path(folder, "balance.yaml")
    servers = ", ".join(f"'127.0.0.1:{target}'" for target in targets)
    config.write_text(
        f"""targetGroups:
  web: {{targets: [{servers}]}}
listeners:
  web: {{listen: '127.0.0.1:{port}', default: {{forward: web}}}}
"""
    )
    return Balancer("coracle", [CORACLE, "balance", "--config", config], port, port)


def version(*command):
    output = subprocess.run(command, capture_output=True, text=True, check=True)
    return (output.stdout or output.stderr).splitlines()[0]
