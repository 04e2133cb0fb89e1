"""The reverse proxy's example: nobody reaches the webserver without a login."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

CONF = Path(__file__).parents[2] / "deploy" / "nginx" / "migration.conf"
INBOX = CONF.with_name("inbox.conf")
SERVERS = re.split(r"(?m)^server \{", CONF.read_text(encoding="utf-8"))[1:]


@pytest.mark.parametrize("server", SERVERS, ids=["operators", "viewers"])
def test_every_door_has_a_login_and_tls_and_leads_to_loopback(server: str) -> None:
    assert "listen 443 ssl;" in server
    assert re.search(r"auth_basic +\"", server)
    assert re.search(r"auth_basic_user_file /etc/nginx/migration\.\w+;", server)
    assert "auth_basic off" not in server
    assert re.findall(r"proxy_pass http://([^:]+):", server) == ["127.0.0.1"]


def test_the_viewers_door_leads_to_the_instance_that_can_change_nothing() -> None:
    units = CONF.parents[1] / "systemd"
    port = re.search(
        r"--read-only .*--port (\d+)", (units / "migration-webserver-readonly.service").read_text()
    )
    assert port
    assert f"proxy_pass http://127.0.0.1:{port[1]};" in SERVERS[1]
    assert f":{port[1]};" not in SERVERS[0]


def test_the_inbox_is_reached_by_tls_alone_and_by_nobody_but_who_sends() -> None:
    """Its own tokens are the login: they have to arrive."""
    text = INBOX.read_text(encoding="utf-8")
    assert re.findall(r"listen (.*);", text) == ["443 ssl"]
    assert re.findall(r"proxy_pass http://([^;]+);", text) == ["127.0.0.1:8400"]
    unit = INBOX.parents[1] / "systemd" / "migration-inbox.service"
    assert "--host 127.0.0.1 --port 8400" in unit.read_text(encoding="utf-8")
    assert "proxy_set_header Authorization" not in text
    assert "healthz" not in text


@pytest.mark.parametrize("conf", [CONF, INBOX], ids=lambda path: path.name)
def test_nginx_takes_the_file(conf: Path, tmp_path: Path) -> None:
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    openssl = shutil.which("openssl")
    if nginx is None or openssl is None:
        pytest.skip("NO NGINX (Debian's package nginx): its own check of the file was not made")
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-days", "1",
         "-keyout", tmp_path / "k.pem", "-out", tmp_path / "c.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    text = conf.read_text(encoding="utf-8")
    text = text.replace("/etc/nginx/tls/migration.crt", str(tmp_path / "c.pem"))
    text = text.replace("/etc/nginx/tls/migration.key", str(tmp_path / "k.pem"))
    temporary = " ".join(
        f"{kind}_temp_path {tmp_path}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    whole = (
        f"pid {tmp_path}/pid; error_log {tmp_path}/error.log; events {{}}\n"
        f"http {{ access_log off; {temporary}\n{text}\n}}\n"
    )
    (tmp_path / "nginx.conf").write_text(whole, encoding="utf-8")
    ran = subprocess.run(
        [nginx, "-t", "-p", tmp_path, "-c", tmp_path / "nginx.conf"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
