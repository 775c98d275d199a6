"""Errors of the model half. Each docstring is the default message and says what to do."""

import inspect


class ModelError(Exception):
    """A model stage could not do its work; see the cause above this line."""

    def __init__(self, message: str | None = None) -> None:
        """Use `message`, or the docstring of the class when there is none."""
        super().__init__(message or inspect.getdoc(type(self)))


class CatalogueError(ModelError):
    """The stage catalogue is inconsistent; correct the entry in the catalogue file."""


class CardError(ModelError):
    """The model card is not valid; write it again with `python -m models.training`."""


class WeightsError(ModelError):
    """The weights do not belong to their card; restore both from the repository."""


class ImportWeightsError(ModelError):
    """The weights cannot be registered; check the file, its kind and its label list."""


class RuntimeUnavailableError(ModelError):
    """No runtime can run this stage here; install `onnxruntime` or `torch`."""


class InferenceError(ModelError):
    """The forward pass failed; the images of the batch are tried one at a time."""


class DeviceMemoryError(InferenceError):
    """The device is out of memory; lower the batch size or free the device."""


class DeviceLostError(ModelError):
    """The accelerator failed; this process must be started again before it can go on."""
