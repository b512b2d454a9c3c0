import asyncio
import os
import sys
import threading

import pytest
from auth.passwords import HashingBusy, Passwords


async def test_however_many_sign_up_whoever_logs_in_waits_for_one_of_them() -> None:
    passwords = Passwords(threads=1, waiting=10)
    signing_up = [asyncio.create_task(passwords.hash("correct horse battery staple")) for _ in range(10)]
    await asyncio.sleep(0)

    with pytest.raises(HashingBusy):
        await passwords.hash("one too many")
    await passwords.compare("correct horse battery staple", None)

    assert sum(task.done() for task in signing_up) <= 2
    await asyncio.gather(*signing_up)
    passwords.close()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere threads have no priority of their own")
async def test_whoever_is_answered_goes_before_whoever_logs_in() -> None:
    before = set(threading.enumerate())
    passwords = Passwords(threads=1, waiting=1)

    await passwords.hash("correct horse battery staple")

    [hashing] = set(threading.enumerate()) - before
    assert hashing.native_id is not None
    assert os.getpriority(os.PRIO_PROCESS, hashing.native_id) > os.getpriority(os.PRIO_PROCESS, os.getpid())
    passwords.close()
