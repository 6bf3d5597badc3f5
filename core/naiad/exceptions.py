"""Neptune's names for our errors, so that `except neptune.exceptions.X` goes on working.

Each is an alias of the class in `errors.py` that is raised in that case. Names arrive with the feature they
belong to.
"""

from __future__ import annotations

from naiad.errors import ArtifactNotFound as ArtifactNotFoundException
from naiad.errors import ContainerNotFound as MetadataContainerNotFound
from naiad.errors import EmptyLocation as NeptuneEmptyLocationException
from naiad.errors import FieldConflict as MetadataInconsistency
from naiad.errors import FileError as ArtifactUploadingError
from naiad.errors import FileError as FileSetUploadError
from naiad.errors import FileError as FileUploadError
from naiad.errors import FileNotFound, ModelNotFound, ModelVersionNotFound, ProjectNotFound, RunNotFound
from naiad.errors import FileNotInSet as FileSetNotFound
from naiad.errors import InactiveContainer as InactiveContainerException
from naiad.errors import InactiveModel as InactiveModelException
from naiad.errors import InactiveModelVersion as InactiveModelVersionException
from naiad.errors import InactiveProject as InactiveProjectException
from naiad.errors import InactiveRun as InactiveRunException
from naiad.errors import InvalidArgument as NeptuneUserApiInputException
from naiad.errors import InvalidArgument as NeptuneWrongInitParametersException
from naiad.errors import InvalidArgument as StreamAlreadyUsedException
from naiad.errors import InvalidQuery as NeptuneInvalidQueryException
from naiad.errors import MissingField as FetchAttributeNotFoundException
from naiad.errors import MissingField as MissingFieldException
from naiad.errors import MissingPackage as NeptuneMissingRequirementException
from naiad.errors import MissingParameter as NeptuneMissingApiTokenException
from naiad.errors import MissingParameter as NeptuneMissingProjectNameException
from naiad.errors import MissingParameter as NeptuneMissingRequiredInitParameter
from naiad.errors import ModelKeyTaken as NeptuneModelKeyAlreadyExistsError
from naiad.errors import NaiadError as NeptuneException
from naiad.errors import NameTaken as NeptuneObjectCreationConflict
from naiad.errors import NeedExisting as NeedExistingExperimentForReadOnlyMode
from naiad.errors import NeedExistingModel as NeedExistingModelForReadOnlyMode
from naiad.errors import NeedExistingModelVersion as NeedExistingModelVersionForReadOnlyMode
from naiad.errors import NeedExistingRun as NeedExistingRunForReadOnlyMode
from naiad.errors import OriginalError as NeptuneLocalStorageAccessException
from naiad.errors import ProtectedPath as NeptuneProtectedPathException
from naiad.errors import ProtectedStage as NeptuneCannotChangeStageManually
from naiad.errors import RemoteError as NeptuneRemoteStorageAccessException
from naiad.errors import RemoteError as NeptuneRemoteStorageCredentialsException
from naiad.errors import RunIdCollision as NeptuneRunResumeAndCustomIdCollision
from naiad.errors import SyncFailed as NeptuneSynchronizationAlreadyStoppedException
from naiad.errors import UnsupportedLocation as NeptuneUnhandledArtifactSchemeException
from naiad.errors import UnsupportedLocation as NeptuneUnhandledArtifactTypeException
from naiad.errors import UnsupportedLocation as NeptuneUnsupportedArtifactFunctionalityException
from naiad.errors import WrongVerb as TypeDoesNotSupportAttributeException

__all__ = [
    "ArtifactNotFoundException",
    "ArtifactUploadingError",
    "FetchAttributeNotFoundException",
    "FileNotFound",
    "FileSetNotFound",
    "FileSetUploadError",
    "FileUploadError",
    "InactiveContainerException",
    "InactiveModelException",
    "InactiveModelVersionException",
    "InactiveProjectException",
    "InactiveRunException",
    "MetadataContainerNotFound",
    "MetadataInconsistency",
    "MissingFieldException",
    "ModelNotFound",
    "ModelVersionNotFound",
    "NeedExistingExperimentForReadOnlyMode",
    "NeedExistingModelForReadOnlyMode",
    "NeedExistingModelVersionForReadOnlyMode",
    "NeedExistingRunForReadOnlyMode",
    "NeptuneCannotChangeStageManually",
    "NeptuneEmptyLocationException",
    "NeptuneException",
    "NeptuneInvalidQueryException",
    "NeptuneLocalStorageAccessException",
    "NeptuneMissingApiTokenException",
    "NeptuneMissingProjectNameException",
    "NeptuneMissingRequiredInitParameter",
    "NeptuneMissingRequirementException",
    "NeptuneModelKeyAlreadyExistsError",
    "NeptuneObjectCreationConflict",
    "NeptuneProtectedPathException",
    "NeptuneRemoteStorageAccessException",
    "NeptuneRemoteStorageCredentialsException",
    "NeptuneRunResumeAndCustomIdCollision",
    "NeptuneSynchronizationAlreadyStoppedException",
    "NeptuneUnhandledArtifactSchemeException",
    "NeptuneUnhandledArtifactTypeException",
    "NeptuneUnsupportedArtifactFunctionalityException",
    "NeptuneUserApiInputException",
    "NeptuneWrongInitParametersException",
    "ProjectNotFound",
    "RunNotFound",
    "StreamAlreadyUsedException",
    "TypeDoesNotSupportAttributeException",
]
