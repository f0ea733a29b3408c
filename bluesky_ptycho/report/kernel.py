"""The process that runs the cells of a report."""

from __future__ import annotations

from jupyter_client.manager import AsyncKernelManager


class PoliteKernelManager(AsyncKernelManager):
    """Asks a kernel to end, and does not interrupt it before.

    The base sends SIGINT first, for cells that still run. Here all are done or have failed; a kernel that happens to
    finish its last message just then says "KeyboardInterrupt caught in kernel" on stderr.
    """

    async def shutdown_kernel(self, now: bool = False, restart: bool = False) -> None:  # type: ignore[override]
        """Ask the kernel to end, and end it if it does not."""
        await self.request_shutdown(restart=restart)
        await self.finish_shutdown(restart=restart)
        await self.cleanup_resources(restart=restart)
