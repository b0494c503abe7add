"""The limits of the server, and the error of a request that is answered without a result."""

from dataclasses import dataclass

from tagger.errors import ConfigError

MAX_TEXTS = 1000
"""Texts, or tasks of Label Studio, in a request."""
MAX_NBEST = 100
"""The most tag sequences that a request can ask for."""
STOP_SECONDS = 3
"""Seconds that the server waits for the requests in flight after a signal to stop."""
INTERNAL_ERROR = "internal error; the log of the server has the details"
"""The message of a request that failed by a fault of the server."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a server. A request that exceeds one is answered by the HTTP status in brackets.

    Attributes:
        max_body_bytes: the size of a request's body [413].
        max_request_tokens: the tokens of a request; a sentence counts as one token more, and with alternatives fewer
            tokens are accepted [422].
        timeout: seconds from the start of a request to its answer [408].
        max_queue: requests that wait to be tagged [429].
        batch_wait: seconds that a request waits for others to be tagged with.

    Raises:
        ConfigError: a limit is not positive.
    """

    max_body_bytes: int = 1 << 20
    max_request_tokens: int = 20_000
    timeout: float = 30.0
    max_queue: int = 2000
    batch_wait: float = 0.002

    def __post_init__(self) -> None:
        for name in ("max_body_bytes", "max_request_tokens", "timeout", "max_queue"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"`{name}` must be positive, got {getattr(self, name)}")
        if not self.batch_wait >= 0:
            raise ConfigError(f"`batch_wait` must be at least 0, got {self.batch_wait}")

    def tokens_with(self, nbest: int) -> int:
        """Returns the tokens of a request that asks for alternatives, which take long to find.

        >>> [Limits().tokens_with(nbest) for nbest in (0, 2, 10, 100)]
        [20000, 20000, 4000, 400]
        """
        return self.max_request_tokens if nbest <= 2 else 2 * self.max_request_tokens // nbest

    def check_tokens(self, count: int, nbest: int = 0) -> None:
        """Checks the number of tokens of a request.

        Args:
            count: the number of tokens.
            nbest: the number of alternatives that the request asks for.

        Raises:
            RequestError: the request has too many tokens.
        """
        maximum = self.tokens_with(nbest)
        if count > maximum:
            advice = "send several requests" + (", or lower nbest" if maximum < self.max_request_tokens else "")
            raise RequestError(422, f"over {maximum:,} tokens, the limit of this request; {advice}")


class RequestError(Exception):
    """A request that is answered by an error.

    Attributes:
        status: the HTTP status.
        errors: a line for each fault.
    """

    def __init__(self, status: int, *errors: str) -> None:
        super().__init__(status, *errors)
        self.status, self.errors = status, errors
