"""What auth keeps. Every time is the database's."""

from datetime import datetime
from uuid import UUID

from chassis.database import NAMING, TYPES
from chassis.ids import uuid7
from sqlalchemy import BigInteger, ForeignKey, Identity, Index, MetaData, func
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

metadata = MetaData(naming_convention=NAMING)


class Row(DeclarativeBase):
    """The parent of auth's tables."""

    metadata = metadata
    type_annotation_map = TYPES


class UserRow(Row):
    """An account."""

    __tablename__ = "users"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    email: Mapped[str]
    compared_email: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str | None]
    password_hash: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class RefreshFamilyRow(Row):
    """One login, and all the refresh tokens that followed from it; logging out, or reuse, deletes the whole of it."""

    __tablename__ = "refresh_families"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class RefreshTokenRow(Row):
    """A refresh token, by its digest. Spent ones stay until they expire: that is how reuse is noticed."""

    __tablename__ = "refresh_tokens"

    digest: Mapped[bytes] = mapped_column(primary_key=True)
    family_id: Mapped[UUID] = mapped_column(ForeignKey("refresh_families.id", ondelete="CASCADE"), index=True)
    issued_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime] = mapped_column(index=True)
    spent_at: Mapped[datetime | None]


class ApiKeyRow(Row):
    """An API key, by its digest and the characters that its list shows."""

    __tablename__ = "api_keys"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str]
    prefix: Mapped[str]
    digest: Mapped[bytes] = mapped_column(unique=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]


class SigningKeyRow(Row):
    """An Ed25519 key pair. It signs from `active_from` until the next one does, and is shown until its tokens end."""

    __tablename__ = "signing_keys"

    kid: Mapped[str] = mapped_column(primary_key=True)
    private_key: Mapped[bytes]
    active_from: Mapped[datetime] = mapped_column(server_default=func.now())


class LoginFailureRow(Row):
    """A failed login of an account that may or may not exist, by the digest of its address."""

    __tablename__ = "login_failures"
    __table_args__ = (Index("ix_login_failures_account_failed_at", "account", "failed_at"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    account: Mapped[bytes]
    failed_at: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)


class AccountDeletionRow(Row):
    """A deletion of which some service has not yet said that it holds nothing any more. Ids and times, nothing else."""

    __tablename__ = "account_deletions"

    deletion_id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(unique=True)
    requested_at: Mapped[datetime] = mapped_column(server_default=func.now())
    round: Mapped[int] = mapped_column(default=0)
    say_again_at: Mapped[datetime] = mapped_column(index=True)
    erased: Mapped[int]
    gateway_purged_at: Mapped[datetime | None]
    qa_purged_at: Mapped[datetime | None]
