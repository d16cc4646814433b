"""YAML of strangers: small, without a cost that grows with what aliases stand for."""

from pathlib import Path

import yaml

from snellen.data.records import RecordError, read_bytes

MAX_YAML_BYTES = 1 << 20
"""Larger files (1 MiB) are not read: the list of ImageNet's 21,841 classes is smaller."""
MAX_MERGED = 1_000_000
"""Pairs that mappings may have in all, those that `<<` copies into them included."""


class _Loader(yaml.SafeLoader):
    """libyaml's loader is ten times faster and overflows the stack on nested brackets, so this is Python's own."""

    pairs = 0

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Copy what `<<` refers to; ten mappings that refer to each other ten times would be ten milliards."""
        super().flatten_mapping(node)
        self.pairs += len(node.value)
        if self.pairs > MAX_MERGED:
            raise yaml.constructor.ConstructorError(None, None, "mappings grow beyond bounds by << ", node.start_mark)


def load_yaml(path: Path, root: Path | None = None) -> object:
    """The document. Lists and mappings may hold themselves: walk and print them with a limit (`records.brief`).

    Raises RecordError when it cannot be read, is larger than MAX_YAML_BYTES, is no YAML, or leads out of `root`.
    """
    data = read_bytes(path, root, limit=MAX_YAML_BYTES)
    try:
        return yaml.load(data.decode("utf-8", "replace"), Loader=_Loader)  # a SafeLoader
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError, AttributeError) as error:
        raise RecordError(f"is not YAML: {(str(error) or type(error).__name__).splitlines()[0]}") from error
