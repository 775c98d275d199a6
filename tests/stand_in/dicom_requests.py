"""C-STORE requests that no library would send: request and dataset contradict each other."""

import io
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode


def request_of(dataset: Dataset) -> Any:
    """The request for a dataset, without it."""
    request = C_STORE()
    request.MessageID = 1
    request.AffectedSOPClassUID = dataset.SOPClassUID
    request.AffectedSOPInstanceUID = dataset.SOPInstanceUID
    request.Priority = 2
    return request


def send_raw(peer: Any, request: Any, dataset: Dataset | None) -> int:
    """Send it with a dataset, or with what it holds; the status of its answer."""
    if dataset is not None:
        encoded = encode(dataset, False, True)
        assert encoded is not None
        request.DataSet = io.BytesIO(encoded)
    context_id = peer.accepted_contexts[0].context_id
    peer._reactor_checkpoint.clear()
    peer.dimse.send_msg(request, context_id)
    _, answer = peer.dimse.get_msg(block=True)
    peer._reactor_checkpoint.set()
    return int(answer.Status)
