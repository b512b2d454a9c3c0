"""`docqa login`: who you are, remembered for the commands that follow; an account is made if you are new."""

import getpass
import sys

from rich.console import Console
from rich.markup import escape

from docqa.client import Client
from docqa.credentials import Credentials
from docqa.failing import PlainError, ServerRefused


def log_in(url: str | None, email: str | None, console: Console) -> None:
    """Asks for what it was not given; without a terminal, e-mail and password are read as lines."""
    with Client(url, Credentials()) as client:
        email = email or _asked("E-mail: ")
        password = _asked_secretly("Password: ")
        tokens, new = _enter(client, email, password)
    word = "Welcome" if new else "Logged in"
    console.print(f"{word}, {escape(tokens)} ({escape(client.url)}).", highlight=False, soft_wrap=True)


def _enter(client: Client, email: str, password: str) -> tuple[str, bool]:
    body = {"json": {"email": email, "password": password}}
    try:
        return client.authenticate("/api/auth/login", body).user.email, False
    except ServerRefused as refused:
        if refused.code != "auth.bad_credentials":
            raise
    return _sign_up(client, email, password), True


def _sign_up(client: Client, email: str, password: str) -> str:
    if sys.stdin.isatty() and _asked_secretly(NEW_HERE) != password:
        raise PlainError("Nothing was done: the passwords differ.")
    try:
        return client.authenticate("/api/auth/signup", {"json": {"email": email, "password": password}}).user.email
    except ServerRefused as refused:
        if refused.code != "auth.email_taken":
            raise
        raise PlainError("The e-mail or the password is wrong.") from None


NEW_HERE = "No account has this e-mail and password. To make one, type the password again: "


def _asked(prompt: str) -> str:
    if sys.stdin.isatty():
        sys.stderr.write(prompt)
        sys.stderr.flush()
    if not (answer := sys.stdin.readline().strip()):
        raise PlainError("Nothing was given.")
    return answer


def _asked_secretly(prompt: str) -> str:
    answer = getpass.getpass(prompt) if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    if not answer:
        raise PlainError("Nothing was given.")
    return answer
