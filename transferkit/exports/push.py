"""``--push``: an export that is written -> a repository of the hub, by the hub's own library."""

from pathlib import Path

from transferkit.errors import ConfigError, RunError, first_line


def check_push(repository: str) -> None:
    """Find out before anything is written what can be known of it.

    Raises:
        ConfigError: no name of a repository, or a machine that is told to ask no hub.
    """
    from huggingface_hub import constants
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise ConfigError(f"--push {repository}: expected NAME/REPOSITORY ({first_line(error)})") from None
    if "/" not in repository:
        raise ConfigError(f"--push {repository}: expected NAME/REPOSITORY; write your name on the hub before it")
    if constants.HF_HUB_OFFLINE:
        raise ConfigError(f"--push {repository}: HF_HUB_OFFLINE says to ask no hub; unset it, or leave --push away")


def push(folder: Path, repository: str) -> None:
    """Upload a folder; a repository that is made for it is private, one that is there stays as it is.

    Args:
        folder: of an export.
        repository: ``NAME/REPOSITORY``.

    Raises:
        RunError: not reached, no rights, or refused; the folder stays.
    """
    from huggingface_hub import HfApi

    try:
        api = HfApi(library_name="transferkit")
        api.create_repo(repository, private=True, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=folder, commit_message="Export of transferkit")
    except Exception as error:  # of the network and of the hub, which has many kinds
        raise RunError(
            f"--push {repository}: the hub did not take it ({first_line(error)}); {folder} is whole; mend that "
            f"(`hf auth login`, the network), then `hf upload {repository} {folder}`"
        ) from None
