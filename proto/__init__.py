"""The wire format: protobuf messages, their generated code committed beside them.

``tools/generate_proto.py`` writes ``*_pb2.py`` and ``*_pb2.pyi`` from the ``.proto`` files. Only
``codec.bitstream.message`` imports them; everyone else speaks ``codec.structs``.
"""
