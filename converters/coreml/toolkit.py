"""coremltools, imported once: off macOS it complains of libraries that only a Mac has.

The exporters are not its public interface: `ct.convert` has no way to write a weight that is not in
memory. A test reads what we write with coremltools' own reader.
"""

from edge.system.quiet import quiet

with quiet("coremltools"):
    import coremltools as ct
    from coremltools.converters.mil import mil
    from coremltools.converters.mil.backend.mil import helper
    from coremltools.converters.mil.backend.mil.load import (
        CoreMLProtoExporter,
        MILProtoExporter,
        should_use_weight_file,
    )
    from coremltools.converters.mil.mil import Builder as mb  # noqa: N813 - as its documents say
    from coremltools.converters.mil.mil import types
    from coremltools.converters.mil.mil.types.symbolic import is_symbolic

__all__ = [
    "CoreMLProtoExporter",
    "MILProtoExporter",
    "ct",
    "helper",
    "is_symbolic",
    "mb",
    "mil",
    "should_use_weight_file",
    "types",
]
