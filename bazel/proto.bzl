"""C++ code from .proto files, made by the system's protoc and gRPC plugin."""

load("@rules_cc//cc:defs.bzl", "cc_library")

def _generate(name, srcs, deps, endings, plugin_args, plugins, visibility):
    native.filegroup(
        name = name + "_protos",
        srcs = srcs + [dep + "_protos" for dep in deps],
        visibility = visibility,
    )
    native.genrule(
        name = name + "_gen",
        srcs = srcs + [dep + "_protos" for dep in deps],
        outs = [src[:-len(".proto")] + ending for src in srcs for ending in endings],
        cmd = " ".join([
            "$(location @system//:protoc)",
            "--proto_path=.",
            "--cpp_out=$(GENDIR)",
        ] + plugin_args + ["$(location %s)" % src for src in srcs]),
        tools = plugins + ["@system//:protoc"],
    )

def cc_message_library(name, srcs, deps = [], visibility = None):
    """A cc_library of the messages in srcs, without gRPC: the cheaper one to compile.

    Imports are paths from the workspace root, or google/protobuf/*.proto.
    Includes follow them: #include "proto/farm/v1/step.pb.h".

    Args:
      name: name of the cc_library.
      srcs: .proto files of this package.
      deps: other proto libraries whose .proto files srcs import.
      visibility: as usual.
    """
    _generate(name, srcs, deps, [".pb.cc", ".pb.h"], [], [], visibility)
    cc_library(
        name = name,
        srcs = [src[:-len(".proto")] + ".pb.cc" for src in srcs],
        hdrs = [src[:-len(".proto")] + ".pb.h" for src in srcs],
        copts = ["-w"],
        visibility = visibility,
        deps = deps + ["@system//:protobuf"],
    )

def cc_grpc_library(name, srcs, deps = [], visibility = None):
    """A cc_library of the messages and services in srcs.

    Besides what cc_message_library makes there are "X.grpc.pb.h" and, for tests,
    "X_mock.grpc.pb.h" with a GoogleMock stub of each service.

    Args:
      name: name of the cc_library.
      srcs: .proto files of this package.
      deps: other proto libraries whose .proto files srcs import.
      visibility: as usual.
    """
    stems = [src[:-len(".proto")] for src in srcs]
    _generate(
        name,
        srcs,
        deps,
        [".pb.cc", ".pb.h", ".grpc.pb.cc", ".grpc.pb.h", "_mock.grpc.pb.h"],
        [
            "--plugin=protoc-gen-grpc=$(location @system//:grpc_cpp_plugin)",
            "--grpc_out=generate_mock_code=true:$(GENDIR)",
        ],
        ["@system//:grpc_cpp_plugin"],
        visibility,
    )
    cc_library(
        name = name,
        srcs = [stem + ending for stem in stems for ending in [".pb.cc", ".grpc.pb.cc"]],
        hdrs = [stem + ending for stem in stems for ending in [".pb.h", ".grpc.pb.h", "_mock.grpc.pb.h"]],
        copts = ["-w"],
        visibility = visibility,
        deps = deps + ["@system//:grpc++"],
    )
