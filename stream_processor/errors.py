"""The error tree of `stream_processor`.

StreamProcessorError
├── StoreError           the store cannot do what is asked
│   ├── StoreBusyError   transient: disk full, lock held; waiting may help
│   └── StoreCorruptError  permanent: the file is not what it should be
├── MessageRefusedError  permanent: Kafka will never take this message
├── TopicMismatchError   permanent: Kafka's topics are not as the configuration says
├── TrialError           permanent: a file or a rule that somebody wants to try cannot be taken
└── UpstreamError        registry or alarm service did not do what was asked
    ├── UpstreamUnavailableError  transient: not reachable, 5xx, 429
    ├── UpstreamRefusedError      permanent: 4xx; the same request fails again
    └── UpstreamAnswerError       permanent: an answer that this version does not understand
"""

from __future__ import annotations


class StreamProcessorError(Exception):
    """Root of all errors of this package."""


class StoreError(StreamProcessorError):
    """The store cannot do what is asked."""


class StoreBusyError(StoreError):
    """Transient: waiting may help (disk full, lock held by another process)."""


class StoreCorruptError(StoreError):
    """Permanent: the file is not a store of this program."""


class MessageRefusedError(StreamProcessorError):
    """Permanent: Kafka will never take this message (too large)."""


class TopicMismatchError(StreamProcessorError):
    """Permanent: Kafka's topics have another number of partitions than the configuration says."""


class TrialError(StreamProcessorError):
    """Permanent: a file or a rule that somebody wants to try cannot be taken. Nothing was written."""


class UpstreamError(StreamProcessorError):
    """Registry or alarm service did not do what was asked."""


class UpstreamUnavailableError(UpstreamError):
    """Transient: not reachable, or answered 429 or 5xx."""


class UpstreamAnswerError(UpstreamError):
    """Permanent: the answer is outside of the contract, as of a service of a later version."""


class UpstreamRefusedError(UpstreamError):
    """Permanent: answered 4xx; the same request fails again."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)

    @property
    def is_about_us(self) -> bool:
        """Whether our token, our rights or the address is wrong, and not what was posted."""
        return self.status in {401, 403, 404, 405}
