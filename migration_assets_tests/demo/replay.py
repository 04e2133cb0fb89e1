"""Replays a recorded conversation against the sandbox and says where the answers part.

What was recorded and why a difference is accepted are data: ``contract/*.json`` and
``demo/sandbox/differences.json``. The placeholders: ``{{u1}}`` an id, ``{{t1}}`` an instant,
``{{c1}}`` a cursor, each bound where it first comes in an answer; ``x...<900 chars>`` a long text,
``...<9 items>`` a long list, ``"...": "more"`` further properties, ``"..."`` anything.
"""

import base64
import gzip
import http.client
import json
import re
import time
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import quote, urlencode

from migration_assets.demo.medplum_sandbox import Sandbox

_PLACEHOLDER = re.compile(r"\{\{(\w+)(:quoted)?\}\}")
_LONG = re.compile(r"^(.*)\.\.\.<(\d+) chars>$", re.DOTALL)
_LONG_IN_JSON = re.compile(r'"((?:[^"\\]|\\.)*)\.\.\.<(\d+) chars>"')
_MORE = re.compile(r"^\.\.\.<(\d+) items>$")
_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_PATTERNS = {
    "u": _UUID,
    "p": _UUID,
    "t": "[-0-9]+T[0-9:.]+Z",
    "n": "[-0-9]+T[0-9:.]+Z",
    "c": "[^&]+",
}
_POINTS = re.compile(r'"fhirInteractions";r=(\d+)')


@dataclass(frozen=True)
class Answer:
    """What came back, headers in lower case."""

    status: int
    headers: dict[str, str]
    text: str


@dataclass
class Replay:
    """One conversation with a sandbox: its token and what its placeholders stand for by now."""

    sandbox: Sandbox
    known: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.connection = http.client.HTTPConnection(
            self.sandbox.base_url.removeprefix("http://").rstrip("/"), timeout=60
        )
        self.known |= {
            "base": self.sandbox.base_url,
            "client_id": self.sandbox.client_id,
            "client_secret": self.sandbox.client_secret,
        }
        self.known["token"] = self._login()
        self.second_token = self._login()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.connection.close()

    def play(self, step: dict[str, Any]) -> str | None:
        """Sends one step; None when the answer is as recorded, else where it is not."""
        if step.get("refill"):
            self.sandbox.refill()
        if step.get("later"):
            _wait_for_the_next_millisecond()
        expected = step.get("expect")
        for number in range(step.get("times", 1)):
            answer = self.send(step, number)
            if expected is None and answer.status not in {200, 201}:
                return f"seed failed with {answer.status}"
        return None if expected is None else self._difference(expected, answer)

    def _login(self) -> str:
        form = {
            "grant_type": "client_credentials",
            "client_id": self.sandbox.client_id,
            "client_secret": self.sandbox.client_secret,
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = self._request("POST", "oauth2/token", headers, urlencode(form).encode())
        token: str = json.loads(answer.text)["access_token"]
        return token

    def _authorization(self, mode: str) -> dict[str, str]:
        token = self.known["token"]
        secret = "wrong" if mode == "basic-wrong" else self.sandbox.client_secret
        basic = base64.b64encode(f"{self.sandbox.client_id}:{secret}".encode()).decode()
        values = {
            "bearer": f"Bearer {self.second_token}",
            "garbage": "Bearer garbage",
            "tampered": f"Bearer {token[:-2]}xx",
            "lower-case": f"bearer {token}",
            "first": f"Bearer {token}",
            "basic": f"Basic {basic}",
            "basic-wrong": f"Basic {basic}",
        }
        return {"Authorization": values[mode]} if mode in values else {}

    def send(self, step: dict[str, Any], number: int = 0) -> Answer:
        """Sends one step and hands back the answer, compared with nothing."""
        request = step["request"]
        headers = self._authorization(step.get("auth", "bearer"))
        body: str | None = None
        if "body" in request:
            headers["Content-Type"] = "application/fhir+json"
            body = json.dumps(request["body"])
            body = body.replace("<i>", f"{number:04d}").replace("<r>", str(2 - number % 2))
            body = _LONG_IN_JSON.sub(lambda match: f'"{_inflated(match[1], int(match[2]))}"', body)
        elif "form" in request:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            body = urlencode({key: self._filled(value) for key, value in request["form"].items()})
        elif "text" in request:
            long = _LONG.match(request["text"])
            body = _inflated(long[1], int(long[2])) if long else request["text"]
        headers |= {name: self._filled(value) for name, value in request.get("headers", {}).items()}
        data = None if body is None else self._filled(body).encode()
        if step.get("gzip") and data is not None:
            headers["Content-Encoding"] = "gzip"
            data = gzip.compress(data)
        path = self._filled(request["path"]).removeprefix(self.sandbox.base_url)
        return self._request(request["method"], path, headers, data)

    def _request(
        self, method: str, path: str, headers: dict[str, str], data: bytes | None
    ) -> Answer:
        # What a browser or requests would escape; the recorded paths keep | and blanks readable.
        target = "/" + quote(path, safe="/?&=%:,;$*()!~'@+-._")
        self.connection.request(method, target, data, headers)
        response = self.connection.getresponse()
        text = response.read().decode("utf-8", errors="replace")
        found = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, found, text)

    def _filled(self, text: str) -> str:
        def value(match: re.Match[str]) -> str:
            known = self.known[match[1]]
            return quote(known, safe="") if match[2] else known

        return _PLACEHOLDER.sub(value, text)

    def _difference(self, expected: dict[str, Any], answer: Answer) -> str | None:
        if expected["status"] != answer.status:
            return f"status {answer.status} instead of {expected['status']}: {answer.text[:300]}"
        for name in ("etag", "location"):
            wanted, got = expected.get("headers", {}).get(name), answer.headers.get(name)
            # A raw recording that left headers out says nothing about them.
            if "headers" in expected and not self._matches(wanted, got):
                return f"{name} {got} instead of {wanted}"
        if "points_left" in expected:
            points = _POINTS.search(answer.headers.get("ratelimit", ""))
            if expected["points_left"] != (int(points[1]) if points else None):
                return f"points left: {points} instead of {expected['points_left']}"
        if "body" not in expected:
            return None if not answer.text else f"a body: {answer.text[:300]}"
        actual = _comparable(answer.text)
        return self._where(expected["body"], actual, "body")

    def _where(self, expected: Any, actual: Any, path: str) -> str | None:
        """The first place where two JSON values part, or None."""
        if expected == "...":
            return None
        if isinstance(expected, dict) and isinstance(actual, dict):
            names = set(expected) - {"..."}
            if "..." not in expected and names != set(actual):
                return f"{path}: properties {sorted(names ^ set(actual))}"
            places = (self._where(expected[n], actual.get(n), f"{path}.{n}") for n in sorted(names))
            return next((place for place in places if place), None)
        if isinstance(expected, list) and isinstance(actual, list):
            return self._where_in_list(expected, actual, path)
        if self._matches(expected, actual):
            return None
        return f"{path}: {str(actual)[:300]!r} instead of {str(expected)[:300]!r}"

    def _where_in_list(self, expected: list[Any], actual: list[Any], path: str) -> str | None:
        gap = next(
            (i for i, e in enumerate(expected) if isinstance(e, str) and _MORE.match(e)), None
        )
        pairs = list(zip(expected, actual, strict=False))
        size = len(expected)
        if gap is not None:
            size = int(_MORE.sub(r"\1", expected[gap]))
            tail = expected[gap + 1 :]
            pairs = pairs[:gap] + (
                list(zip(tail, actual[-len(tail) :], strict=False)) if tail else []
            )
        if len(actual) != size:
            return f"{path}: {len(actual)} items instead of {size}"
        places = (self._where(e, a, f"{path}[{i}]") for i, (e, a) in enumerate(pairs))
        return next((place for place in places if place), None)

    def _matches(self, expected: Any, actual: Any) -> bool:
        if not isinstance(expected, str) or not isinstance(actual, str):
            return bool(expected == actual) and type(expected) is type(actual)
        long = _LONG.match(expected)
        if long:
            return len(actual) == int(long[2]) and actual.startswith(self._filled(long[1]))
        if "{{" not in expected:
            return expected == actual
        return self._binds(expected, actual)

    def _binds(self, expected: str, actual: str) -> bool:
        """Compares text with placeholders and binds the new ones; no two ids may stand for one."""
        pattern, end = "", 0
        for match in _PLACEHOLDER.finditer(expected):
            name = match[1]
            pattern += re.escape(expected[end : match.start()])
            if name in self.known:
                pattern += re.escape(self._filled(match[0]))
            else:
                pattern += f"(?P<{name}>{_PATTERNS[name[0]]})"
            end = match.end()
        found = re.fullmatch(pattern + re.escape(expected[end:]), actual)
        if not found:
            return False
        ids = {name: value for name, value in found.groupdict().items() if name.startswith("u")}
        if set(ids.values()) & {v for k, v in self.known.items() if k.startswith("u")}:
            return False
        self.known |= found.groupdict()
        return True


def patient(value: str, **more: Any) -> dict[str, Any]:
    """A Patient known by an identifier."""
    identifier = [{"system": "urn:t", "value": value}]
    return {"resourceType": "Patient", "identifier": identifier, **more}


def put(value: str, **more: Any) -> dict[str, Any]:
    """A bundle entry that writes it conditionally."""
    url = f"Patient?identifier=urn:t|{value}"
    return {"request": {"method": "PUT", "url": url}, "resource": patient(value, **more)}


def ask(sandbox: Sandbox, method: str, path: str, body: object = None) -> Answer:
    """One FHIR request with a valid token."""
    request = {"method": method, "path": f"fhir/R4/{path}"}
    return send(sandbox, request | ({} if body is None else {"body": body}))


def send(sandbox: Sandbox, request: dict[str, Any]) -> Answer:
    """One request as in a fixture, with a valid token."""
    with Replay(sandbox) as replay:
        return replay.send({"request": request})


def bundle(sandbox: Sandbox, kind: str, *entries: dict[str, Any]) -> Answer:
    """Posts a bundle of these entries."""
    return ask(
        sandbox, "POST", "", {"resourceType": "Bundle", "type": kind, "entry": list(entries)}
    )


def _comparable(text: str) -> Any:
    """An answer with its times, signatures and OperationOutcomes in the fixtures' short form."""
    text = re.sub(r'Expires=\d+&Signature=[^"]*', "<signed>", text)
    text = re.sub(r'Deleted on [^"]*', "Deleted on <time>", text)
    if text.startswith("<!DOCTYPE html>"):
        return "<!DOCTYPE html>"
    try:
        return _shortened(json.loads(text))
    except json.JSONDecodeError:
        return text


def _shortened(value: Any) -> Any:
    if isinstance(value, dict):
        if value.get("resourceType") == "OperationOutcome":
            return "OO " + "; ".join(_issue(issue) for issue in value["issue"])
        return {name: _shortened(item) for name, item in value.items()}
    return [_shortened(item) for item in value] if isinstance(value, list) else value


def _issue(issue: dict[str, Any]) -> str:
    text = f"[{issue['code']}] {issue.get('details', {}).get('text', '')}"
    if issue.get("expression"):
        text += " @" + ",".join(issue["expression"])
    if "diagnostics" in issue:
        wait = re.compile(r'"_msBeforeNext":\d+')
        text += " " + wait.sub('"_msBeforeNext":<ms>', issue["diagnostics"])
    return text


def _inflated(start: str, length: int) -> str:
    end = "</div>" if start.startswith("<div") else ""
    # Escapes in JSON text count once in the value that was measured.
    room = length - len(start.replace('\\"', '"')) - len(end)
    return start + start[-1] * room + end


def _wait_for_the_next_millisecond() -> None:
    """Instants are compared to the millisecond; a clock that has ticked twice cannot tie."""
    begin = time.time_ns()
    while time.time_ns() - begin < 2_000_000:
        pass
