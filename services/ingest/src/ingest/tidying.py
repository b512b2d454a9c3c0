"""What is left behind in the store by processes that died, and removed a day later."""

from datetime import UTC, datetime, timedelta

from chassis.objects import ObjectStore
from sqlalchemy.ext.asyncio import AsyncSession

from ingest import repository
from ingest.chunk_files import ChunksFile, chunk_files

AGE = timedelta(days=1)
AT_ONCE = 50


async def remove_orphans(session: AsyncSession, *, store: ObjectStore) -> None:
    """Remove chunks files that no version names: of attempts whose process died between file and row."""
    old: list[ChunksFile] = []
    before = datetime.now(UTC) - AGE
    async for file in chunk_files(store, "users/"):
        if file.modified < before:
            old.append(file)
        if len(old) == AT_ONCE:
            await _remove_unnamed(session, store, old)
            old.clear()
    await _remove_unnamed(session, store, old)


async def _remove_unnamed(session: AsyncSession, store: ObjectStore, files: list[ChunksFile]) -> None:
    names = {(file.document, file.version, file.attempt): file for file in files}
    kept = await repository.kept(session, names)
    await session.commit()
    for name, file in names.items():
        if name not in kept:
            await store.delete(file.key)
