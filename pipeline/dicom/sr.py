"""The structured report of a study: TID 1500 of PS3.16 in a Comprehensive SR.

One measurement group (TID 1501) per image and question: the gate, the X-ray type, and every label
that a model scored. Each group names its source image, its algorithm with the model version and
the operating point, the score in percent, and what the score means at that operating point.
"""

from collections.abc import Iterator, Sequence

from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    ComprehensiveSR,
    DeviceObserverIdentifyingAttributes,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as standard
from pydicom.sr.coding import Code
from pydicom.uid import SecondaryCaptureImageStorage

from pipeline.dicom import codes
from pipeline.dicom.source import NOTICE, PRODUCT, Place, Source, referenced, stamp
from pipeline.dicom.uids import named
from pipeline.records.results import RunView
from pipeline.reports.row import GATE, TYPE, XRAY
from pipeline.states import State

Group = MeasurementsAndQualitativeEvaluations


def report(sources: Sequence[Source], place: Place) -> Dataset:
    """The report on the images of one study; each must have at least one run."""
    groups = [
        group
        for number, source in enumerate(sources, 1)
        for run in source.newest
        for group in _groups(number, source, run)
    ]
    content = MeasurementReport(_observer(), codes.PROCEDURE, imaging_measurements=groups)
    content[0].ContentSequence.append(_comment(NOTICE))
    document: Dataset = ComprehensiveSR(
        evidence=[_evidence(source) for source in sources],
        content=content[0],
        series_instance_uid=place.series_uid,
        series_number=place.series_number,
        sop_instance_uid=place.sop_uid,
        instance_number=place.instance_number,
        manufacturer=PRODUCT,
        is_complete=all(s.view.row["state"] != State.QUARANTINED for s in sources),
        series_description=place.series_description,
        coding_schemes=[codes.scheme()],
    )
    _name_classes(document, sources)
    document.CodingSchemeIdentificationSequence = [codes.scheme()]
    stamp(document, sources[0], max(s.view.row["finished_at"] for s in sources))
    document.SoftwareVersions = sorted({r.model_version for s in sources for r in s.newest})
    return document


def _groups(number: int, source: Source, run: RunView) -> Iterator[Group]:
    if run.answer is not None:
        yield _answer(number, source, run, run.answer)
        return
    for label, score in run.scores.items():
        yield _label(number, source, run, label, score)


def _answer(number: int, source: Source, run: RunView, answer: str) -> Group:
    """The group of a stage with one answer, such as the gate or the type."""
    name, value = codes.of_stage(run.stage), codes.of_label(answer)
    if run.stage == GATE:
        name, value = codes.IS_RADIOGRAPH, codes.YES if answer == XRAY else codes.NO
    elif run.stage == TYPE:
        name, value = codes.TARGET_REGION, codes.of_region(answer)
    flags = (source.view.row["flags"] or []) if run.stage == TYPE else []
    said = [(name, value), *((codes.HEADER_AGREEMENT, codes.DISAGREES) for _ in flags[:1])]
    # `unknown` has no score of its own.
    score = run.scores.get(answer)
    measured = [] if score is None else [_percent(codes.FINDING_CERTAINTY, score)]
    measured += _limit(run, answer)
    group = _group(number, source, run, run.stage, None, measured, said)
    group[0].ContentSequence.extend(_comment(flag["message"]) for flag in flags)
    return group


def _label(number: int, source: Source, run: RunView, label: str, score: float) -> Group:
    """The group of one label of a stage that scores several."""
    finding = next((found for found in run.findings if found.label == label), None)
    rule = (run.rules or {}).get(label, {})
    positive = finding is not None and finding.positive
    said = [(codes.AT_OPERATING_POINT, codes.POSITIVE if positive else codes.NEGATIVE)]
    if rule.get("experimental") or (finding is not None and finding.experimental):
        said.append((codes.STANDING, codes.EXPERIMENTAL))
    measured = [_percent(codes.FINDING_CERTAINTY, score), *_limit(run, label)]
    return _group(number, source, run, label, codes.of_label(label), measured, said)


def _limit(run: RunView, label: str) -> list[Measurement]:
    """The threshold that was applied to a label, where the run or its finding recorded it."""
    found = [finding.threshold for finding in run.findings if finding.label == label]
    recorded = (run.rules or {}).get(label, {}).get("threshold")
    if recorded is not None:
        found.append(recorded)
    return [_percent(codes.THRESHOLD, found[0])] if found else []


def _group(
    number: int,
    source: Source,
    run: RunView,
    what: str,
    finding: Code | None,
    measured: Sequence[Measurement],
    said: Sequence[tuple[Code, Code]],
) -> Group:
    return Group(
        TrackingIdentifier(
            uid=named("tracking", source.sop_uid, run.model_version, what),
            identifier=f"image {number}, {what}",
        ),
        finding_type=finding,
        algorithm_id=AlgorithmIdentification(
            name=f"{PRODUCT} {run.stage}",
            version=run.model_version,
            parameters=[f"operating point: {run.operating_point}"],
            manufacturer=PRODUCT,
        ),
        measurements=measured,
        qualitative_evaluations=[QualitativeEvaluation(name, value) for name, value in said],
        source_images=[SourceImageForMeasurementGroup(source.sop_class_uid, source.sop_uid)],
    )


def _percent(name: Code, share: float) -> Measurement:
    return Measurement(name, round(100.0 * share, 4), codes.PERCENT)


def _comment(words: str) -> TextContentItem:
    return TextContentItem(
        CodedConcept.from_code(codes.COMMENT), words, RelationshipTypeValues.CONTAINS
    )


def _observer() -> ObservationContext:
    device = DeviceObserverIdentifyingAttributes(
        uid=named("product"), name=PRODUCT, manufacturer_name=PRODUCT, model_name=PRODUCT
    )
    return ObservationContext(observer_device_context=ObserverContext(standard.DCM.Device, device))


def _evidence(source: Source) -> Dataset:
    # highdicom looks up the modules of the class, and knows none of private or retired ones.
    dataset = referenced(source)
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    return dataset


def _name_classes(document: Dataset, sources: Sequence[Source]) -> None:
    """Put the true classes of the source images into the evidence."""
    true = {source.sop_uid: source.sop_class_uid for source in sources}
    for study in document.CurrentRequestedProcedureEvidenceSequence:
        for series in study.ReferencedSeriesSequence:
            for item in series.ReferencedSOPSequence:
                item.ReferencedSOPClassUID = true[item.ReferencedSOPInstanceUID]
