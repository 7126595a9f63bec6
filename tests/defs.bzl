"""Kinds of tests."""

load("@rules_cc//cc:defs.bzl", "cc_test")

def farm_test(name, deps = [], **kwargs):
    """A cc_test on GoogleTest and GoogleMock of the file NAME.cc."""
    cc_test(
        name = name,
        srcs = [name + ".cc"],
        deps = deps + ["@system//:gmock_main"],
        **kwargs
    )

def farm_root_test(name, tags = [], **kwargs):
    """A farm_test that makes mounts, cgroups or other users' files.

    It runs as root, outside Bazel's sandbox (which maps no other user and has
    a read-only /sys/fs/cgroup), alone, and each time anew.
    """
    farm_test(
        name = name,
        tags = tags + ["exclusive", "external", "no-sandbox", "requires-root"],
        **kwargs
    )
