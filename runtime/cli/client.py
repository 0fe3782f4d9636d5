"""The command line's way to the daemon: plain HTTP, and errors that say what to do next.

Called by the commands of runtime/cli. Must not import anything of the daemon but its configuration: the CLI is a client as any.
"""

from __future__ import annotations

import ipaddress
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from runtime.cli.errors import CliError

Json = Any
DEFAULT_URL = "http://127.0.0.1:5116"
KEY_FILE = "operator.key"
CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 900.0
"""As long as a request may take by default configuration; the daemon's own deadlines are shorter."""
NO_DAEMON = 3
"""The exit code where no daemon answers, or its connection broke."""
_MAX_KEY_BYTES = 4096
_SERVE_HINT = "Start it with: morphogen serve   (another address: export MORPHOGEN_URL=http://HOST:PORT)"


class Client:
    """A connection to one daemon. ``key`` is sent as the bearer on operator calls, and on others when ``always`` is set."""

    def __init__(
        self, url: str, *, key: str | None = None, always: bool = False, transport: httpx.BaseTransport | None = None
    ) -> None:
        self.url = url.rstrip("/")
        self._key = key
        self._always = always
        timeout = httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
        # A proxy of the environment must not see what is said to this machine.
        self._http = httpx.Client(timeout=timeout, trust_env=not is_loopback(self.url), transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._http.close()

    def get(self, path: str, *, operator: bool = False, params: Mapping[str, str | int] | None = None) -> Json:
        """JSON of a GET. Raises CliError."""
        return self._json(self.send("GET", path, operator=operator, params=params))

    def post(self, path: str, body: Json, *, operator: bool = False, headers: Mapping[str, str] | None = None) -> Json:
        """JSON of a POST. Raises CliError."""
        return self._json(self.send("POST", path, operator=operator, body=body, headers=headers))

    def patch(self, path: str, body: Json, *, operator: bool = False) -> Json:
        """JSON of a PATCH. Raises CliError."""
        return self._json(self.send("PATCH", path, operator=operator, body=body))

    def delete(self, path: str, *, operator: bool = False) -> None:
        """A DELETE that answers nothing. Raises CliError."""
        self.send("DELETE", path, operator=operator)

    def send(
        self,
        method: str,
        path: str,
        *,
        operator: bool = False,
        params: Mapping[str, str | int] | None = None,
        body: Json = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """The response of one call, read whole. Raises CliError for no connection and for every status of 400 and more."""
        sent = {**self._auth(operator), **(headers or {})}
        with self._explained():
            response = self._http.request(method, self.url + path, params=params, json=body, headers=sent)
        if response.status_code >= 400:
            raise self._refusal(response, operator=operator)
        return response

    def events(self, path: str, body: Json) -> Iterator[Json]:
        """The JSON of each server-sent event until ``[DONE]``. Raises CliError, also when the stream ends without it."""
        with (
            self._explained(),
            self._http.stream("POST", self.url + path, json=body, headers=self._auth(False)) as response,
        ):
            if response.status_code >= 400:
                response.read()
                raise self._refusal(response, operator=False)
            for line in response.iter_lines():
                if not line.startswith("data:"):
                    continue
                data = line[5:].strip()
                if data == "[DONE]":
                    return
                yield _parsed_event(data)
        raise CliError("The answer broke off before its end", hint="Ask again, or see: morphogen requests")

    def numbered_events(self, path: str, *, from_seq: int | None) -> Iterator[Json]:
        """``{"seq", "kind", "data"}`` of each event of a GET stream until it ends; ``from_seq`` None begins where the daemon
        does. Raises CliError (NO_DAEMON when it breaks)."""
        fields: dict[str, str] = {}
        with self._streamed(path, params=None if from_seq is None else {"from_seq": from_seq}) as response:
            for line in response.iter_lines():
                name, _, value = line.partition(": ")
                if name in ("id", "event", "data"):
                    fields[name] = value
                elif not line and "id" in fields:
                    yield {
                        "seq": int(fields["id"]),
                        "kind": fields.get("event", ""),
                        "data": json.loads(fields.get("data") or "null"),
                    }
                    fields = {}

    @contextmanager
    def lines(self, path: str) -> Iterator[tuple[Mapping[str, str], Iterator[bytes]]]:
        """(headers, bytes as they come) of a GET that answers lines. Raises CliError."""
        with self._streamed(path) as response:
            yield response.headers, response.iter_bytes()

    @contextmanager
    def _streamed(self, path: str, params: Mapping[str, str | int] | None = None) -> Iterator[httpx.Response]:
        with (
            self._explained(),
            self._http.stream("GET", self.url + path, params=params, headers=self._auth(True)) as response,
        ):
            if response.status_code >= 400:
                response.read()
                raise self._refusal(response, operator=True)
            yield response

    def _auth(self, operator: bool) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._key}"} if self._key and (operator or self._always) else {}

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout):
            raise CliError(f"No daemon answers at {self.url}", hint=_SERVE_HINT, exit_code=NO_DAEMON) from None
        except httpx.TimeoutException:
            raise CliError(f"{self.url} did not answer in time", hint="morphogen doctor says what is wrong") from None
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise CliError(f"MORPHOGEN_URL is not a URL: {error}", exit_code=2) from None
        except httpx.HTTPError as error:
            raise CliError(f"The connection to {self.url} broke: {error or type(error).__name__}", exit_code=NO_DAEMON) from None

    def _refusal(self, response: httpx.Response, *, operator: bool) -> CliError:
        message, param = _words_of(response)
        hint = ""
        if response.status_code in (401, 403):
            need = "the operator key" if operator else "a client key"
            hint = f"This needs {need}: export MORPHOGEN_KEY=…   (the daemon wrote its operator key to <data folder>/{KEY_FILE})"
        elif response.status_code == 404 and param == "model":
            hint = f"What can be asked: curl {self.url}/v1/models"
        elif response.headers.get("retry-after"):
            hint = f"Try again in {response.headers['retry-after']} s"
        where = f" ({param})" if param and param not in message else ""
        return CliError(f"{message}{where}", hint=hint, status=response.status_code)

    def _json(self, response: httpx.Response) -> Json:
        try:
            return response.json()
        except ValueError:
            hint = f"Is something else listening at {self.url}? morphogen doctor says"
            raise CliError(f"{self.url} did not answer in JSON", hint=hint) from None


def open_client() -> Client:
    """A client of $MORPHOGEN_URL (or the default address) with the key that there is."""
    url = os.environ.get("MORPHOGEN_URL") or DEFAULT_URL
    if named := os.environ.get("MORPHOGEN_KEY"):
        return Client(url, key=named.strip(), always=True)
    # The file's key is this machine's: it is never sent to another one.
    return Client(url, key=read_key(data_folder()) if is_loopback(url) else None)


def data_folder() -> Path:
    """The data folder of the daemon as configured here; the default one where the configuration cannot be read."""
    from runtime.config.file import ConfigError, load
    from runtime.config.settings import DataSettings  # deferred: pydantic is only needed where a key is

    try:
        folder = load().settings.data.dir
    except ConfigError:
        folder = DataSettings().dir
    return folder.expanduser()


def read_key(folder: Path) -> str | None:
    """The operator key in ``folder``; None where there is none that we may read."""
    try:
        with (folder / KEY_FILE).open(encoding="ascii") as file:
            return file.read(_MAX_KEY_BYTES).strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def is_loopback(url: str) -> bool:
    """Whether ``url`` names this machine by a loopback address or as localhost."""
    try:
        host = httpx.URL(url).host
    except httpx.InvalidURL:
        return False
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _parsed_event(data: str) -> Json:
    try:
        event = json.loads(data)
    except ValueError:
        raise CliError("The daemon sent an event that is not JSON") from None
    if isinstance(event, dict) and isinstance(event.get("error"), dict):
        raise CliError(_marked(event["error"], str(event["error"].get("message") or "The answer failed midway")))
    return event


def _marked(error: Mapping[str, Json], message: str) -> str:
    """The words of an error, marked where a simulated backend had a part in it."""
    return f"SIMULATED: {message}" if error.get("simulated") else message


def _words_of(response: httpx.Response) -> tuple[str, str | None]:
    """The message and the field at fault of an error body in OpenAI's shape or as a problem document."""
    try:
        body = response.json()
    except ValueError:
        body = None
    if isinstance(body, dict):
        error = body.get("error")
        if isinstance(error, dict) and error.get("message"):
            return _marked(error, str(error["message"])), error.get("param")
        if body.get("detail"):
            return _marked(body, str(body["detail"])), body.get("param")
    return f"{response.request.url} answered {response.status_code} {response.reason_phrase}", None
