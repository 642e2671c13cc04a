"""One request of an OpenAI-compatible endpoint, tried again where that helps: `POST .../chat/completions`.

| what happens                                                  | what is done                                     |
|---------------------------------------------------------------|--------------------------------------------------|
| 408, 425, 429, 5xx, a cut connection, silence, a broken reply | tried again, after `Retry-After` or ever longer  |
| 401, 403, 404                                                 | HostError: no other request would fare better    |
| every other answer                                            | Failed: this request cannot be answered          |
"""

import os
import random
import threading
import time
import urllib.parse
from typing import TYPE_CHECKING, NamedTuple, Protocol

from aurora_cli.errors import HostError, Interrupted, UsageError
from aurora_cli.hub.waits import requested_wait_s
from aurora_cli.io.json_files import JsonObject

if TYPE_CHECKING:
    import httpx2

KEY_NAMES = ("AURORA_JUDGE_KEY", "OPENAI_API_KEY")

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0

_PASSING = (408, 409, 425, 429)
_FINAL = (401, 403, 404)
_SHOWN = 300
"""Characters of a server's words."""


class Reply(NamedTuple):
    """What the model wrote, and what it counted."""

    text: str
    prompt_tokens: int | None
    """None: the server does not say."""
    completion_tokens: int | None


class Failed(Exception):
    """A request that is not answered, however often it is made; says why."""


class Complete(Protocol):
    """Something that answers a prompt."""

    def __call__(self, prompt: str) -> Reply: ...


class _Passing(Exception):
    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


class Address(NamedTuple):
    """Where requests go. Names and passwords of a URL are sent, and never shown."""

    url: str
    shown: str


def address_of(url: str) -> Address:
    """
    >>> address_of("http://127.0.0.1:8000").url, address_of("https://me:pw@api.x.org/v1/")
    ('http://127.0.0.1:8000/v1/chat/completions', Address(url='https://me:pw@api.x.org/v1/chat/completions', \
shown='https://api.x.org/v1/chat/completions'))

    Raises:
        UsageError: it is no address of a server.
    """
    try:
        parts = urllib.parse.urlsplit(url.strip())
        host, port = parts.hostname, parts.port
        if not host or parts.scheme not in ("http", "https"):
            raise ValueError
    except ValueError:
        raise UsageError("--judge: is no http or https address", hint="--judge http://127.0.0.1:8000/v1") from None
    path = parts.path.rstrip("/") or "/v1"
    path = path if path.endswith("/chat/completions") else f"{path}/chat/completions"
    host = f"[{host}]" if ":" in host else host
    shown = parts._replace(netloc=host if port is None else f"{host}:{port}", path=path, query="", fragment="")
    return Address(parts._replace(path=path).geturl(), shown.geturl())


def key_of(variable: str | None) -> str | None:
    """The key in this variable; none is named: in the first of `KEY_NAMES` that is set.

    Raises:
        UsageError: the variable that is named is not set.
    """
    key = next((os.environ[name] for name in (variable or "", *KEY_NAMES) if os.environ.get(name, "").strip()), None)
    if variable is not None and not os.environ.get(variable, "").strip():
        raise UsageError(f"--judge-key-env {variable}: is not set", hint=f"export {variable}=...")
    return None if key is None else key.strip()


class Endpoint:
    """A model behind an address; may be shared by threads."""

    def __init__(
        self, address: Address, model: str, key: str | None, *, max_tokens: int, timeout_s: float, tries: int
    ) -> None:
        import httpx2

        self._address, self._model, self._key = address, model, key
        self._tries = tries
        self._options: dict[str, float] = {"temperature": 0, "max_tokens": max_tokens}
        self._client = httpx2.Client(
            timeout=timeout_s, headers={} if key is None else {"Authorization": f"Bearer {key}"}
        )
        self._quiet_until = 0.0
        self._random = random.Random()
        """Its own: threads that wait change no numbers that are drawn elsewhere."""
        self._closed = threading.Event()

    def close(self) -> None:
        """Let those who wait go, and no request begin."""
        self._closed.set()
        self._client.close()

    def __call__(self, prompt: str) -> Reply:
        """
        Raises:
            Failed: it is not answered.
            HostError: no request would be.
            Interrupted: the endpoint was closed.
        """
        reason, wait_s = "", 0.0
        for number in range(self._tries):
            self._rest(max(wait_s, self._quiet_until - time.monotonic()))
            try:
                return self._reply(prompt)
            except _Passing as error:
                reason, wait_s = str(error), self._wait_s(number, error.wait_s)
        raise Failed(f"{reason} ({self._tries} times)")

    def _wait_s(self, number: int, requested_s: float | None) -> float:
        """What a server asks for holds for all requests; else ever longer, and not all at once."""
        if requested_s is not None:
            self._quiet_until = max(self._quiet_until, time.monotonic() + requested_s)
            return 0.0
        return min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**number) * self._random.uniform(0.5, 1.0)

    def _rest(self, seconds: float) -> None:
        if self._closed.wait(max(0.0, seconds)):
            raise Interrupted("the judge is no longer asked")

    def _reply(self, prompt: str) -> Reply:
        import httpx2

        options = self._options
        body = {"model": self._model, "messages": [{"role": "user", "content": prompt}], **options}
        try:
            response = self._client.post(self._address.url, json=body)
        except (httpx2.HTTPError, httpx2.StreamError) as error:
            raise _Passing(f"{type(error).__name__}: {self._words(str(error))}") from error
        except (RuntimeError, httpx2.InvalidURL) as error:  # a client that is closed says so in this way
            self._rest(0.0)
            raise Failed(self._words(str(error))) from error
        status = response.status_code
        if status == 400 and self._adapt(options, response.text):
            return self._reply(prompt)
        if status in _PASSING or status >= 500:
            raise _Passing(f"HTTP {status}: {self._words(response.text)}", requested_wait_s(response.headers))
        if status in _FINAL:
            raise HostError(
                f"{self._address.shown}: answers HTTP {status}: {self._words(response.text)}",
                hint=f"Check --judge, --judge-model and the key ({', '.join(KEY_NAMES)}), then run it again.",
            )
        if status != 200:
            raise Failed(f"HTTP {status}: {self._words(response.text)}")
        return self._parsed(response)

    def _adapt(self, sent: dict[str, float], refusal: str) -> bool:
        """Leave out what the model does not take, where the server says so: reasoning models have another name for the
        limit, and no temperature."""
        if "max_tokens" in sent and "max_completion_tokens" in refusal:
            limit = sent["max_tokens"]
            self._options = {**{k: v for k, v in sent.items() if k != "max_tokens"}, "max_completion_tokens": limit}
        elif "temperature" in sent and "temperature" in refusal:
            self._options = {name: value for name, value in sent.items() if name != "temperature"}
        else:
            return False
        return True

    def _parsed(self, response: "httpx2.Response") -> Reply:
        try:
            content: JsonObject = response.json()
            text = content["choices"][0]["message"].get("content") or ""
            usage = content.get("usage") or {}
            counted = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise _Passing(f"a reply that is no chat completion: {self._words(response.text)}") from error
        if not isinstance(text, str):
            raise _Passing(f"a reply without text: {self._words(response.text)}")
        prompt, completion = (number if isinstance(number, int) else None for number in counted)
        return Reply(self._hidden(text), prompt, completion)

    def _words(self, text: str) -> str:
        """A server's words, short and on one line."""
        return " ".join(self._hidden(text).split())[:_SHOWN] or "without a word"

    def _hidden(self, text: str) -> str:
        return text if not self._key else text.replace(self._key, "***")
