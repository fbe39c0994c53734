"""What the service refuses, with the field that is wrong."""

from serving.api import ErrorAnswer, Fault

REFUSALS: dict[int | str, dict[str, object]] = {
    401: {"model": ErrorAnswer, "description": "no token, or an unknown one; only where the service has tokens"},
    403: {"model": ErrorAnswer, "description": "the token's scope does not cover this"},
    429: {"model": ErrorAnswer, "description": "too many requests; Retry-After says when to come back"},
}
"""What every route that needs a scope may answer."""
ERRORS: dict[int | str, dict[str, object]] = REFUSALS | {
    400: {"model": ErrorAnswer, "description": "the body is no text that can be read"},
    409: {"model": ErrorAnswer, "description": "an event_id that stands for another event"},
    413: {"model": ErrorAnswer, "description": "a body above the limit"},
    422: {"model": ErrorAnswer, "description": "a field is wrong; every wrong one is named"},
    503: {"model": ErrorAnswer, "description": "no champions, or the record cannot be stored; Retry-After where a server is away"},
}
"""What the routes under /v1 answer besides 200."""


class RefusedError(Exception):
    """A request that is not done; nothing was stored.

    Attributes:
        status: of the HTTP answer.
        code: a word for programs.
        message: a sentence for people.
        faults: fields that are wrong.
    """

    def __init__(self, status: int, code: str, message: str, faults: tuple[Fault, ...] = ()) -> None:
        """Args: see the attributes."""
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.faults = faults


def invalid(*faults: Fault) -> RefusedError:
    """A body whose fields break a rule.

    Args:
        faults: at least one.
    """
    return RefusedError(422, "invalid", "; ".join(f"{fault.field}: {fault.problem}" for fault in faults), faults)
