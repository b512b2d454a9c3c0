"""What may still happen to a version of a subject: the rules of the fence, without a database."""

from collections.abc import Mapping
from datetime import UTC, datetime

from contracts.facts import FACTS, Fact
from pydantic import JsonValue


class LatenessRules:
    """What can be told of a version without knowing of newer ones.

    *Too late* is for writes outside the database: what was written too late has to be erased again.
    """

    live: int
    failed: list[int]
    deleted_at: datetime | None

    @property
    def is_deleted(self) -> bool:
        return self.deleted_at is not None

    def is_too_late(self, version: int) -> bool:
        """Deleted, or below the version that answers, or failed."""
        return self.is_deleted or version < self.live or version in self.failed


class FenceRules(LatenessRules):
    """What was heard of a subject, and what follows from it.

    *Over* is for facts: whoever hears one about a version that is over changes nothing. A version that is merely
    superseded is over, and yet not too late: until the newer one is live, it may be the one that answers.
    """

    version: int
    outcome_type: str | None
    outcome_version: int | None
    outcome_round: int | None
    outcome: Mapping[str, JsonValue] | None

    def hear(self, version: int) -> bool:
        """Note that this version exists. True if there is still something to do for it."""
        self.version = max(self.version, version)
        return not self.is_over(version)

    def raise_live(self, version: int) -> None:
        """Note that this version answers. It may be below the highest one, and never goes back."""
        self.version = max(self.version, version)
        self.live = max(self.live, version)
        # Below the live one everything is too late anyway.
        if any(failed < self.live for failed in self.failed):
            self.failed = [failed for failed in self.failed if failed >= self.live]

    def fail(self, version: int) -> None:
        """Note that this version has failed, for good."""
        self.version = max(self.version, version)
        if version not in self.failed:
            self.failed = [*self.failed, version]

    def delete(self) -> bool:
        """Note that the subject is deleted. False if that was known."""
        if self.is_deleted:
            return False
        self.deleted_at = datetime.now(UTC)
        return True

    def is_over(self, version: int) -> bool:
        """Deleted, or a newer version was heard, or this one has failed."""
        return self.is_deleted or version < self.version or version in self.failed

    def conclude(self, fact: Fact) -> None:
        """Keep this fact as the outcome of this stage, to be said again when somebody asks."""
        self.outcome_type = fact.type
        self.outcome_version = version_of(fact)
        self.outcome_round = round_of(fact)
        self.outcome = fact.model_dump(mode="json")

    def outcome_of(self, version: int) -> Fact | None:
        """The outcome of this stage for that version, if it is the last one that was kept."""
        if self.outcome_type is None or self.outcome_version != version:
            return None
        return FACTS[self.outcome_type].model_validate(self.outcome)

    def answer_round(self, heard: Fact) -> Fact | None:
        """The outcome to say again, with the round that was asked for; None if that round was answered before."""
        outcome, asked = self.outcome_of(version_of(heard)), round_of(heard)
        if outcome is None or asked <= (self.outcome_round or 0):
            return None
        self.outcome_round = asked
        return outcome.model_copy(update={"round": asked})


def version_of(fact: Fact) -> int:
    """The version a fact is about; 0 where its subject has none."""
    return int(getattr(fact, "version", 0))


def round_of(fact: Fact) -> int:
    """How often this was asked for."""
    return int(getattr(fact, "round", 0))
