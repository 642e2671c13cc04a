"""Why a request is not answered, as OpenAI's clients read it."""

import json
from typing import NamedTuple, TypedDict

from aurora_cli.data.media.errors import TooManyBytes
from aurora_cli.errors import AuroraError, DataError


class RefusalBody(TypedDict):
    """What stands under `error`."""

    message: str
    type: str
    param: str | None
    code: str | None


_KINDS = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "server_error",
}


class Refusal(Exception):
    """A request that cannot be answered: the HTTP status, and why."""

    def __init__(
        self,
        status: int,
        reason: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: tuple["Header", ...] = (),
    ) -> None:
        super().__init__(reason)
        self.status, self.reason, self.param, self.code, self.headers = status, reason, param, code, headers

    def body(self, *, plain: bool = False) -> bytes:
        """OpenAI's error object; `plain`: the reason alone, as the page reads it."""
        if plain:
            return json.dumps({"error": self.reason}).encode()
        error = RefusalBody(
            message=self.reason,
            type=_KINDS.get(self.status, "invalid_request_error"),
            param=self.param,
            code=self.code,
        )
        return json.dumps({"error": error}).encode()


class Header(NamedTuple):
    """A line of the answer's head."""

    name: str
    value: str


def refusal_of(error: AuroraError, param: str | None = None) -> Refusal:
    """What an error of a request's own content becomes: 413 of a medium that is too large, 422 of bad media or texts,
    else 400."""
    status = 413 if isinstance(error, TooManyBytes) else 422 if isinstance(error, DataError) else 400
    return Refusal(status, error.message, param=param)
