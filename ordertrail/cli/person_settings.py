"""Settings of a command that a person types: where none are given, those of the `ordertrail up` that runs here."""

from pydantic import SecretStr

from ordertrail.runtime.settings import Settings, load_settings, variable_of
from ordertrail.up.running_up import find_running_up

# All or none of them are taken from a running `up`: an API of one installation and the database of another do not mix.
_OF_UP = ("api_url", "database_url", "exchange_url")


def load_settings_of_person() -> Settings:
    """The settings; CannotStart as `load_settings`."""
    settings = load_settings()
    if settings.model_fields_set.intersection(_OF_UP):
        return settings
    running = find_running_up(settings.data_dir)
    if running is None:
        return settings
    return settings.model_copy(
        update={
            "api_url": running.api_url,
            "database_url": SecretStr(running.database_url),
            "exchange_url": running.exchange_url,
            "queue_url": running.queue_url,
        }
    )


def what_to_set(settings: Settings, name: str) -> str:
    """For the end of a sentence about what does not answer: what to do where nobody said where it is."""
    if name in settings.model_fields_set:
        return ""
    return (
        f" {variable_of(name)} is not set, and no `ordertrail up` runs on the data folder "
        f"{settings.data_dir.absolute()}: set it, go to the folder where one runs, or start one with `make up`."
    )
