"""What can go wrong with an account, in its own words."""

from uuid import UUID


class EmailTaken(Exception):
    """Somebody signed up with this address before."""

    def __init__(self) -> None:
        super().__init__("This e-mail address has an account already.")


class BadCredentials(Exception):
    """The account is unknown, or the password wrong: nobody is told which."""

    def __init__(self) -> None:
        super().__init__("The e-mail address or the password is wrong.")


class TooManyFailures(Exception):
    """The failures that an account may have are used up; in `retry_after` seconds the first of them stops counting."""

    def __init__(self, retry_after: float) -> None:
        super().__init__("Too many failed logins for this account. Try again later.")
        self.retry_after = retry_after


class InvalidRefreshToken(Exception):
    """Unknown, expired, revoked, or spent before."""

    def __init__(self) -> None:
        super().__init__("The refresh token is not valid. Log in again.")


class InvalidApiKey(Exception):
    """Unknown, expired or deleted."""

    def __init__(self) -> None:
        super().__init__("The API key is not valid.")


class AccountGone(Exception):
    """The token is good, but its holder has been deleted since."""

    def __init__(self, user_id: UUID) -> None:
        super().__init__("The account does not exist any more.")
        self.user_id = user_id


class ApiKeyNotFound(Exception):
    """This user has no such API key."""

    def __init__(self, key_id: UUID) -> None:
        super().__init__("There is no such API key.")
        self.key_id = key_id


class TooManyKeys(Exception):
    """The user holds as many API keys as one may."""

    retry_after = 3600.0  # waiting does not help unless a key is deleted

    def __init__(self, most: int) -> None:
        super().__init__(f"An account can have at most {most} API keys. Delete one first.")
        self.most = most
