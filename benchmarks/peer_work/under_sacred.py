"""The work under Sacred, with its file observer."""

import work
from sacred import Experiment
from sacred.observers import FileStorageObserver

experiment = Experiment("work")
experiment.observers.append(FileStorageObserver("sacred"))


@experiment.automain
def main():
    """Do the work."""
    return work.main()
