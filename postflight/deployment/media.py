"""Who serves media and who runs its background jobs, by the configuration in effect in each Synapse process.

Source: synapse/config/repository.py, synapse/app/generic_worker.py, synapse/rest/__init__.py and
synapse/media/url_previewer.py, 1.119 and 1.163.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from postflight.deployment.listeners import resources_of
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Side, SynapseProcess

SWITCH = "enable_media_repo"
JOBS = "media_instance_running_background_jobs"
APP = "synapse.app.media_repository"


@dataclass(frozen=True, slots=True)
class MediaSide:
    """One homeserver: its main process, the workers that are there for media, all others; those whose
    configuration is not known are in none of these but in ``unread``."""

    side: Side
    mains: tuple[SynapseProcess, ...]
    workers: tuple[SynapseProcess, ...]
    others: tuple[SynapseProcess, ...]
    unread: tuple[SynapseProcess, ...]

    @property
    def read(self) -> tuple[SynapseProcess, ...]:
        return (*self.mains, *self.workers, *self.others)

    @property
    def keepers(self) -> tuple[SynapseProcess, ...]:
        """The processes that hold a media repository, whoever may ask it."""
        return tuple(each for each in self.read if holds_media(each))

    @property
    def jobs(self) -> tuple[SynapseProcess, ...]:
        """The processes that take the media background jobs to be theirs: each looks for its own name, and takes
        them where no name is given."""
        return tuple(each for each in self.keepers if jobs_of(each) in ("", each.instance))


def media_sides(deployment: Deployment) -> Iterator[MediaSide]:
    """Every homeserver there is, by namespace and side."""
    for namespace, side in dict.fromkeys((each.namespace, each.side) for each in deployment.synapse):
        mine = [each for each in deployment.synapse if (each.namespace, each.side) == (namespace, side)]
        read = [each for each in mine if each.config is not None]
        yield MediaSide(
            side,
            mains=tuple(each for each in read if each.is_main),
            workers=tuple(each for each in read if is_media_worker(each)),
            others=tuple(each for each in read if not each.is_main and not is_media_worker(each)),
            unread=tuple(each for each in mine if each.config is None),
        )


def is_media_worker(process: SynapseProcess) -> bool:
    """Whether a worker is there for media: by its app, or by a listener that is to serve it."""
    return not process.is_main and (process.app == APP or "media" in resources_of(process))


def holds_media(process: SynapseProcess) -> bool:
    """Whether Synapse loads the media repository in a process; with it, every client listener serves media."""
    return (process.config or {}).get(SWITCH, True) is not False or process.app == APP


def jobs_of(process: SynapseProcess) -> str:
    """The instance that a process takes to run the media background jobs, "" where none is named."""
    return str((process.config or {}).get(JOBS) or "")
