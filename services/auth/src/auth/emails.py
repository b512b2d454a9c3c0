"""E-mail addresses: what is one, and which two are the same."""

import email_validator

# Companies run mail on `.local`, and everybody tests on `.test`. The library keeps this list for its users to change.
email_validator.SPECIAL_USE_DOMAIN_NAMES.clear()


def normalized(text: str) -> str:
    """The address as we show it: Unicode composed, its domain in lower case. Raises ValueError, and says why."""
    try:
        return email_validator.validate_email(text, check_deliverability=False).normalized
    except email_validator.EmailNotValidError as error:
        raise ValueError(str(error)) from None


def compared(email: str) -> str:
    """What spellings of one address have in common. The standard lets `Ada@` and `ada@` differ; no provider does."""
    return email.lower()
