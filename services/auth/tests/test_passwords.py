import os
import sys
import threading

import pytest
from auth.passwords import Passwords


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere threads have no priority of their own")
async def test_whoever_is_answered_goes_before_whoever_logs_in() -> None:
    before = set(threading.enumerate())
    passwords = Passwords(threads=1, waiting=1)

    await passwords.hash("correct horse battery staple")

    [hashing] = set(threading.enumerate()) - before
    assert hashing.native_id is not None
    assert os.getpriority(os.PRIO_PROCESS, hashing.native_id) > os.getpriority(os.PRIO_PROCESS, os.getpid())
    passwords.close()
