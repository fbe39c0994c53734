"""What the service refuses, with the field that is wrong."""

from serving.api import Fault


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
