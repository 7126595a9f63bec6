"""Fuzz targets, which are ordinary tests too."""

load("@rules_cc//cc:defs.bzl", "cc_test")

def fuzz_test(name, deps = [], **kwargs):
    """A test of the file NAME.cc, which defines LLVMFuzzerTestOneInput().

    It runs each file of corpus/NAME and some thousands of mutations of them, from
    a fixed seed. FUZZ_RUNS and FUZZ_SEED in the environment change that:

        bazel test --test_env=FUZZ_RUNS=1000000 --test_env=FUZZ_SEED=7 //tests/fuzz:NAME

    An input that stops the program is kept as crash-input in the test's
    outputs; add it to the corpus once the bug is mended. For a guided search,
    with clang and libFuzzer instead of our own mutations:

        CC=clang bazel build --define=fuzzer=libfuzzer \\
            --copt=-fsanitize=fuzzer-no-link,address \\
            --linkopt=-fsanitize=fuzzer,address //tests/fuzz:NAME
        bazel-bin/tests/fuzz/NAME tests/fuzz/corpus/NAME
    """
    cc_test(
        name = name,
        size = "small",
        srcs = [name + ".cc"],
        args = ["%s/corpus/%s" % (native.package_name(), name)],
        data = native.glob(["corpus/%s/**" % name]),
        deps = deps + select({
            "//tests/fuzz:libfuzzer": [],
            "//conditions:default": ["//tests/fuzz:fuzz_driver"],
        }),
        **kwargs
    )
