"""Results as DICOM JSON (PS3.18 Annex F): what a search answers, and the metadata of instances."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from pydicom import config
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from starlette.responses import JSONResponse

from pipeline.api.acceptable import JSON
from pipeline.dicom.results import Result
from pipeline.dicom.source import PATIENT, describe

Address = Callable[..., str]
"""Address of a study, series or instance from its UIDs."""


class DicomJson(JSONResponse):
    """A list of datasets."""

    media_type = JSON

    def render(self, content: Any) -> bytes:
        """The bytes; dates and times of pydicom in their DICOM form."""
        return json.dumps(content, default=str, ensure_ascii=False).encode()


def study(results: Sequence[Result], address: Address) -> dict[str, Any]:
    """A study of the search, PS3.18 table 10.6.3-3; `results` are all of it."""
    first = results[0]
    owner = describe(first.sources[0])
    return _json(
        **{keyword: owner[keyword] for keyword in PATIENT},
        **_common(address(first.study_uid)),
        StudyInstanceUID=first.study_uid,
        ModalitiesInStudy=sorted({result.modality for result in results}),
        NumberOfStudyRelatedSeries=len({result.place.series_uid for result in results}),
        NumberOfStudyRelatedInstances=len(results),
    )


def series(results: Sequence[Result], address: Address) -> dict[str, Any]:
    """A series of the search, PS3.18 table 10.6.3-4; `results` are all of it."""
    first = results[0]
    return _json(
        **_common(address(first.study_uid, first.place.series_uid)),
        StudyInstanceUID=first.study_uid,
        Modality=first.modality,
        SeriesInstanceUID=first.place.series_uid,
        SeriesNumber=first.place.series_number,
        SeriesDescription=first.place.series_description,
        NumberOfSeriesRelatedInstances=len(results),
    )


def instance(result: Result, address: Address) -> dict[str, Any]:
    """An instance of the search, PS3.18 table 10.6.3-5, with the series it is in."""
    place = result.place
    return _json(
        **_common(address(result.study_uid, place.series_uid, result.sop_uid)),
        StudyInstanceUID=result.study_uid,
        Modality=result.modality,
        SeriesInstanceUID=place.series_uid,
        SeriesNumber=place.series_number,
        SOPClassUID=result.sop_class_uid,
        SOPInstanceUID=result.sop_uid,
        InstanceNumber=place.instance_number,
    )


def metadata(dataset: Dataset) -> dict[str, Any]:
    """An instance without its pixels, which it loses, PS3.18 10.4.1.1.2."""
    dataset.pop("PixelData", None)
    described: dict[str, Any] = dataset.to_json_dict()
    return described


def _common(url: str) -> dict[str, str]:
    return {
        "SpecificCharacterSet": "ISO_IR 192",
        "TimezoneOffsetFromUTC": "+0000",
        "InstanceAvailability": "ONLINE",
        "RetrieveURL": url,
    }


def _json(**values: Any) -> dict[str, Any]:
    dataset = Dataset()
    for keyword, value in values.items():
        tag = tag_for_keyword(keyword) or 0
        # Unchecked: what a hospital wrote comes back, and no warning quotes it.
        dataset.add(DataElement(tag, dictionary_VR(tag), value, validation_mode=config.IGNORE))
    described: dict[str, Any] = dataset.to_json_dict()
    return described
