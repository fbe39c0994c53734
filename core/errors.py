"""Every error that Adloom raises about data, params or state. A wrong *call* raises ValueError instead.

    AdloomError
    ├── ParamsError        params.yaml or an override is wrong (all faults in one message)
    ├── SourceError        a source cannot be read: missing file, wrong encoding, truncated Parquet
    ├── SchemaError        a table breaks the data contract as a whole (a missing column, a wrong type)
    ├── StageError         dvc.yaml and the code disagree, or a stage's input is missing
    ├── BundleError        a bundle folder is incomplete or does not fit the code or another bundle
    ├── EncoderError       an encoder folder or hub id cannot be loaded
    ├── TrainingError      a model cannot be trained on these data, or training diverged
    ├── PropensityError    a logging propensity is missing or lies outside (0, 1]
    ├── EvidenceError      a question was asked that the data cannot answer
    ├── IdentityError      the user key is missing or is not the one the data were hashed with
    ├── RegistryError      the MLflow store cannot be read or written, or holds no such model
    └── ServiceError       the service or a local server cannot start (a port in use, no champion)

A message names the value, the limit and the next step.
"""


class AdloomError(Exception):
    """Base of all of Adloom's own errors; the command line prints its message and exits with code 1."""


class ParamsError(AdloomError):
    """params.yaml, a profile or an override is wrong; the message lists every fault found."""


class SourceError(AdloomError):
    """A source cannot be read."""


class SchemaError(AdloomError):
    """A table breaks the data contract as a whole."""


class StageError(AdloomError):
    """dvc.yaml and the code disagree, or a stage's input is missing."""


class BundleError(AdloomError):
    """A bundle folder is incomplete, or does not fit the code or another bundle."""


class EncoderError(AdloomError):
    """An encoder folder or hub id cannot be loaded."""


class TrainingError(AdloomError):
    """A model cannot be trained on these data, or training diverged."""


class PropensityError(AdloomError):
    """A logging propensity is missing or lies outside (0, 1]."""


class EvidenceError(AdloomError):
    """A question was asked that the data cannot answer."""


class IdentityError(AdloomError):
    """The user key is missing, or is not the one the data were hashed with."""


class RegistryError(AdloomError):
    """The MLflow store cannot be read or written, or holds no such model."""


class ServiceError(AdloomError):
    """The service or a local server cannot start."""
