"""TensorRT: engines that are built on the host that runs them, and kept.

    decide   what is built, for which tiles, under which name it is kept
    rewrite  the graph as TensorRT can read it
    build    the builder
    package  the file a built engine is kept in
    runtime  running one

None of it was ever run on a GPU. What is decided is tested; every call is held
against the real Python bindings of TensorRT 10 and 11; and the way of the data
is tested with a stand-in for the libraries (tests/mmearth_infer/engine/trt).
"""
