"""What can be wrong with an operator's request, and the one table that says how each is answered."""

from collections.abc import Mapping

from chassis.failures import Misconfigured, Permanent, Transient
from chassis.operators import OperatorRefused
from chassis.problems import ErrorEntry

from embedder.building import IndexBusy, NothingBuilt, UnknownModel

ERRORS: Mapping[type[Exception], ErrorEntry] = {
    OperatorRefused: ErrorEntry(403, "operator.refused", "Not allowed"),
    UnknownModel: ErrorEntry(422, "model.unknown", "Unknown model"),
    IndexBusy: ErrorEntry(409, "index.busy", "An index is being built"),
    NothingBuilt: ErrorEntry(404, "index.not_building", "No index is being built"),
    Misconfigured: ErrorEntry(503, "provider.misconfigured", "The model cannot be used"),
    Permanent: ErrorEntry(502, "provider.bad_answer", "The model cannot be used"),
    Transient: ErrorEntry(503, "service.unavailable", "Service unavailable"),
}
"""Error -> answer."""
