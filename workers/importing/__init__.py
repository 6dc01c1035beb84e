"""From a source that has been inspected to the files of a model folder."""
