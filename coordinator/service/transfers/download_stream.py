"""Sending an adapter over a stream: header, then parts; a bounded number at a time, none held up by a silent reader."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing

from alignfed.errors import UploadStalled
from alignfed.v1 import agent_service_pb2 as agent_pb
from alignfed.v1 import operator_service_pb2 as operator_pb
from coordinator.service.bounds import DrainSwitch, Slots, store_silent, within
from coordinator.service.config import ServiceConfig
from coordinator.service.metrics import ServiceMetrics
from coordinator.service.rpc import convert
from coordinator.service.rpc.types import Context
from coordinator.service.transfers.downloads import Download, DownloadRequest, Downloads

ResponseType = type[agent_pb.DownloadAdapterResponse] | type[operator_pb.ExportAdapterResponse]


class DownloadStream:
    """Sends downloads."""

    def __init__(
        self, downloads: Downloads, *, drain: DrainSwitch, metrics: ServiceMetrics, config: ServiceConfig
    ) -> None:
        self._downloads = downloads
        self._drain = drain
        self._metrics = metrics
        self._config = config
        # Those in line hold nothing but their request, so the line may be as long as the fleet.
        self._slots = Slots(active=config.max_active_downloads, waiting=1_000_000)

    async def send(
        self,
        request: DownloadRequest,
        context: Context,
        response: ResponseType,
        *,
        charge: Callable[[int], None] | None = None,
    ) -> None:
        """Send one adapter as messages of type `response`; `charge` is told how many bytes that takes, and may refuse.

        Raises:
            UnknownFederation, VersionNotFound, RequestInvalid: See `Downloads.open`.
            UploadsBusy: No slot became free in time.
            UploadStalled: The reader took nothing for too long.
            Draining: The process shuts down.
        """
        self._drain.check()
        seconds = self._config.store_timeout_seconds
        async with within(seconds, lambda: store_silent(seconds)):
            download = await self._downloads.open(request)
        if charge is not None:
            charge(download.blob.total_bytes - request.offset)
        async with self._slots.hold(wait_seconds=self._config.upload_wait_seconds):
            await self._send(download, context, response)

    async def _send(self, download: Download, context: Context, response: ResponseType) -> None:
        sent_bytes = self._metrics.download_bytes.labels(download.federation)
        seconds = self._config.progress_timeout_seconds
        header = response(header=convert.adapter_header_to_proto(download.version, download.blob, download.signed))
        async with within(seconds, lambda: _stalled(seconds)):
            await context.write(header)
        async with aclosing(self._downloads.parts(download)) as parts:
            async for part in parts:
                async with within(seconds, lambda: _stalled(seconds)):
                    await context.write(part.frame)
                sent_bytes.inc(part.data_bytes)


def _stalled(seconds: float) -> UploadStalled:
    return UploadStalled(f"nothing was read for {seconds:g} s: resume the download at the offset reached")
