"""Version records in memory for a few seconds, so that a fleet that pulls a new head reads its record once."""

from __future__ import annotations

from collections import OrderedDict

from coordinator.backends import refusals
from coordinator.domain import VersionRecord
from coordinator.ports import Clock, Versions
from coordinator.service.admission import MAX_INTEGER
from coordinator.service.caches.single_flight import SingleFlight

LIFETIME_SECONDS = 5.0  # a rollback or failover changes what a number means: do not believe it for long
_CAPACITY = 256


class RecentVersions:
    """Reads version records, keeping them for a few seconds."""

    def __init__(self, versions: Versions, clock: Clock) -> None:
        self._versions = versions
        self._clock = clock
        self._reads: SingleFlight[tuple[str, int], VersionRecord] = SingleFlight()
        self._records: OrderedDict[tuple[str, int], tuple[VersionRecord, float]] = OrderedDict()

    async def get(self, federation: str, number: int) -> VersionRecord:
        """Return one version, at most a few seconds old.

        Raises:
            VersionNotFound: It does not exist.
        """
        record, expires_at = self._records.get((federation, number), (None, 0.0))
        if record is not None and self._clock.monotonic() < expires_at:
            return record
        return await self.read(federation, number)

    async def read(self, federation: str, number: int) -> VersionRecord:
        """Return one version as the store has it now.

        Raises:
            VersionNotFound: It does not exist.
        """
        if number > MAX_INTEGER:
            raise refusals.version_unknown(number)
        return await self._reads.run((federation, number), lambda: self._read(federation, number))

    async def _read(self, federation: str, number: int) -> VersionRecord:
        record = await self._versions.get(federation, number)
        self._records[federation, number] = (record, self._clock.monotonic() + LIFETIME_SECONDS)
        self._records.move_to_end((federation, number))
        if len(self._records) > _CAPACITY:
            self._records.popitem(last=False)
        return record
