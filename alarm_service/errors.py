"""The error tree of `alarm_service`.

AlarmServiceError
├── UnknownAlarmError          permanent: no alarm has this number
├── AlarmNormalError           permanent: the alarm's life is over, there is nothing to acknowledge
├── JournalVersionError        permanent: the journal is of another version of this program
├── JournalHeldError           permanent: another alarm service works on this database
├── JournalRefusedError        permanent: the database will never take these rows
└── JournalUnavailableError    transient: the disk is full or locked, the database away; the caller tries again
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
    """It holds a journal of another version of this program: it is left untouched."""

    def __init__(self, place: str, found: int, known: int) -> None:
        self.place = place
        self.found = found
        self.known = known
        super().__init__(place, found, known)

    def __str__(self) -> str:
        return f"{self.place}: journal version {self.found}, this program knows {self.known}"


class JournalHeldError(AlarmServiceError):
    """Two services would give out the same numbers: the second one does not begin."""

    def __init__(self, holder: str) -> None:
        self.holder = holder
        super().__init__(holder)

    def __str__(self) -> str:
        return f"the journal is in use by {self.holder}"


class JournalRefusedError(AlarmServiceError):
    """A constraint or a type speaks against these rows, now and later; nothing of the attempt was kept."""

    def __init__(self, cause: str) -> None:
        self.cause = cause
        super().__init__(cause)

    def __str__(self) -> str:
        return f"the journal refuses this: {self.cause}"


class JournalUnavailableError(AlarmServiceError):
    """The database could not read or commit now. Waiting may help.

    Nothing of the attempt was kept; or all of it, where the connection broke just as PostgreSQL committed. Both events
    and acknowledgements may be told again.
    """

    def __init__(self, cause: str) -> None:
        self.cause = cause
        super().__init__(cause)

    def __str__(self) -> str:
        return f"the journal cannot be read or written now: {self.cause}"
