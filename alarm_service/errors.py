"""The error tree of `alarm_service`.

AlarmServiceError
├── UnknownAlarmError          permanent: no alarm has this number
├── AlarmNormalError           permanent: the alarm's life is over, there is nothing to acknowledge
├── JournalVersionError        permanent: the journal file is of another version of this program
└── JournalUnavailableError    transient: the disk is full, slow or locked; the caller tries again
"""

from __future__ import annotations


class AlarmServiceError(Exception):
    """Root of all errors that `alarm_service` raises."""


class UnknownAlarmError(AlarmServiceError):
    """No alarm has this number."""

    def __init__(self, alarm_id: int) -> None:
        self.alarm_id = alarm_id
        super().__init__(alarm_id)

    def __str__(self) -> str:
        return f"there is no alarm {self.alarm_id}"


class AlarmNormalError(AlarmServiceError):
    """The alarm is normal already: it returned and was acknowledged."""

    def __init__(self, alarm_id: int, acknowledged_by: str | None) -> None:
        self.alarm_id = alarm_id
        self.acknowledged_by = acknowledged_by
        super().__init__(alarm_id, acknowledged_by)

    def __str__(self) -> str:
        return f"alarm {self.alarm_id} is normal already, acknowledged by {self.acknowledged_by}"


class JournalVersionError(AlarmServiceError):
    """The file holds a journal of another version of this program: it is left untouched."""

    def __init__(self, path: str, found: int, known: int) -> None:
        self.path = path
        self.found = found
        self.known = known
        super().__init__(path, found, known)

    def __str__(self) -> str:
        return f"{self.path}: journal version {self.found}, this program knows {self.known}"


class JournalUnavailableError(AlarmServiceError):
    """SQLite could not read or commit now; nothing of the attempt was kept. Waiting may help."""

    def __init__(self, cause: str) -> None:
        self.cause = cause
        super().__init__(cause)

    def __str__(self) -> str:
        return f"the journal cannot be read or written now: {self.cause}"
