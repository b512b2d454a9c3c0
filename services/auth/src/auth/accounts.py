"""Everything that auth's routes can ask for."""

from dataclasses import dataclass

from chassis.database import Sessions
from chassis.transactions import Transactions

from auth.api_keys import ApiKeys, ExchangeKey
from auth.closing import CloseAccount
from auth.logging_in import LogIn
from auth.logging_out import LogOut
from auth.refreshing import Refresh
from auth.signing import KeyRing
from auth.signing_up import SignUp


@dataclass(frozen=True)
class Accounts:
    """The use cases, put together in `main.py`."""

    sessions: Sessions
    transactions: Transactions
    ring: KeyRing
    sign_up: SignUp
    log_in: LogIn
    refresh: Refresh
    log_out: LogOut
    close: CloseAccount
    api_keys: ApiKeys
    exchange_key: ExchangeKey
