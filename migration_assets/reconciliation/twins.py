"""Whether anything in the project refers to a resource, by search.

Belongs here: which searches tell, for the types where all of them are known. Does not belong here:
what follows for a twin (``repairing``).

FHIR has no search for "whoever refers to this". For a Patient the searches are those of the R4
patient compartment and of the types that may name any resource. For other types nobody here claims
to know them all, so nothing of them is deleted.
"""

from collections.abc import Iterable, Sequence

import orjson

from migration_assets.reconciliation.asking import PAGE, Asker

NOBODY_KNOWS = "referrers-unknown"
"""Reason for leaving a twin alone: it cannot be told whether anything refers to it."""

_ANY = (
    "AuditEvent.entity Basic.subject Composition.entry Communication.part-of List.item "
    "Provenance.target Task.focus Task.subject"
)
_REFERRERS = {  # type and search parameter, as R4 and Medplum 5.0.10 name them
    "Patient": _ANY
    + " Account.subject AllergyIntolerance.patient Appointment.actor AppointmentResponse.actor"
    " AuditEvent.patient BodyStructure.patient CarePlan.subject CareTeam.subject"
    " ChargeItem.subject Claim.patient ClaimResponse.patient ClinicalImpression.subject"
    " Communication.subject Communication.recipient Communication.sender"
    " CommunicationRequest.subject Composition.subject Condition.subject Consent.patient"
    " Coverage.beneficiary Coverage.policy-holder Coverage.subscriber"
    " CoverageEligibilityRequest.patient DetectedIssue.patient Device.patient"
    " DeviceRequest.subject DeviceUseStatement.subject DiagnosticReport.subject"
    " DocumentManifest.subject DocumentReference.subject Encounter.subject EpisodeOfCare.patient"
    " ExplanationOfBenefit.patient FamilyMemberHistory.patient Flag.subject Goal.subject"
    " Group.member ImagingStudy.subject Immunization.patient ImmunizationEvaluation.patient"
    " ImmunizationRecommendation.patient Invoice.subject List.subject MeasureReport.subject"
    " Media.subject MedicationAdministration.subject MedicationDispense.subject"
    " MedicationRequest.subject MedicationStatement.subject MolecularSequence.patient"
    " NutritionOrder.patient Observation.subject Observation.performer Patient.link Person.patient"
    " Procedure.subject QuestionnaireResponse.subject QuestionnaireResponse.author"
    " RelatedPerson.patient RequestGroup.subject ResearchSubject.individual"
    " RiskAssessment.subject Schedule.actor ServiceRequest.subject Specimen.subject"
    " SupplyDelivery.patient SupplyRequest.subject VisionPrescription.patient",
}


def referrers_known(resource_type: str) -> bool:
    """Whether searches tell everything that R4 lets refer to a type."""
    return resource_type in _REFERRERS


def referred_to(asker: Asker, resource_type: str, ids: Sequence[str]) -> set[str]:
    """Those of some ids that anything in the project refers to: 20 points per search above.

    Where an answer is full, all of them count as referred to.
    """
    found: set[str] = set()
    literals = {f"{resource_type}/{each}": each for each in ids}
    if not literals:
        return found
    for each in _searches(resource_type):
        kind, parameter = each.split(".")
        resources = asker.search(kind, {parameter: ",".join(literals)})
        if len(resources) >= PAGE:
            return set(ids)
        texts = [orjson.dumps(resource) for resource in resources]
        found |= {
            literals[one]
            for one in literals
            if any(b'"%s"' % one.encode() in text for text in texts)
        }
    return found


def _searches(resource_type: str) -> Iterable[str]:
    return _REFERRERS[resource_type].split()
