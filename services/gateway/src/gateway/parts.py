"""What the routes use, put together once in `main.py`."""

from dataclasses import dataclass
from typing import Annotated

from chassis.database import Sessions
from fastapi import Depends, Request

from gateway.closing import CloseAccount
from gateway.deleting import Delete
from gateway.forwarding import Upstream
from gateway.questions import PrepareQuestion
from gateway.raw import MakeRawLink, ReadRaw
from gateway.receipts import ReadDeletion
from gateway.reprocess import Reprocess
from gateway.settings import GatewaySettings
from gateway.streaming import Stream
from gateway.upload import Upload


@dataclass(frozen=True)
class Parts:
    """Use cases, and the services behind."""

    settings: GatewaySettings
    reads: Sessions
    upload: Upload
    reprocess: Reprocess
    delete: Delete
    read_raw: ReadRaw
    make_raw_link: MakeRawLink
    read_deletion: ReadDeletion
    stream: Stream
    close_account: CloseAccount
    prepare_question: PrepareQuestion
    auth: Upstream
    ingest: Upstream
    qa: Upstream


async def _parts(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts


PartsDep = Annotated[Parts, Depends(_parts)]
