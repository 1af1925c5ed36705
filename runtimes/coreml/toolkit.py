"""coremltools, imported once: off macOS it complains of libraries that only a Mac has."""

from edge.system.quiet import quiet

with quiet("coremltools"):
    import coremltools as ct
    from coremltools.converters.mil import mil
    from coremltools.converters.mil.mil import Builder as mb  # noqa: N813 - as its documents say
    from coremltools.proto import MIL_pb2, Model_pb2
    from google.protobuf.message import DecodeError

__all__ = ["DecodeError", "MIL_pb2", "Model_pb2", "ct", "mb", "mil"]
